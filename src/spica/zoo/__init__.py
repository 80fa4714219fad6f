"""Builders of well-known networks: float networks with seeded random weights, to train or to study costs."""

from spica.zoo.akidanet import akidanet
from spica.zoo.mobilenet import mobilenet

__all__ = ["akidanet", "mobilenet"]

"""Builders of well-known networks: float networks with seeded random weights, to train or to study costs."""

from spica import _renamed
from spica.zoo.builders.backbone import akidanet, mobilenet
from spica.zoo.builders.tiny import autoencoder, ds_cnn, resnet8

_renamed.register()

__all__ = ["akidanet", "autoencoder", "ds_cnn", "mobilenet", "resnet8"]

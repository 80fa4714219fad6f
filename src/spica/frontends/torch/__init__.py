"""PyTorch modules in: ``graph`` follows one; ``operations`` says how PyTorch spells each operation."""

from spica.frontends.torch.graph import from_torch

__all__ = ["from_torch"]

"""Other frameworks' networks to Spica's. Each module loads its framework only when its function is called."""

from spica.importers.keras import from_keras
from spica.importers.quantizeml import from_quantizeml
from spica.importers.split import Split, split
from spica.importers.torch import from_torch

__all__ = ["Split", "from_keras", "from_quantizeml", "from_torch", "split"]

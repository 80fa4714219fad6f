"""Networks to other tools' files, exactly or not at all, and to a chip and its host."""

from spica.deploy.hybrid import HybridNetwork, Part
from spica.deploy.quantizeml import to_quantizeml
from spica.deploy.splitting import Split, split

__all__ = ["HybridNetwork", "Part", "Split", "split", "to_quantizeml"]

"""Networks to other tools' files. What a file cannot hold exactly is refused by name, never approximated."""

from spica.deploy.quantizeml import to_quantizeml
from spica.deploy.splitting import Split, split

__all__ = ["Split", "split", "to_quantizeml"]

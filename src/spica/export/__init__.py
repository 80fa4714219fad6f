"""Networks to other tools' files. What a file cannot hold exactly is refused by name, never approximated."""

from spica.export.quantizeml import to_quantizeml

__all__ = ["to_quantizeml"]

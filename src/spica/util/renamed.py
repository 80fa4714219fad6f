"""Old attribute names, for one version."""

from __future__ import annotations

import warnings
from typing import Any


def renamed(new: str) -> Any:
    """Return a property for an old attribute name that gives what ``new`` gives, with a ``DeprecationWarning``.

    To be removed, with the other names that warn, in version 0.3.
    """

    def get(self: Any) -> Any:
        warnings.warn(f"this attribute of {type(self).__name__} is now {new}", DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(get, doc=f"Old name of ``{new}``.")

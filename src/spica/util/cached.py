"""Cached properties without a lock, as Python has them from 3.12 on.

A lock that another thread holds when a process forks stays locked in the child for ever. Two threads may compute a
value at the same time; values are the same, and one is kept.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or sys.version_info >= (3, 12):
    cached_property = functools.cached_property
else:

    class cached_property(functools.cached_property):
        """A property that is computed once."""

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            """Return the value, computed when first asked for."""
            if instance is None:
                return self
            values = instance.__dict__
            if self.attrname not in values:
                values[self.attrname] = self.func(instance)
            return values[self.attrname]

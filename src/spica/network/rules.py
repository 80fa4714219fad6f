"""Rules by layer type: transforms that every type answers, or is listed as refusing, with the reason.

A transform is a ``functools.singledispatch`` function on layers. A rule on a base class serves all its types;
``not_applicable`` lists the types that have none, and its default ``refuse``s every other. So a test can ask of each
type whether somebody thought of it (``tests/support/every_layer.py``).
"""

from __future__ import annotations

from typing import Any, NoReturn

from spica.errors import SpicaError
from spica.network.layer import Layer


def not_applicable(transform: Any, reason: str, *types: type[Layer]) -> None:
    """List layer types that have no rule in a transform; called on one, the transform raises ``SpicaError``.

    Args:
        transform: a ``singledispatch`` function on layers.
        reason: why not, after the name of the layer and of its type: "is only kept at the output".
        types: the layer types.
    """

    def refused(layer: Layer, *rest: Any, **options: Any) -> NoReturn:
        refuse(transform, layer)

    refused.reason = reason  # type: ignore[attr-defined]
    for kind in types:
        transform.register(kind, refused)


def refuse(transform: Any, layer: Layer) -> NoReturn:
    """Raise the ``SpicaError`` of a layer that a transform has no rule for."""
    raise SpicaError(f"{layer.name}: {refusal(transform, type(layer))}")


def refusal(transform: Any, kind: type[Layer]) -> str | None:
    """Return why a transform has no rule for a layer type, or ``None`` where it has one."""
    rule, name = transform.dispatch(kind), kind.__name__
    if rule is transform.dispatch(object):
        return f"{name} has no rule in {transform.__name__}; register one for it"
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name} {rule.reason}" if hasattr(rule, "reason") else None


def applies(transform: Any, layer: Layer) -> bool:
    """Return whether a transform has a rule for a layer."""
    return refusal(transform, type(layer)) is None

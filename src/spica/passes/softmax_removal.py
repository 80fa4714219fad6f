"""Remove a softmax at the network's output: it does not change which class wins, and no chip computes it."""

from math import prod

from spica.layers import Softmax
from spica.layers.shape import is_only_moved
from spica.network import Layer, Network
from spica.passes.merge import merge_pass


@merge_pass
def remove_softmax(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Remove each ``Softmax`` that is an output; what it reads becomes the output, unless it is an input."""
    return before if isinstance(after, Softmax) and _is_last(net, after.name) and before.inputs else None


def _is_last(net: Network, name: str) -> bool:
    """Tell whether a tensor is an output, or one pixel that only gets another shape before it is."""
    if name in net.outputs:
        return not net.consumers[name]
    return prod(net.types[name].shape[:-1]) == 1 and is_only_moved(net, name)

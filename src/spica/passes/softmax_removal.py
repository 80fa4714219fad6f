"""Remove a softmax at the network's output: it does not change which class wins, and no chip computes it."""

from spica.layers import Softmax
from spica.network import Layer, Network
from spica.passes.merge import merge_pass


@merge_pass
def remove_softmax(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Remove each ``Softmax`` that is an output; what it reads becomes the output, unless it is an input."""
    return before if isinstance(after, Softmax) and after.name in net.outputs and before.inputs else None

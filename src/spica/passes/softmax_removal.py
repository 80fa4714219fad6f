"""Remove a softmax at the network's output: it does not change which class wins, and no chip computes it."""

from spica.layers import Softmax
from spica.network import Layer, Network
from spica.passes.base import Result, graph_pass
from spica.passes.merge import merge_pairs


@graph_pass()
def remove_softmax(net: Network) -> Result:
    """Remove each ``Softmax`` that is an output; what it reads becomes the output."""

    def merge(before: Layer, after: Layer) -> Layer | None:
        return before if isinstance(after, Softmax) and after.name in net.outputs and before.inputs else None

    return merge_pairs(net, merge)

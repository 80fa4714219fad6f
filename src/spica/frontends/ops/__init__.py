"""The operations of float networks: the only code of the front ends that makes layers.

``GraphBuilder`` knows no framework. Each of its methods is one operation: it takes views with channels last and plain
numpy weights, refuses what cannot be, lowers what no layer has (dilation, groups, depth multipliers, ...), and returns
a view. A front end is a table that says how a framework spells these operations, one short function for each:

* to take another operation of a framework, write its spelling in that framework's table (``keras/operations.py``,
  ``torch/operations.py``);
* to lower something new to layers, write one method in the family it belongs to: ``weighted``, ``pooling``,
  ``pointwise``, ``mixing`` or ``recurrent``. Every source then has it.

Layout moves (permute, reshape, slice, split, ...) are methods of ``View`` and make no layer until one has to read what
they moved. Operations that a framework gives in parts (attention, GELU) are put together by ``patterns``.
"""

from spica.frontends.ops.pointwise import Pointwise
from spica.frontends.ops.pooling import Pooling
from spica.frontends.ops.recurrent import Recurrent
from spica.frontends.ops.weighted import Weighted


class GraphBuilder(Pooling, Weighted, Pointwise, Recurrent):
    """A float network that grows by one operation at a time; ``network`` ends it.

    Every operation takes ``at``, the name of the layer that it makes, which errors begin with. Images are
    ``(N, H, W, C)``, tokens ``(N, T, C)``, vectors ``(N, C)``; weights are float32.
    """


__all__ = ["GraphBuilder"]

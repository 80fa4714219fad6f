"""Networks as data: tensor types, layer records, the graph, its edits and its file."""

from spica.network.graph import Network
from spica.network.layer import Layer, record
from spica.network.types import TensorType

__all__ = ["Layer", "Network", "TensorType", "record"]

"""What a network is: tensor types, layer records, the graph, and its file. Pure data."""

from spica.network.graph import Network
from spica.network.layer import Layer, record
from spica.network.types import TensorType

__all__ = ["Layer", "Network", "TensorType", "record"]

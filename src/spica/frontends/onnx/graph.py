"""Float ONNX models to float networks, with the ``onnx`` package alone.

This follows a graph; how ONNX spells each operation is in the files beside it. What does not depend on the inputs is
computed on the way, so shapes that exporters work out at run time are plain numbers here. Images have channels first in
ONNX; see ``view`` for how that becomes channels last. Models of integers (QDQ and QLinear) are read as the real numbers
that these stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.batch import own_sizes
from spica.frontends.onnx import functions, integers, layers, moves, recurrent  # noqa: F401 (each enters its operations)
from spica.frontends.onnx.node import OPERATIONS, TAKES_PARTS, Node
from spica.frontends.ops import GraphBuilder
from spica.frontends.patterns import Part
from spica.frontends.view import BATCH, View
from spica.layers import Input
from spica.network import Network
from spica.network.types import check_size
from spica.util.files import check_readable, refuse_damage

OLDEST_OPSET = 7
"""Before it, broadcasting and batch normalisation meant other things."""

KEEPS_LAYOUT = {
    "Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Div", "Identity", "Mul", "Pad", "QuantizeLinear",
    "Relu", "Sub",
}  # fmt: skip
"""Operations that say nothing of which axis holds the channels."""

LARGE = {"ConstantOfShape", "Expand", "Range", "Resize", "Tile", "Upsample"}
"""Operations whose result can be much larger than what they read."""

MOST_FOLDED = 1 << 27
"""Values of the largest constant that is computed."""


def from_onnx(model: str | PathLike[str] | Any) -> Network:
    """Take an ONNX model as a float network.

    Args:
        model: path of an ``.onnx`` file (its external data must lie in its own folder), or an ``onnx.ModelProto``; of
            opset 7 or later. Models of integers (QDQ, QLinear) are taken as the real numbers that these stand for.

    Returns:
        A float ``Network`` that computes what the model computes, with channels last: where the model reads images
        ``(N, C, H, W)``, it reads ``(N, H, W, C)``, and an output that is an image has its channels last too. Signals
        ``(N, C, L)`` that a convolution reads are ``(N, L, C)``.

    Raises:
        SpicaError: where the file is damaged, or naming the first operation that cannot be taken and what would work
            instead.
    """
    proto, where = _load(model)
    with refuse_damage(where, "its graph cannot be read; the file is damaged"):
        graph = _Walk(proto, where)
        return graph.followed(proto.graph)


def _load(model: Any) -> tuple[Any, str]:
    """Return a model with its tensors, and what it is called in messages."""
    try:
        import onnx
    except ImportError:
        raise SpicaError("from_onnx needs onnx; run: pip install 'spica[onnx]'") from None
    if isinstance(model, onnx.ModelProto):
        return model, model.graph.name or "model"
    if not isinstance(model, str | PathLike):
        raise SpicaError(f"{model!r:.60}: not the path of an .onnx file, nor an onnx.ModelProto")
    path = Path(model)
    with refuse_damage(str(path), "is not an ONNX model"):
        proto = onnx.load(check_readable(path), load_external_data=False)
        if not proto.graph.node and not proto.graph.output:
            raise ValueError("empty")
    outside = [t for t in _tensors(proto.graph) if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in outside:
        _check_inside(path, tensor)
    if outside:
        with refuse_damage(str(path), "its external data cannot be read; keep its files beside it"):
            onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent.resolve()))
    return proto, str(path)


def uses_domain(path: str | PathLike[str], domain: str) -> bool:
    """Return whether a file's operations are of a domain, such as quantizeml's."""
    return any(entry.domain == domain for entry in _load(path)[0].opset_import)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all tensors of a graph and of what is inside its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _check_inside(path: Path, tensor: Any) -> None:
    """Refuse a tensor whose data lie outside the folder of the model."""
    folder = path.parent.resolve()
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    target = (folder / location).resolve()
    if not location or folder not in target.parents:
        raise SpicaError(f"{path}: tensor {tensor.name!r} lies in {location!r}, outside the folder of the model")
    if not target.is_file():
        raise SpicaError(
            f"{path}: tensor {tensor.name!r} lies in {location!r}, which is missing; put it beside the model"
        )


class _Walk(GraphBuilder):
    """Follows a graph.

    Attributes:
        values: what each tensor is, by its name: a view, a half-done operation, or a constant.
        opset: version of ONNX's own operations.
        batch: samples that the model was exported for: it may have written the number into shapes.
    """

    def __init__(self, proto: Any, where: str) -> None:
        super().__init__()
        versions = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
        self.values: dict[str, Any] = {"": None}
        self.where, self.batch, self.opset = where, BATCH, versions.get("ai.onnx", 0)
        if self.opset and self.opset < OLDEST_OPSET:
            raise SpicaError(
                f"{where}: is of opset {self.opset}, but must be of {OLDEST_OPSET} or later; convert it with "
                "onnx.version_converter.convert_version(model, 13)"
            )

    def followed(self, graph: Any) -> Network:
        """Return the network of a graph."""
        from onnx import numpy_helper

        for tensor in graph.initializer:
            self.values[tensor.name] = numpy_helper.to_array(tensor)
        if graph.sparse_initializer:
            raise SpicaError(f"{self.where}: has sparse tensors; save it with dense ones")
        sources = [value for value in graph.input if value.name not in self.values]
        if not sources:
            raise SpicaError(f"{self.where}: has no input; a network needs one")
        self._read_batch(sources)
        for value in sources:
            self.values[value.name] = self._source(value, graph)
        for i, proto in enumerate(graph.node):
            self._add(proto, i)
        outputs = [self._output(value.name) for value in graph.output]
        return self.network(outputs, graph.name or Path(self.where).stem)

    # -- inputs and outputs --------------------------------------------------------------------------------------

    def _read_batch(self, sources: Sequence[Any]) -> None:
        """Take the number of samples from the first input; they must all have it."""
        found = {_sizes(value)[:1] for value in sources}
        if len(found) > 1 or found == {()}:
            raise SpicaError(f"{self.where}: its inputs must all have the same batch axis, first")
        ((batch,),) = found
        self.batch = batch or BATCH

    def _source(self, value: Any, graph: Any) -> View:
        """Return an input of the network: images and signals with their channels first, as the graph has them."""
        shape = _sizes(value)[1:]
        if not shape or None in shape or len(shape) > 3:
            given = ", ".join("?" if size is None else str(size) for size in shape)
            raise SpicaError(
                f"{value.name}: an input of shape (N, {given}) is no image, tokens or vector of known size; "
                "export it with fixed sizes"
            )
        first = len(shape) == 3 or (len(shape) == 2 and self._is_signal(value.name, graph))
        if first and self._is_turned(value.name, graph, len(shape)):
            first = False
        view = self.make(Input, value.name, shape=(*shape[1:], shape[0]) if first else shape)
        return view.channels_first() if first else view

    def _readers(self, name: str, graph: Any) -> Iterator[Any]:
        """Yield the nodes that read a tensor, or what comes of it in the same layout."""
        seen, names = set(), {name}
        for i, node in enumerate(graph.node):
            if not names.isdisjoint(node.input) and i not in seen:
                seen.add(i)
                if node.op_type in KEEPS_LAYOUT:
                    names.update(node.output)
                else:
                    yield node

    def _is_signal(self, name: str, graph: Any) -> bool:
        return any(node.op_type in ("Conv", "MaxPool", "AveragePool") for node in self._readers(name, graph))

    def _is_turned(self, name: str, graph: Any, axes: int) -> bool:
        """Return whether the graph first brings the channels of an input to the front: it has them last."""
        wanted = [0, axes, *range(1, axes)]
        turned = [
            node.op_type == "Transpose" and [list(a.ints) for a in node.attribute if a.name == "perm"] == [wanted]
            for node in self._readers(name, graph)
            if node.op_type != "Shape"
        ]
        return bool(turned) and all(turned)

    def _output(self, name: str) -> View:
        found = self.values.get(name)
        if isinstance(found, Part):
            found = found.completed(self, name)
        if not isinstance(found, View):
            raise SpicaError(f"{name}: an output that does not depend on the input cannot be taken")
        return self.output_of(found, name)

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _add(self, proto: Any, number: int) -> None:
        """Do one node."""
        at = proto.name.strip("/").replace(".", "/") or f"{proto.op_type.lower()}_{number}"
        if missing := [name for name in proto.input if name not in self.values]:
            raise SpicaError(f"{at}: reads {missing[0]!r}, which nothing makes before it; sort the graph's nodes")
        inputs = [self.values[name] for name in proto.input]
        node = Node(proto, at, inputs, self.opset, self.batch)
        if proto.op_type == "Shape" and isinstance(inputs[0], View):
            made: Any = self._shape(node)
        elif not any(isinstance(value, View | Part) for value in inputs):
            made = self._folded(proto, at, inputs)
        else:
            if proto.domain not in ("", "ai.onnx", "com.microsoft"):
                raise SpicaError(f"{at}: the operation {proto.domain}.{proto.op_type} is none of ONNX's own")
            read = OPERATIONS.find(proto.op_type, at)
            if proto.op_type not in TAKES_PARTS:
                inputs = [value.completed(self, at) if isinstance(value, Part) else value for value in inputs]
            made = read(self, node, *inputs)
            node.check_options()
        for name, value in zip(proto.output, made if isinstance(made, list) else [made]):
            if isinstance(value, View) and not value.has_every_sample():
                raise SpicaError(f"{at}: {proto.op_type} takes samples of the batch apart; leave the batch axis whole")
            self.values[name] = value

    def _shape(self, node: Node) -> NDArray[np.int64]:
        sizes = own_sizes(node.inputs[0], self.batch)
        return np.array(sizes[node.get("start", 0) : node.get("end", None)], np.int64)

    def _folded(self, proto: Any, at: str, inputs: list[Any]) -> list[Any]:
        """Return what a node makes of constants."""
        from onnx.reference import ReferenceEvaluator

        if proto.op_type in ("Loop", "Scan", "If"):
            raise SpicaError(f"{at}: the operation {proto.op_type} is not supported; export the model without it")
        if proto.op_type in LARGE:
            ends = [np.abs(np.asarray(value, np.float64)) for value in inputs if value is not None and value.size < 16]
            if any(np.prod(np.maximum(end, 1)) > MOST_FOLDED for end in ends):
                raise SpicaError(f"{at}: makes a constant of more than {MOST_FOLDED:,} values")
        with np.errstate(all="ignore"):
            session = ReferenceEvaluator(proto, opsets={"": self.opset or 13, proto.domain: self.opset or 13})
            made = session.run(None, {name: value for name, value in zip(proto.input, inputs) if name})
        for value in made:
            check_size(np.shape(value), at)
        return [np.asarray(value) for value in made]


def _sizes(value: Any) -> tuple[int | None, ...]:
    """Return the shape of a graph's input; ``None`` for sizes that are not said."""
    kind = value.type.tensor_type
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)

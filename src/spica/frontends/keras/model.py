"""Keras 3 models, sequential or functional, nested or not, to float networks.

This follows a model; how Keras spells each operation is in ``operations``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spica.errors import SpicaError
from spica.frontends.keras.file import UNREADABLE, Weights, by_path, is_path, load_live, make_model, read_model
from spica.frontends.keras.operations import (
    ALONG_CHANNELS,
    IDENTITIES,
    IN_FRAMES,
    OPERATIONS,
    activate,
    array,
    function_of,
    kind_of,
)
from spica.frontends.keras.operators import OPERATORS, options_of
from spica.frontends.keras.recurrent import WHOLE
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.registry import hint
from spica.frontends.view import View
from spica.layers import Activation, Conv2D, Dense, Flatten, Input, Reshape, Softmax, TableActivation
from spica.network import Network
from spica.util.files import refuse_damage

OVER_TIME = {"CausalConv1D", "Conv3D", "DepthwiseTemporalConv", "DiagonalSSM", "TemporalConv", "TimeDistributed"}
"""Layers by which a model is known to read clips."""

BY_KERAS = OVER_TIME | {"Bidirectional"}
"""Layers of files that Keras itself must load."""

LOOKS_AT_CLIPS = {
    "AveragePooling1D", "Conv1D", "Cropping1D", "DepthwiseConv1D", "Flatten", "GlobalAveragePooling1D",
    "GlobalMaxPooling1D", "MaxPooling1D", "Reshape", "SeparableConv1D", "UpSampling1D", "ZeroPadding1D",
}  # fmt: skip
"""Layers of signals that need all of their time steps."""

TAKES_CLIPS = OVER_TIME | {
    "Activation", "Add", "BatchNormalization", "Concatenate", "Dense", "MaxPooling3D", "ReLU", "Rescaling", "Softmax",
    "ZeroPadding3D",
}  # fmt: skip
"""Those, and layers that do the same to every frame of a clip as they do to the clip."""


def from_keras(model: Any) -> Network:
    """Take a Keras model as a float network.

    Args:
        model: the path of a ``.keras`` or ``.h5`` file that Keras 2 or 3 saved, for which Keras is not needed; or a
            built ``keras.Model`` of Keras 3: sequential or functional, with channels last. Nested models are inlined;
            dropout and other layers that do nothing at inference vanish. A model of clips ``(T, ...)`` with layers over
            time in it (those of ``spica.keras``, or causal ``Conv1D`` and ``Conv3D``), becomes the network of one
            frame, which remembers the last ones.

    Returns:
        A float ``Network`` that computes what ``model.predict`` computes.

    Raises:
        SpicaError: naming the first layer that cannot be taken and what would work instead.
    """
    if is_path(model):
        held = read_model(model, BY_KERAS)
        return _followed(load_live(model)) if held is None else _of_file(held, str(model))
    return _followed(model)


def from_config(config: Any, weights: Weights, where: str) -> Network:
    """Take a Keras model as a float network, of its configuration and of weights whose paths name their layers.

    Raises:
        SpicaError: as ``from_keras`` does.
    """
    with refuse_damage(where, UNREADABLE):
        held = make_model(config, lambda: by_path(config, weights), where, BY_KERAS)
    if held is None:
        raise SpicaError(f"{where}: has layers over time; save the model as .keras and read that with spica.from_keras")
    return _of_file(held, where)


def _of_file(model: Any, where: str) -> Network:
    with refuse_damage(where, "its layers and weights do not fit each other; the file is damaged"):
        return _followed(model)


def _followed(model: Any) -> Network:
    """Return the network of a live model, or of one in a file."""
    functional = getattr(model, "_functional", None) or model
    if not hasattr(functional, "_nodes_by_depth"):
        raise SpicaError(
            f"{getattr(model, 'name', model)!s:.60}: not a built Sequential or functional Keras 3 model; "
            "call model.build(input_shape), or write a subclassed model as a functional one"
        )
    _check_code(model)
    layers = functional._flatten_layers()
    kinds = set(map(kind_of, layers))
    # Causal convolutions are of frames that come one by one, unless a layer looks at the whole clip.
    of_clips = kinds & OVER_TIME == {"CausalConv1D"} and bool(kinds & LOOKS_AT_CLIPS)
    graph = _Walk(over_time=bool(kinds & OVER_TIME) and not of_clips, recurrent="DiagonalSSM" in kinds)
    graph.add_model(functional)
    return graph.network([graph.output(tensor) for tensor in functional.outputs], model.name)


class _Walk(GraphBuilder):
    """Follows a model.

    Attributes:
        over_time: whether the first axis after the batch's is time, of which a network reads one frame.
        recurrent: whether a frame is a stretch of one step.
        in_frame: whether what is walked is inside a ``TimeDistributed``.
        tensors: what each Keras tensor is, by its id, and how many frames of zeros its clips begin with.
    """

    def __init__(self, over_time: bool, recurrent: bool) -> None:
        super().__init__()
        self.over_time, self.recurrent, self.in_frame = over_time, recurrent, False
        self.tensors: dict[int, tuple[View, int]] = {}

    def add_model(self, model: Any) -> None:
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                self.add_node(node)

    def add_node(self, node: Any) -> None:
        layer, outside = node.operation, self.in_frame
        if node.is_input:
            for tensor in node.outputs:
                if id(tensor) not in self.tensors:  # a nested model's input is bound by the call to it
                    self.tensors[id(tensor)] = self._source(layer, tensor), 0
            return
        if not _is_layer(layer):
            self.tensors[id(node.outputs[0])] = self._computed(layer, node)
            return
        _check_call(node)
        if type(layer).__name__ == "TimeDistributed":
            layer, self.in_frame = layer.layer, True
        nested = getattr(layer, "_functional", None) or layer
        if hasattr(nested, "_nodes_by_depth"):
            _check_code(layer)
            self._bind(nested.inputs, node.input_tensors)
            self.add_model(nested)
            self._bind(node.outputs, nested.outputs)
        else:
            self.tensors[id(node.outputs[0])] = self._converted(layer, node)
        self.in_frame = outside

    def _bind(self, tensors: Sequence[Any], others: Sequence[Any]) -> None:
        """Say that Keras tensors are the same as others."""
        for tensor, other in zip(tensors, others):
            self.tensors[id(tensor)] = self.tensors[id(other)]

    def _converted(self, layer: Any, node: Any) -> tuple[View, int]:
        """Return what ``layer`` gives, and how many frames of zeros its clips begin with."""
        at, kind, inputs = node.operation.name, kind_of(layer), [self.tensors[id(t)] for t in node.input_tensors]
        if kind in IDENTITIES:
            return inputs[0]
        convert = OPERATIONS.find(kind, layer.name)
        _check_code(layer)
        if self.in_frame and kind in OVER_TIME:
            raise SpicaError(f"{layer.name}: looks over time inside a TimeDistributed, which hides time; take it out")
        if self.over_time and not self.in_frame and kind not in TAKES_CLIPS:
            fix = hint(kind) or "wrap it in TimeDistributed"
            raise SpicaError(f"{layer.name}: Keras layer {kind} would mix frames; {fix}")
        if kind in ALONG_CHANNELS or (self.over_time and kind in IN_FRAMES):
            shape = node.input_tensors[0].shape
            rank = inputs[0][0].numbers.ndim if shape is None else len(shape)
            _check_axis(layer, rank - (layer is not node.operation))
        _check_beginning(layer, max(zeros for _, zeros in inputs))
        first = getattr(layer, "data_format", "channels_last") != "channels_last"
        refuse(layer.name, first, "channels_first", "use channels_last")
        with refuse_damage(at, f"{kind} cannot be taken as it is here; write it with other layers"):
            made, begins = convert(self, at, layer, *(x for x, _ in inputs)), _zeros_before(layer)
        if kind in WHOLE or kind == "Activation" or not hasattr(layer, "activation"):
            return made, begins
        return activate(self, at, layer, made, f"{made.tensor}/{function_of(layer)}"), begins

    def _computed(self, operation: Any, node: Any) -> tuple[View, int]:
        """Return what an operator gives, and how many frames of zeros its clips begin with."""
        at, kind = operation.name, type(operation).__name__
        convert = OPERATORS.find(kind, at)
        if self.over_time and kind not in TAKES_CLIPS:
            raise SpicaError(f"{at}: Keras operation {kind} would mix frames; use layers of keras.layers")

        def value(argument: Any) -> Any:
            if isinstance(argument, list | tuple):
                return [value(a) for a in argument]
            if _is_tensors(argument):
                return self.tensors[id(argument)][0]
            return array(argument) if hasattr(argument, "shape") else argument

        arguments = [value(a) for a in node.arguments.args]
        arguments += [value(a) for name, a in node.arguments.kwargs.items() if name not in options_of(operation)]
        begins = max(self.tensors[id(tensor)][1] for tensor in node.input_tensors)
        with refuse_damage(at, f"{kind} cannot be taken as it is called here; use layers of keras.layers"):
            return convert(self, at, operation, *arguments), begins

    def _source(self, layer: Any, tensor: Any) -> View:
        """Return an input: of one sample, or of one frame of a clip, which is then an image."""
        shape = tuple(tensor.shape[1 + self.over_time :])
        if any(size is None for size in shape):
            raise SpicaError(f"{layer.name}: input shape {shape} has unknown sizes; build the model with fixed ones")
        source = self.make(Input, layer.name, shape=shape)
        if self.recurrent and len(shape) == 1:
            return self.move(Reshape, f"{source.tensor}/step", source, shape=(1, *shape))
        return self.frame(source, source.tensor) if self.over_time else source

    def output(self, tensor: Any) -> View:
        """Return an output of the model in the shape that it gives."""
        found, zeros = self.tensors[id(tensor)]
        if zeros:
            raise SpicaError(f"{found.tensor}: the output's clips begin with zeros; leave the padding before it out")
        vector = self.over_time and tensor.shape is not None and len(tensor.shape) == 3
        return _as_vector(self, found) if vector and len(found.sizes) > 1 else found


def _is_layer(operation: Any) -> bool:
    return any(cls.__name__ in ("Layer", "Model") for cls in type(operation).__mro__)


def _check_call(node: Any) -> None:
    """Refuse what a layer is called with beside tensors."""
    named = [*(("an argument", value) for value in node.arguments.args), *node.arguments.kwargs.items()]
    options = [n for n, v in named if n != "training" and v is not None and v is not False and not _is_tensors(v)]
    if options:
        raise SpicaError(f"{node.operation.name}: is called with {options[0]}, which is not supported; leave it out")


def _check_code(layer: Any) -> None:
    """Refuse a layer or model that computes something of its own, or with weights that Keras has quantised."""
    if not type(layer).call.__module__.startswith(("keras.", "spica.")):
        what = f"{type(layer).__name__} with a call of its own"
        raise SpicaError(f"{layer.name}: a {what} cannot be followed; write what it does with layers of keras.layers")
    if mode := getattr(layer, "quantization_mode", None):
        raise SpicaError(
            f"{layer.name}: Keras has quantised its weights ({mode}); give the model as it was before, and quantise it "
            "with spica.quantize"
        )


def _is_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_tensors, value))
    return type(value).__name__ == "KerasTensor"


def _check_axis(layer: Any, rank: int) -> None:
    """Refuse a layer that normalises or joins along another axis than the channels of tensors of ``rank`` axes."""
    axis = getattr(layer, "axis", -1)
    axes = {*axis} if isinstance(axis, list | tuple) else {axis}
    if not axes <= {-1, rank - 1}:
        raise SpicaError(f"{layer.name}: axis {axis} is not supported; use the last axis, which holds the channels")


# -- clips -----------------------------------------------------------------------------------------------------------


def _zeros_before(layer: Any) -> int:
    """Return how many frames of zeros a layer lets its clips begin with."""
    if type(layer).__name__ != "ZeroPadding3D":
        return 0
    front, back = layer.padding[0]
    refuse(layer.name, back > 0, "padding after the last frame", f"use (({front + back}, 0), ...)")
    return front


def _check_beginning(layer: Any, zeros: int) -> None:
    """Refuse a layer that does not look back as many frames as its clips begin with zeros.

    Then its output would be of other frames than its input.
    """
    frames = 1
    if type(layer).__name__ == "Conv3D":
        frames += (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
    need = f"put ZeroPadding3D((({frames - 1}, 0), (0, 0), (0, 0))) before it" if frames > 1 else "leave them out"
    what = f"an output of {frames} frames where clips begin with {zeros} of zeros"
    refuse(layer.name, frames != zeros + 1, what, need)


def _as_vector(g: GraphBuilder, x: View) -> View:
    """Return an output that is an image of one pixel, or a stretch of one step, as ``(N, C)``.

    Where a dense layer makes it, that reads plain channels already.
    """
    layer = g.layer(x.tensor)
    while isinstance(layer, Softmax | Activation | TableActivation):
        layer = g.layer(layer.inputs[0])
    readers = sum(layer.name in other.inputs for other in g.layers)
    point = isinstance(layer, Dense) or (isinstance(layer, Conv2D) and layer.kernel.shape[:2] == (1, 1))
    if not point or readers > (layer.name != x.tensor):
        return x.flatten(1)
    assert isinstance(layer, Dense | Conv2D)
    flat, kernel = Flatten(name=f"{layer.name}/flatten", inputs=layer.inputs), layer.kernel
    dense = Dense(name=layer.name, inputs=(flat.name,), kernel=kernel.reshape(kernel.shape[-2:]), bias=layer.bias)
    place = g.layers.index(layer)
    g.layers[place : place + 1] = [flat, dense]
    return View.whole(x.tensor, x.shape[-1:])

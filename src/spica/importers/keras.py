"""Keras 3 models, sequential or functional, nested or not, to float networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spica.errors import SpicaError
from spica.importers import keras_layers, keras_time
from spica.importers.builder import Builder
from spica.layers import Conv2D, Dense, Flatten, Input, Reshape
from spica.network import Layer, Network

CONVERTERS = keras_layers.CONVERTERS | keras_time.CONVERTERS
HINTS = keras_layers.HINTS | keras_time.HINTS


def from_keras(model: Any) -> Network:
    """Take a built Keras 3 model as a float network.

    Args:
        model: a ``keras.Model``: sequential or functional, with channels last. Nested models are inlined; dropout
            and other layers that do nothing at inference vanish. A model of clips ``(T, ...)``, with layers over
            time in it (those of ``spica.temporal``, or causal ``Conv1D`` and ``Conv3D``), becomes the network of one
            frame, which remembers the last ones.

    Returns:
        A float ``Network`` that computes what ``model.predict`` computes.

    Raises:
        SpicaError: naming the first layer that cannot be taken and what would work instead.
    """
    functional = getattr(model, "_functional", None) or model
    if not hasattr(functional, "_nodes_by_depth"):
        raise SpicaError(
            f"{getattr(model, 'name', model)!s:.60}: not a built Sequential or functional Keras 3 model; "
            "call model.build(input_shape), or write a subclassed model as a functional one"
        )
    layers = functional._flatten_layers()
    over_time = any(map(keras_time.is_over_time, layers))
    graph = _Graph(over_time, recurrent=any(type(layer).__name__ == "DiagonalSSM" for layer in layers))
    graph.add_model(functional)
    outputs = tuple(graph.tensors[id(t)] for t in functional.outputs)
    if graph.over_time:
        graph.flatten(outputs)
    return Network(tuple(graph.layers), outputs, model.name)


class _Graph(Builder):
    """Collects records while walking a model.

    Attributes:
        over_time: whether the first axis after the batch's is time, of which a network reads one frame.
        recurrent: whether a frame is a stretch of one step.
        tensors: which record wrote each Keras tensor.
        zeros_before: frames of zeros that a tensor of clips begins with.
    """

    def __init__(self, over_time: bool, recurrent: bool) -> None:
        super().__init__()
        self.over_time, self.recurrent = over_time, recurrent
        self.tensors: dict[int, str] = {}
        self.zeros_before: dict[int, int] = {}

    def add_model(self, model: Any) -> None:
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                self.add_node(node)

    def add_node(self, node: Any) -> None:
        layer = node.operation
        if node.is_input:
            for tensor in node.outputs:
                if id(tensor) not in self.tensors:  # a nested model's input is bound by the call to it
                    self.tensors[id(tensor)] = self.add(self._input(layer, tensor))
            return
        inputs = tuple(self.tensors[id(t)] for t in node.input_tensors)
        nested = getattr(layer, "_functional", None) or layer
        if hasattr(nested, "_nodes_by_depth"):
            self.tensors.update({id(t): name for t, name in zip(nested.inputs, inputs)})
            self.add_model(nested)
            self.tensors.update({id(t): self.tensors[id(inner)] for t, inner in zip(node.outputs, nested.outputs)})
            return
        each = type(layer).__name__ == "TimeDistributed"
        layer = layer.layer if each else layer
        self.tensors[id(node.outputs[0])] = self._converted(layer, node, inputs, each)

    def _converted(self, layer: Any, node: Any, inputs: tuple[str, ...], each: bool) -> str:
        """The record that writes what ``layer`` gives; ``each``: to each frame of a clip."""
        kind = type(layer).__name__
        begins = max(self.zeros_before.get(id(t), 0) for t in node.input_tensors)
        if kind in keras_layers.IDENTITIES:
            self.zeros_before[id(node.outputs[0])] = begins
            return inputs[0]
        convert = CONVERTERS.get(kind)
        if convert is None:
            hint = HINTS.get(kind, f"Spica takes {', '.join(sorted(set(CONVERTERS) | {'Dropout'}))}")
            raise SpicaError(f"{layer.name}: Keras layer {kind} is not supported; {hint}")
        if self.over_time and not each and not keras_time.takes_clips(layer):
            raise SpicaError(f"{layer.name}: Keras layer {kind} would mix frames; wrap it in TimeDistributed")
        keras_time.check_beginning(layer, begins)
        self.zeros_before[id(node.outputs[0])] = keras_time.zeros_before(layer)
        records = convert(layer, node.operation.name, inputs, self.types[inputs[0]].shape)
        return self.add(records) if records else inputs[0]

    def _input(self, layer: Any, tensor: Any) -> list[Layer]:
        """Of one sample; of one frame of a clip, which is then an image."""
        shape = tuple(tensor.shape[1 + self.over_time :])
        if any(size is None for size in shape):
            raise SpicaError(f"{layer.name}: input shape {shape} has unknown sizes; build the model with fixed ones")
        source = Input(name=layer.name, shape=shape)
        if self.recurrent and len(shape) == 1:
            return [source, Reshape(name=f"{source.name}/step", inputs=(source.name,), shape=(1, *shape))]
        return [source, *keras_time.as_image(source.name, (source.name,), shape)] if self.over_time else [source]

    def flatten(self, outputs: Sequence[str]) -> None:
        """Let dense layers at the end give ``(K,)``, not an image of one pixel or a stretch of one step."""
        for i, layer in reversed(list(enumerate(self.layers))):
            *places, _ = self.types[layer.name].shape
            if layer.name in outputs and isinstance(layer, Conv2D | Dense) and places and set(places) == {1}:
                flat, kernel = Flatten(name=f"{layer.name}/flatten", inputs=layer.inputs), layer.kernel
                kernel = kernel.reshape(kernel.shape[-2:])
                last = Dense(name=layer.name, inputs=(flat.name,), kernel=kernel, bias=layer.bias)
                self.layers[i : i + 1] = [flat, last]

"""Keras 3 models, sequential or functional, nested or not, to float networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.importers.builder import Builder
from spica.layers import (
    Activation,
    Add,
    Attention,
    BufferTempConv,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DiagonalRecurrence,
    Flatten,
    Gelu,
    GlobalAveragePooling2D,
    Input,
    LayerNormalization,
    MaxPool,
    MaxPool2D,
    ReLU,
    Reshape,
    Scale,
    SeparableConv2D,
    Softmax,
    Take,
    TokenEmbedding,
    ZeroPad,
)
from spica.network import Layer, Network

IDENTITIES = {
    "Dropout",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
}
"""Layers that do nothing at inference."""

HINTS = {
    "AveragePooling2D": "use GlobalAveragePooling2D or a strided convolution",
    "LeakyReLU": "use ReLU",
    "PReLU": "use ReLU",
    "ELU": "use ReLU",
    "Conv1D": 'over time use padding="causal"; else reshape to an image of height 1 and use Conv2D',
    "Conv3D": "use keras.layers.TimeDistributed(Conv2D) and spica.temporal.TemporalConv",
    "GlobalAveragePooling1D": "leave the average over time out, and train on labels for every frame",
    "GlobalAveragePooling3D": "leave the average over time out, and train on labels for every frame",
    "UpSampling2D": "use a transposed convolution",
    "LSTM": "hardware has no layer for its products of gates; spica.split leaves it to the host",
    "GRU": "hardware has no layer for its products of gates; spica.split leaves it to the host",
}
"""What to use instead of some layers that hardware does not have."""


def from_keras(model: Any) -> Network:
    """Take a built Keras 3 model as a float network.

    Args:
        model: a ``keras.Model``: sequential or functional, with channels last. Nested models are inlined; dropout
            and other layers that do nothing at inference vanish. A model of clips ``(T, ...)``, with the layers of
            ``spica.temporal`` in it, becomes the network of one frame, which remembers the last ones.

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
    over_time = any(type(layer).__name__ in OVER_TIME or _is_causal(layer) for layer in layers)
    graph = _Graph(over_time, recurrent=any(type(layer).__name__ == "DiagonalSSM" for layer in layers))
    graph.add_model(functional)
    outputs = tuple(graph.tensors[id(t)] for t in functional.outputs)
    if graph.over_time:
        graph.flatten(outputs)
    return Network(tuple(graph.layers), outputs, model.name)


class _Graph(Builder):
    """Collects records while walking a model; knows which record wrote each Keras tensor.

    ``over_time`` says that the first axis after the batch's is time, of which a network reads one frame; ``recurrent``,
    that a frame is a stretch of one step.
    """

    def __init__(self, over_time: bool, recurrent: bool) -> None:
        super().__init__()
        self.over_time, self.recurrent = over_time, recurrent
        self.tensors: dict[int, str] = {}

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
        kind = type(layer).__name__
        if kind in IDENTITIES:
            self.tensors[id(node.outputs[0])] = inputs[0]
            return
        convert = CONVERTERS.get(kind)
        if convert is None:
            hint = HINTS.get(kind, f"Spica takes {', '.join(sorted(set(CONVERTERS) | {'Dropout'}))}")
            raise SpicaError(f"{layer.name}: Keras layer {kind} is not supported; {hint}")
        if self.over_time and not each and kind not in PER_FRAME and not _is_causal(layer):
            raise SpicaError(f"{layer.name}: Keras layer {kind} would mix frames; wrap it in TimeDistributed")
        records = convert(layer, node.operation.name, inputs, self.types[inputs[0]].shape)
        self.tensors[id(node.outputs[0])] = self.add(records)

    def _input(self, layer: Any, tensor: Any) -> list[Layer]:
        """Of one sample; of one frame of a clip, which is then an image."""
        shape = tuple(tensor.shape[1 + self.over_time :])
        if any(size is None for size in shape):
            raise SpicaError(f"{layer.name}: input shape {shape} has unknown sizes; build the model with fixed ones")
        source = Input(name=layer.name, shape=shape)
        if self.recurrent and len(shape) == 1:
            return [source, Reshape(name=f"{source.name}/step", inputs=(source.name,), shape=(1, *shape))]
        return [source, *_as_image(source.name, (source.name,), shape)] if self.over_time else [source]

    def flatten(self, outputs: Sequence[str]) -> None:
        """Let dense layers at the end give ``(K,)``, not an image of one pixel."""
        for i, layer in reversed(list(enumerate(self.layers))):
            if layer.name in outputs and isinstance(layer, Conv2D) and self.types[layer.name].shape[:2] == (1, 1):
                flat = Flatten(name=f"{layer.name}/flatten", inputs=layer.inputs)
                last = Dense(name=layer.name, inputs=(flat.name,), kernel=layer.kernel[0, 0], bias=layer.bias)
                self.layers[i : i + 1] = [flat, last]


# -- one function for each Keras layer: (layer, name, input names, input shape) -> records ---------------------


def _require(layer: Any, holds: bool, what: str, fix: str) -> None:
    if not holds:
        raise SpicaError(f"{layer.name}: {what} is not supported; {fix}")


def _array(weight: Any) -> NDArray[np.float32]:
    """A Keras variable of any backend as float32."""
    from keras import ops

    return np.array(ops.convert_to_numpy(weight), np.float32)


def _check_convolution(layer: Any) -> None:
    _require(layer, layer.data_format == "channels_last", "channels_first", "use channels_last")
    _require(layer, set(layer.dilation_rate) == {1}, f"dilation {layer.dilation_rate}", "use dilation 1")
    _require(
        layer,
        getattr(layer, "groups", 1) == 1,
        f"a convolution in {getattr(layer, 'groups', 1)} groups",
        "use groups=1 or DepthwiseConv2D",
    )
    _require(
        layer,
        getattr(layer, "depth_multiplier", 1) == 1,
        "depth_multiplier above 1",
        "use depth_multiplier=1",
    )


def _bias(layer: Any) -> NDArray[np.float32] | None:
    return _array(layer.bias) if layer.use_bias else None


def _with_activation(layer: Any, record: Layer) -> list[Layer]:
    """The record, then its Keras ``activation`` argument as a record of its own."""
    function = layer.activation
    name = getattr(function, "__name__", str(function))
    return [record, *_activation(layer, f"{record.name}/{name}", (record.name,), name)]


def _activation(layer: Any, name: str, inputs: tuple[str, ...], function: str) -> list[Layer]:
    if function == "linear":
        return []
    if function == "relu":
        return [Activation(name=name, inputs=inputs, function=ReLU())]
    if function == "relu6":
        return [Activation(name=name, inputs=inputs, function=ReLU(max_value=np.array(6, np.float32)))]
    if function == "gelu":
        return [Gelu(name=name, inputs=inputs)]
    if function == "softmax":
        return [Softmax(name=name, inputs=inputs)]
    raise SpicaError(
        f"{layer.name}: activation {function!r} is not supported; use relu, relu6, gelu, linear or softmax"
    )


def _conv2d(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _check_convolution(layer)
    return _with_activation(
        layer,
        Conv2D(
            name=name,
            inputs=inputs,
            kernel=_array(layer.kernel),
            bias=_bias(layer),
            strides=tuple(layer.strides),
            padding=layer.padding,
        ),
    )


def _depthwise(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _check_convolution(layer)
    kernel = _array(layer.kernel)[..., 0]
    return _with_activation(
        layer,
        DepthwiseConv2D(
            name=name,
            inputs=inputs,
            kernel=kernel,
            bias=_bias(layer),
            strides=tuple(layer.strides),
            padding=layer.padding,
        ),
    )


def _separable(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _check_convolution(layer)
    return _with_activation(
        layer,
        SeparableConv2D(
            name=name,
            inputs=inputs,
            depthwise_kernel=_array(layer.depthwise_kernel)[..., 0],
            kernel=_array(layer.pointwise_kernel)[0, 0],
            bias=_bias(layer),
            strides=tuple(layer.strides),
            padding=layer.padding,
        ),
    )


def _dense(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    kernel, bias = _array(layer.kernel), _bias(layer)
    if len(shape) == 3:  # a dense layer on an image acts on every pixel: a 1x1 convolution
        return _with_activation(layer, Conv2D(name=name, inputs=inputs, kernel=kernel[None, None], bias=bias))
    return _with_activation(layer, Dense(name=name, inputs=inputs, kernel=kernel, bias=bias))


def _batch_norm(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    _require(layer, list(axes) in ([-1], [len(shape)]), f"axis {layer.axis}", "normalise the last axis")
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    scale = 1 / np.sqrt(variance + np.float32(layer.epsilon))
    if layer.scale:
        scale = scale * _array(layer.gamma)
    offset = -mean * scale
    if layer.center:
        offset = offset + _array(layer.beta)
    return [Scale(name=name, inputs=inputs, scale=scale.astype(np.float32), offset=offset.astype(np.float32))]


def _rescaling(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    scale, offset = (
        np.broadcast_to(np.asarray(v, np.float32), (shape[-1],)).copy() for v in (layer.scale, layer.offset)
    )
    return [Scale(name=name, inputs=inputs, scale=scale, offset=offset)]


def _normalization(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    mean, variance = (np.array(v, np.float32).reshape(-1) for v in (layer.mean, layer.variance))
    _require(
        layer,
        mean.size in (1, shape[-1]) and not layer.invert,
        "normalisation over other axes or inverted",
        "normalise the last axis",
    )
    factor = 1 / np.maximum(np.sqrt(variance), 1e-7)
    scale, offset = (np.broadcast_to(v, (shape[-1],)).astype(np.float32) for v in (factor, -mean * factor))
    return [Scale(name=name, inputs=inputs, scale=scale, offset=offset)]


def _relu(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _require(
        layer,
        not layer.negative_slope and not layer.threshold,
        "a ReLU with slope or threshold",
        "use a plain ReLU",
    )
    bound = None if layer.max_value is None else np.array(layer.max_value, np.float32)
    return [Activation(name=name, inputs=inputs, function=ReLU(max_value=bound))]


def _activation_layer(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    function = getattr(layer.activation, "__name__", str(layer.activation))
    return _activation(layer, name, inputs, function) or [Reshape(name=name, inputs=inputs, shape=shape)]


def _max_pool(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _require(layer, layer.data_format == "channels_last", "channels_first", "use channels_last")
    pool = MaxPool(size=tuple(layer.pool_size), strides=tuple(layer.strides), padding=layer.padding)
    return [MaxPool2D(name=name, inputs=inputs, pool=pool)]


def _global_average(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _require(layer, layer.data_format == "channels_last", "channels_first", "use channels_last")
    pooled = GlobalAveragePooling2D(name=name, inputs=inputs)
    if not layer.keepdims:
        return [pooled]
    return [pooled, Reshape(name=f"{name}/keepdims", inputs=(name,), shape=(1, 1, shape[-1]))]


def _average_pool(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _require(layer, layer.data_format == "channels_last", "channels_first", "use channels_last")
    whole = tuple(layer.pool_size) == shape[:2] and layer.padding == "valid"
    _require(
        layer, whole, "average pooling over part of an image", "use GlobalAveragePooling2D or a strided convolution"
    )
    pooled = GlobalAveragePooling2D(name=name, inputs=inputs)
    return [pooled, Reshape(name=f"{name}/keepdims", inputs=(name,), shape=(1, 1, shape[-1]))]


def _flatten(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    return [Flatten(name=name, inputs=inputs)]


def _reshape(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    target = list(layer.target_shape)
    if -1 in target:
        target[target.index(-1)] = -int(np.prod(shape)) // int(np.prod(target))
    return [Reshape(name=name, inputs=inputs, shape=tuple(target))]


def _add(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    chain: list[Layer] = []
    total = inputs[0]
    for i, other in enumerate(inputs[1:], start=1):
        label = name if i == len(inputs) - 1 else f"{name}/{i}"
        chain.append(Add(name=label, inputs=(total, other)))
        total = label
    return chain


def _concatenate(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _require(
        layer,
        layer.axis in (-1, len(shape)),
        f"concatenation along axis {layer.axis}",
        "concatenate channels",
    )
    return [Concatenate(name=name, inputs=inputs)]


def _zero_pad(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    return [ZeroPad(name=name, inputs=inputs, padding=(tuple(layer.padding[0]), tuple(layer.padding[1])))]


def _temporal(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    kind = BufferTempConv if type(layer).__name__ == "TemporalConv" else DepthwiseBufferTempConv
    image = _as_image(name, inputs, shape)
    inputs = (image[0].name,) if image else inputs
    return [*image, kind(name=name, inputs=inputs, kernel=_array(layer.kernel), bias=_bias(layer))]


def _is_causal(layer: Any) -> bool:
    return type(layer).__name__ == "Conv1D" and layer.padding == "causal"


def _causal(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    """A causal convolution looks back; dilated, past frames between which it does not look."""
    _require(layer, _is_causal(layer), f'a Conv1D with padding "{layer.padding}"', HINTS["Conv1D"])
    _require(layer, layer.groups == 1 and set(layer.strides) == {1}, "a stride or groups", "leave them out")
    _require(layer, layer.data_format == "channels_last", "channels_first", "use channels_last")
    taps = _array(layer.kernel)
    kernel = np.zeros(((len(taps) - 1) * layer.dilation_rate[0] + 1, *taps.shape[1:]), np.float32)
    kernel[:: layer.dilation_rate[0]] = taps
    image = _as_image(name, inputs, shape)
    inputs = (image[0].name,) if image else inputs
    record = BufferTempConv(name=name, inputs=inputs, kernel=kernel, bias=_bias(layer))
    return [*image, *_with_activation(layer, record)]


def _token_embedding(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    constants = _array(layer.positions)
    if layer.class_token:
        constants[0] += _array(layer.token)[0]
    return [TokenEmbedding(name=name, inputs=inputs, class_token=layer.class_token, constants=constants)]


def _layer_norm(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    _require(layer, list(axes) in ([-1], [len(shape)]), f"axis {layer.axis}", "normalise the last axis")
    gamma = _array(layer.gamma) if layer.scale else np.ones(shape[-1], np.float32)
    beta = _array(layer.beta) if layer.center else np.zeros(shape[-1], np.float32)
    return [LayerNormalization(name=name, inputs=inputs, gamma=gamma, beta=beta, epsilon=float(layer.epsilon))]


def _attention(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _require(layer, len(set(inputs)) == 1, "attention between different tensors", "use self-attention")
    _require(layer, layer.key_dim == layer.value_dim, "values of another width than keys", "leave value_dim out")
    parts: list[Layer] = []
    for part in ("query", "key", "value"):
        dense = getattr(layer, f"{part}_dense")
        bias = _array(dense.bias).reshape(-1) if layer.use_bias else None
        kernel = _array(dense.kernel).reshape(shape[-1], -1)
        parts.append(Dense(name=f"{name}/{part}", inputs=inputs[:1], kernel=kernel, bias=bias))
    mixed = Attention(name=f"{name}/attend", inputs=tuple(p.name for p in parts), heads=layer.num_heads)
    last = layer.output_dense
    kernel = _array(last.kernel).reshape(-1, last.kernel.shape[-1])
    end = Dense(name=name, inputs=(mixed.name,), kernel=kernel, bias=_array(last.bias) if layer.use_bias else None)
    return [*parts, mixed, end]


def _cropping(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    first, last = layer.cropping
    return [Take(name=name, inputs=inputs, axis=0, start=first, stop=shape[0] - last)]


def _diagonal_ssm(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    real, imaginary = (_array(part) for part in layer.factors)
    return [DiagonalRecurrence(name=name, inputs=inputs, a_real=real, a_imag=imaginary)]


def _as_image(name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    """What makes an image of one pixel of plain channels."""
    return [Reshape(name=f"{name}/image", inputs=inputs, shape=(1, 1, *shape))] if len(shape) == 1 else []


def _softmax(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _require(layer, layer.axis in (-1, len(shape)), f"softmax along axis {layer.axis}", "use the last axis")
    return [Softmax(name=name, inputs=inputs)]


OVER_TIME = ("DepthwiseTemporalConv", "DiagonalSSM", "TemporalConv", "TimeDistributed")
"""Layers by which a model is known to read clips."""

PER_FRAME = {
    "Activation", "Add", "BatchNormalization", "Concatenate", "Dense", "ReLU", "Rescaling",
    "DepthwiseTemporalConv", "DiagonalSSM", "Softmax", "TemporalConv",
}  # fmt: skip
"""Layers that do the same to every frame of a clip as they do to the clip."""

CONVERTERS: dict[str, Callable[[Any, str, tuple[str, ...], tuple[int, ...]], list[Layer]]] = {
    "Activation": _activation_layer,
    "Add": _add,
    "AveragePooling2D": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Cropping1D": _cropping,
    "Conv1D": _causal,
    "Conv2D": _conv2d,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "DepthwiseTemporalConv": _temporal,
    "DiagonalSSM": _diagonal_ssm,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_average,
    "LayerNormalization": _layer_norm,
    "MaxPooling2D": _max_pool,
    "MultiHeadAttention": _attention,
    "Normalization": _normalization,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv2D": _separable,
    "Softmax": _softmax,
    "TemporalConv": _temporal,
    "TokenEmbedding": _token_embedding,
    "ZeroPadding2D": _zero_pad,
}

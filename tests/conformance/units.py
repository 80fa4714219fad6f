"""Small networks, each of which turns on one feature of the reference."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tf_keras as keras
from quantizeml import layers as qml
from quantizeml.layers import (
    Activation,
    BufferTempConv,
    DepthwiseBufferTempConv,
    DepthwiseConv2DTranspose,
    ExtractToken,
    PaddedConv2D,
    StatefulProjection,
    StatefulRecurrent,
)
from tf_keras.layers import (
    BatchNormalization,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    LeakyReLU,
    MaxPool2D,
    Permute,
    ReLU,
    Rescaling,
    Reshape,
    SeparableConv2D,
    Softmax,
)

EVERY, ENDS = ("w8a8", "w4a8", "w4a4"), ("w8a8", "w4a4")


@dataclass
class Case:
    """A float network, how to quantise it and what to feed it."""

    name: str
    build: Callable
    bits: str = "w8a8"
    qparams: dict = field(default_factory=dict)
    arguments: dict = field(default_factory=dict)
    samples: int = 2
    # More than nought for a temporal network: the number of inputs in its sequence.
    frames: int = 0
    draw: Callable | None = None
    edit: Callable | None = None


def cases(name, build, *bits, samples=2, frames=0, draw=None, edit=None, **qparams):
    for b in bits or ("w8a8",):
        yield Case(f"{name}_{b}", build, b, qparams, {}, samples, frames, draw, edit)


# --- pieces -------------------------------------------------------------------------------------------------


def fresh(layer):
    """A copy, named anew: a layer that served two networks would link them."""
    return type(layer).from_config({k: v for k, v in layer.get_config().items() if k != "name"})


def attach(x, *layers):
    """Put copies of the layers, which may be nested in lists, after a tensor."""
    for layer in layers:
        x = attach(x, *layer) if isinstance(layer, list) else fresh(layer)(x)
    return x


def net(*layers, shape=(8, 7, 3), dtype="uint8", rescaling=(1 / 255, 0.0), batch=None):
    """A builder of a network of one branch. Integers need a Rescaling, for float layers only take floats."""

    def build():
        inputs = keras.Input(shape, dtype=dtype, batch_size=batch)
        x = attach(inputs, Rescaling(*rescaling)) if rescaling else inputs
        return keras.Model(inputs, attach(x, *layers))

    return build


def vector(*layers, **kwargs):
    return net(*layers, shape=(20,), **kwargs)


def frames(*layers):
    return net(*layers, shape=(6, 5, 2), dtype="int8", rescaling=(1 / 127, 0.0))


def recurrent(*tail):
    body = [StatefulProjection(6, use_bias=False), StatefulRecurrent(), ExtractToken(token=0, axis=-1)]
    return net(*body, *tail, shape=(8, 1), dtype="int16", rescaling=(2**-15, 0.0), batch=1)


def conv(filters=4, kernel=3, strides=1, padding="same", **kwargs):
    return [Conv2D(filters, kernel, strides, padding, **kwargs), BatchNormalization()]


# Gives the layer under test quantised activations, per channel unless the parameters say otherwise.
STEM = [conv(), ReLU(6.0)]
HEAD = [GlobalAveragePooling2D(), Dense(3)]
TAIL = [ReLU(), *HEAD]


def merged(merge, filters=(4, 4), tail=TAIL):
    def build():
        inputs = keras.Input((8, 7, 3), dtype="uint8")
        x = attach(inputs, Rescaling(1 / 255), STEM)
        x = fresh(merge)([attach(x, conv(f)) for f in filters])
        return keras.Model(inputs, attach(x, *tail))

    return build


def residual():
    inputs = keras.Input((8, 7, 3), dtype="uint8")
    x = attach(inputs, Rescaling(1 / 255), STEM)
    x = qml.Add()([x, attach(x, conv(), ReLU())])
    return keras.Model(inputs, attach(x, conv(5), ReLU(), HEAD))


def add_of_add(average):
    def build():
        inputs = keras.Input((6, 6, 3), dtype="uint8")
        x = attach(inputs, Rescaling(1 / 255), STEM)
        a, b, c = (attach(x, conv()) for _ in range(3))
        x = qml.Add(average=average)([qml.Add(average=average)([a, b]), c])
        return keras.Model(inputs, attach(x, conv(3)))

    return build


def two_inputs():
    inputs = [keras.Input((8, 8, c), dtype="uint8", name=name) for name, c in (("left", 3), ("right", 1))]
    x = qml.Add()([attach(i, Rescaling(1 / 255), STEM, conv()) for i in inputs])
    return keras.Model(inputs, attach(x, conv(3), ReLU()))


def two_outputs():
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = attach(inputs, Rescaling(1 / 255), STEM, conv(6), ReLU())
    return keras.Model(inputs, [attach(x, conv(2, 1)), attach(x, HEAD)])


def anomaly():
    body = recurrent(StatefulProjection(1))()
    return keras.Model(body.input, qml.PicoPostProcessing(threshold=4000.0)(body.output, body.input))


def silence(model):
    """Channels whose ranges are nought: one that is never active, and one of no weights."""
    kernel = next(layer for layer in model.layers if isinstance(layer, Conv2D)).kernel
    kernel.assign(kernel * (np.arange(kernel.shape[-1]) != 0))
    norm = next(layer for layer in model.layers if isinstance(layer, BatchNormalization))
    norm.beta.assign(np.where(np.arange(norm.beta.shape[0]) == 1, -50.0, norm.beta))


def overload(model):
    """A bias that dwarfs its weights: aligning it on the products saturates it."""
    dense = model.layers[-1]
    dense.kernel.assign(dense.kernel * 1e-4)
    dense.bias.assign([30.0, -20.0, 5.0, 0.01])


def full_scale(rng, tensor, count):
    """Samples near the end of the range, for sums that saturate."""
    top = np.iinfo(tensor.dtype.as_numpy_dtype).max
    x = rng.integers(top // 2, top, (count, *tensor.shape[1:]), endpoint=True)
    x[1::2] *= -1
    return x.astype(tensor.dtype.as_numpy_dtype)


def reals(rng, tensor, count):
    x = rng.normal(0.2, 0.5, (count, *tensor.shape[1:])) * rng.uniform(0.5, 3.0, tensor.shape[-1])
    return x.astype(np.float32)


# --- cases --------------------------------------------------------------------------------------------------


def units():
    for group in (convolutions, poolings, depthwise, dense, transposed, merges, shapes, activations, inputs):
        yield from group()
    yield from saturation()
    yield from temporal()


def convolutions():
    for padding, kernel, strides in (
        *(("same", k, s) for k in (3, 5, 7) for s in (1, 2, 3)),
        ("valid", 3, 1), ("valid", 3, 2), ("valid", 5, 2), ("valid", 7, 3),
    ):  # fmt: skip
        build = net(conv(4, kernel, strides, padding), ReLU(), HEAD, shape=(11, 10, 3))
        bits = EVERY if (kernel, strides) == (3, 2) else ()
        yield from cases(f"input_conv_k{kernel}s{strides}_{padding}", build, *bits)
    yield from cases("input_conv_k2", net(conv(4, 2, 2), ReLU(), HEAD))
    yield from cases("input_conv_k3x5", net(conv(4, (3, 5)), ReLU(), HEAD))
    yield from cases("input_conv_raw", net(conv(), ReLU(), conv(3), rescaling=(1.0, 0.0)))
    yield from cases("input_conv_tensor", net(conv(), ReLU(), conv(3)), *ENDS, per_tensor_activations=True)
    yield from cases("input_conv_int8", net(conv(), ReLU(), conv(3), dtype="int8"), *ENDS)
    yield from cases("input_conv_int16", net(conv(), ReLU(), conv(3), dtype="int16", rescaling=(2**-15, 0.0)), *ENDS)

    scalar, channels = (1 / 127, -1.0), ([0.008, 0.007, 0.009], [-1.0, -0.8, -1.2])
    yield from cases("padding_scalar", net(conv(), ReLU(), HEAD, rescaling=scalar), *EVERY)
    yield from cases("padding_scalar_k5s2", net(conv(4, 5, 2), ReLU(), HEAD, rescaling=(1 / 127.5, -1.0)))
    yield from cases("padding_scalar_valid", net(conv(4, 3, 1, "valid"), ReLU(), HEAD, rescaling=scalar))
    yield from cases("padding_channels", net(conv(), ReLU(), HEAD, rescaling=channels), *EVERY)
    yield from cases("padding_channels_k5s2", net(conv(4, 5, 2), ReLU(), HEAD, rescaling=channels))
    yield from cases("padding_layer", net(PaddedConv2D(4, 3, 2, padding_value=[0.1, 0.5, -0.3]), ReLU(), HEAD))

    yield from cases("conv", net(STEM, conv(5), ReLU(), HEAD), *EVERY)
    yield from cases("conv_tensor", net(STEM, conv(5), ReLU(), HEAD), *ENDS, per_tensor_activations=True)
    yield from cases("conv_1x1", net(STEM, conv(5, 1), ReLU(), conv(3, 1)), *ENDS)
    yield from cases("conv_1x1_s2", net(STEM, conv(5, 1, 2), ReLU(), HEAD))
    yield from cases("conv_k5s2_valid", net(STEM, conv(5, 5, 2, "valid"), ReLU(), HEAD))
    yield from cases("conv_dilated", net(STEM, conv(5, dilation_rate=2), ReLU(), HEAD))
    yield from cases("conv_linear", net(conv(6), conv(5), conv(3)), *ENDS)
    yield from cases("conv_bias", net(Conv2D(4, 3), ReLU(), Conv2D(3, 3)), *ENDS)
    yield from cases("conv_no_bias", net(STEM, Conv2D(3, 3, use_bias=False)))
    yield from cases("conv_silent", net(conv(), ReLU(), conv(3), ReLU(), HEAD), *ENDS, edit=silence)


def poolings():
    for size, strides, padding in (
        (2, 2, "valid"), (2, 1, "valid"), (3, 2, "valid"),
        (2, 2, "same"), (3, 2, "same"), (3, 1, "same"),
    ):  # fmt: skip
        build = net(conv(5), MaxPool2D(size, strides, padding), ReLU(), conv(3), shape=(9, 7, 3))
        bits = ENDS if (size, strides, padding) == (2, 2, "valid") else ()
        yield from cases(f"maxpool_{size}s{strides}_{padding}", build, *bits)
    yield from cases("maxpool_of_relu", net(STEM, MaxPool2D(2), conv(3), MaxPool2D(2)))
    for name, limit in {"unbounded": None, "6": 6.0, "1": 1.0, "0.3": 0.3}.items():
        bits = EVERY if limit in (None, 6.0) else ENDS
        yield from cases(f"relu_{name}", net(STEM, conv(5), ReLU(limit), conv(3)), *bits)
    yield from cases("relu_unbounded_last", net(STEM, conv(5), ReLU()))
    yield from cases("relu_6_last", net(STEM, conv(5), ReLU(6.0)))
    yield from cases("gap", net(conv(6), ReLU(), GlobalAveragePooling2D(), Dense(5)), *EVERY)
    yield from cases("gap_before_relu", net(conv(6), GlobalAveragePooling2D(), ReLU(), Dense(4)))
    yield from cases("gap_last", net(STEM, conv(6), GlobalAveragePooling2D()))
    yield from cases("gap_of_input_last", net(conv(6), ReLU(), GlobalAveragePooling2D()))
    yield from cases("gap_of_relu_last", net(STEM, GlobalAveragePooling2D(keepdims=True)))
    yield from cases("gap_of_add", merged(qml.Add(), tail=HEAD), per_tensor_activations=True)
    yield from cases("last_output_16", net(STEM, HEAD), last_output_bits=16)
    yield from cases("last_output_4", net(STEM, conv(3)), last_output_bits=4)


def depthwise():
    for kernel in (3, 5, 7):
        for strides in (1, 2):
            layer = [DepthwiseConv2D(kernel, strides, "same"), BatchNormalization(), ReLU()]
            bits = EVERY if (kernel, strides) == (3, 2) else ()
            yield from cases(f"depthwise_k{kernel}s{strides}", net(STEM, layer, conv(3, 1), shape=(10, 9, 3)), *bits)
    yield from cases("depthwise_valid", net(STEM, DepthwiseConv2D(3), ReLU(), conv(3, 1)), *ENDS)
    yield from cases(
        "depthwise_tensor",
        net(STEM, DepthwiseConv2D(3, padding="same"), ReLU(), conv(3, 1)),
        per_tensor_activations=True,
    )
    for strides in (1, 2):
        layer = [SeparableConv2D(5, 3, strides, "same"), BatchNormalization(), ReLU()]
        bits = (*EVERY, "w2a4") if strides == 1 else ("w8a8",)
        yield from cases(f"separable_s{strides}", net(STEM, layer, HEAD), *bits, per_tensor_activations=True)
    layer = [SeparableConv2D(5, 5, padding="same"), MaxPool2D(2), ReLU()]
    yield from cases("separable_k5_pool", net(STEM, layer, HEAD), per_tensor_activations=True)
    yield from cases("separable_axis", net(STEM, SeparableConv2D(5, 3), ReLU(), HEAD))


def dense():
    layers = [Dense(12), BatchNormalization(), ReLU(6.0), Dense(8), ReLU(), Dense(4)]
    yield from cases("dense", vector(*layers), *EVERY, "w2a4")
    yield from cases("dense_no_bias", vector(Dense(6, use_bias=False), ReLU(), Dense(3)))
    yield from cases("dense_of_image", net(STEM, Dense(6), ReLU(), Dense(3)))
    yield from cases("dense_int8", vector(Dense(6), ReLU(), Dense(3), dtype="int8"))
    yield from cases("dropout", vector(Dense(8), ReLU(), Dropout(0.5), Dense(3)))
    yield from cases("softmax_last", vector(Dense(8), ReLU(), Dense(5), Softmax()))


def transposed():
    for kernel in (2, 3, 4):
        bits = ENDS if kernel == 3 else ()
        layer = [Conv2DTranspose(5, kernel, 2, "same"), BatchNormalization(), ReLU()]
        yield from cases(f"conv_transpose_k{kernel}", net(STEM, layer, conv(3), shape=(5, 4, 3)), *bits)
        layer = [DepthwiseConv2DTranspose(kernel, 2, "same"), ReLU()]
        yield from cases(f"depthwise_transpose_k{kernel}", net(STEM, layer, conv(3, 1), shape=(5, 4, 3)), *bits)
    for name, layer in {
        "valid": Conv2DTranspose(5, 3, 2),
        "s1": Conv2DTranspose(5, 3, 1, "same"),
        "s3": Conv2DTranspose(5, 3, 3, "same"),
    }.items():
        yield from cases(f"conv_transpose_{name}", net(STEM, layer, ReLU(), conv(3), shape=(5, 4, 3)))


def merges():
    yield from cases("add", merged(qml.Add()), *EVERY)
    yield from cases("add_tensor", merged(qml.Add()), *ENDS, per_tensor_activations=True)
    yield from cases("add_average", merged(qml.Add(average=True)), *ENDS)
    yield from cases("add_residual", residual, *EVERY)
    yield from cases("add_of_add", add_of_add(average=False))
    yield from cases("add_of_add_average", add_of_add(average=True))
    yield from cases("add_of_keras", merged(keras.layers.Add()))
    yield from cases("concatenate", merged(Concatenate(), (3, 5)), *ENDS)
    yield from cases("concatenate_conv", merged(Concatenate(), (3, 5), [conv(4), *TAIL]), *ENDS)
    yield from cases("concatenate_three", merged(Concatenate(), (2, 3, 4), [conv(4), *TAIL]))
    yield from cases("two_inputs", two_inputs)
    yield from cases("two_outputs", two_outputs, *ENDS)


def shapes():
    body = [conv(4, 3, 2), ReLU()]
    tensor = {"per_tensor_activations": True}
    yield from cases("flatten", net(body, Flatten(), Dense(4)), *ENDS)
    yield from cases("flatten_tensor", net(body, Flatten(), Dense(4)), **tensor)
    yield from cases("reshape", net(body, Reshape((16, 4)), Dense(3)))
    yield from cases("reshape_channels", net(body, Reshape((64,)), Dense(3)), **tensor)
    yield from cases("reshape_input", net(Reshape((4, 4, 3)), conv(), ReLU(), HEAD, shape=(48,)))
    yield from cases("permute", net(body, Permute((2, 1, 3)), conv(3)))
    yield from cases("permute_channels", net(body, Permute((3, 1, 2)), Dense(3)), **tensor)
    yield from cases("extract_token", net(body, Reshape((16, 4)), ExtractToken(token=5, axis=1), Dense(3)))
    yield from cases("rescaling_hidden", vector(Dense(8), ReLU(), Rescaling(0.37), Dense(3)))


def activations():
    for name in ("gelu", "swish", "hard_silu", "leaky_relu"):
        bits = EVERY if name == "swish" else ENDS
        yield from cases(f"activation_{name}", net(conv(5), Activation(name), conv(3)), *bits)
    yield from cases("activation_gelu_last", vector(Dense(8), Activation("gelu")))
    yield from cases("activation_leaky_0.05", net(conv(5), LeakyReLU(0.05), conv(3)))
    yield from cases("activation_gap", net(conv(5), Activation("gelu"), HEAD))


def inputs():
    for dtype in ("uint8", "int8", "int16"):
        for axis in ("axis", "tensor"):
            yield from cases(
                f"input_quantizer_{dtype}_{axis}",
                net(conv(), ReLU(), HEAD, dtype="float32", rescaling=None),
                input_dtype=dtype, per_tensor_activations=axis == "tensor", draw=reals,
            )  # fmt: skip
    yield from cases(
        "input_quantizer_dense",
        vector(Dense(8), ReLU(), Dense(3), dtype="float32", rescaling=None),
        input_dtype="int8", draw=reals,
    )  # fmt: skip


def saturation():
    positive = {"kernel_initializer": keras.initializers.RandomUniform(0.2, 1.0)}
    wide = {"dtype": "int16", "rescaling": (2**-15, 0.0)}
    yield from cases("saturate_dense", net(Dense(4, **positive), shape=(512,), **wide), "w8a8", "w4a8", draw=full_scale)
    yield from cases(
        "saturate_conv", net(Conv2D(3, 5, **positive), ReLU(), HEAD, shape=(6, 6, 8), **wide), draw=full_scale
    )
    yield from cases("saturate_bias", vector(Dense(8), ReLU(6.0), Dense(4)), edit=overload)
    layers = [STEM, conv(5), ReLU(), conv(4), ReLU(), HEAD]
    for bits in (16, 18, 20):
        yield from cases(f"saturate_{bits}", net(*layers, rescaling=(1.0, 0.0)), *ENDS, buffer_bits=bits)
    yield from cases("saturate_add_16", residual, buffer_bits=16)


def temporal():
    yield from cases("temporal", frames(BufferTempConv(5, 4, use_bias=True), ReLU(), conv(3)), *EVERY, frames=9)
    full = [BufferTempConv(5, 3, use_bias=True), BatchNormalization(), ReLU()]
    yield from cases("temporal_hidden", frames(conv(4, 3, 2), ReLU(), full, HEAD), *ENDS, frames=9)
    channelwise = [DepthwiseBufferTempConv(5, use_bias=True), BatchNormalization(), ReLU()]
    yield from cases("temporal_depthwise", frames(STEM, channelwise, conv(3, 1)), *EVERY, frames=9)
    yield from cases(
        "temporal_tensor",
        frames(STEM, BufferTempConv(5, 3), ReLU(), DepthwiseBufferTempConv(4), ReLU(), HEAD),
        frames=9, per_tensor_activations=True,
    )  # fmt: skip
    yield from cases(
        "temporal_input_quantizer",
        net(full, HEAD, shape=(6, 5, 2), dtype="float32", rescaling=None),
        frames=7, input_dtype="int8", draw=reals,
    )  # fmt: skip

    yield from cases("recurrent", recurrent(StatefulProjection(4), ReLU(), Dense(3)), *EVERY, frames=4)
    second = [StatefulProjection(5, use_bias=False), StatefulRecurrent(), ExtractToken(token=0, axis=-1)]
    yield from cases(
        "recurrent_subsample",
        recurrent(StatefulProjection(4, subsample=4), ReLU(), *second, StatefulProjection(3, subsample=2)),
        frames=4,
    )
    yield from cases("recurrent_last", recurrent(), frames=3)
    yield from cases("recurrent_anomaly", anomaly, frames=4)

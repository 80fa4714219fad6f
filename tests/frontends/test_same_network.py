"""One list of small models, written in each framework: every front end must make the same network of them.

A construct is one entry in ``CONSTRUCTS``: the shape that it reads (channels last), and how each source builds it from
the same weights. A source is one entry in ``SOURCES``: another front end adds a column to both.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

import spica
from spica.network import Network

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


def weights(*shape, seed=0):
    """Return random numbers, the same for every source."""
    return np.random.default_rng([seed, *shape]).uniform(0.2, 1, shape).astype(np.float32)


class Keras:
    """Builds models of Keras layers; weights are given channels last, ``(kh, kw, C, F)`` and ``(C, F)``."""

    def __init__(self, keras):
        self.keras, self.layers = keras, keras.layers

    def network(self, build, shape):
        """The network of a model."""
        source = self.keras.Input(shape)
        return spica.from_keras(self.keras.Model(source, build(self, source)))

    def with_weights(self, layer, x, *values):
        """Return what a layer gives, with these weights."""
        y = layer(x)
        layer.set_weights(values)
        return y

    def conv(self, x, kernel, padding=0, strides=1, dilation=1, groups=1):
        """Convolution with a bias; amounts of padding as a layer before it."""
        if not isinstance(padding, str) and np.any(padding):
            x, padding = self.layers.ZeroPadding2D(padding)(x), 0
        layer = self.layers.Conv2D(
            kernel.shape[3], kernel.shape[:2], strides, padding or "valid", dilation_rate=dilation, groups=groups
        )
        return self.with_weights(layer, x, kernel, weights(kernel.shape[3]))

    def depthwise(self, x, kernel, padding="valid"):
        """``kernel`` (kh, kw, C, filters a channel)."""
        layer = self.layers.DepthwiseConv2D(kernel.shape[:2], padding=padding, depth_multiplier=kernel.shape[3])
        return self.with_weights(layer, x, kernel, weights(kernel.shape[2] * kernel.shape[3]))

    def transposed(self, x, kernel, strides):
        """``kernel`` (kh, kw, C, F), without padding."""
        layer = self.layers.Conv2DTranspose(kernel.shape[3], kernel.shape[:2], strides)
        return self.with_weights(layer, x, kernel.transpose(0, 1, 3, 2), weights(kernel.shape[3]))

    def dense(self, x, kernel):
        return self.with_weights(self.layers.Dense(kernel.shape[1]), x, kernel, weights(kernel.shape[1]))

    def norm(self, x):
        """Batch normalisation with a fixed seed for each statistic."""
        c = x.shape[-1]
        layer = self.layers.BatchNormalization(epsilon=1e-3)
        return self.with_weights(layer, x, *(weights(c, seed=i) for i in range(4)))

    def layer_norm(self, x):
        layer = self.layers.LayerNormalization(epsilon=1e-5)
        return self.with_weights(layer, x, *(weights(x.shape[-1], seed=i) for i in range(2)))

    def attention(self, x, heads):
        """Self-attention, its projections of one width."""
        c = x.shape[-1]
        each = c // heads
        w = [weights(c, c, seed=i) for i in range(4)]
        b = [weights(c, seed=i) for i in range(4)]
        values = []
        for kernel, bias in zip(w[:3], b[:3]):
            values += [kernel.reshape(c, heads, each), bias.reshape(heads, each)]
        layer = self.layers.MultiHeadAttention(heads, each)
        y = layer(x, x)
        layer.set_weights([*values, w[3].reshape(heads, each, c), b[3]])
        return y

    def activation(self, x, name):
        return self.layers.Activation(name)(x)

    def max_pool(self, x, size, strides):
        return self.layers.MaxPooling2D(size, strides)(x)

    def average(self, x):
        return self.layers.GlobalAveragePooling2D()(x)

    def pad(self, x, sides):
        return self.layers.ZeroPadding2D(sides)(x)

    def concat(self, *parts):
        return self.layers.Concatenate()(parts)

    def flatten(self, x):
        return self.layers.Flatten()(x)

    def tokens(self, x):
        return self.layers.Reshape((-1, x.shape[-1]))(x)

    def add(self, x, y):
        return self.layers.Add()([x, y])


class PyTorch:
    """Builds the same models of PyTorch's functions; images go in and out with channels first."""

    def network(self, build, shape):
        """The network of a module whose weights are its constants."""
        made = self

        class Model(nn.Module):
            def forward(self, x):
                return build(made, x)

        return spica.from_torch(Model(), torch.zeros(1, *np.roll(shape, 1) if len(shape) == 3 else shape))

    def turned(self, kernel):
        return torch.tensor(kernel.transpose(3, 2, 0, 1).copy())

    def conv(self, x, kernel, padding=0, strides=1, dilation=1, groups=1):
        if not isinstance(padding, str | int):
            x, padding = self.pad(x, padding), 0
        bias = torch.tensor(weights(kernel.shape[3]))
        return F.conv2d(x, self.turned(kernel), bias, strides, padding, dilation, groups)

    def depthwise(self, x, kernel, padding="valid"):
        kh, kw, c, m = kernel.shape
        return self.conv(x, kernel.reshape(kh, kw, 1, c * m), padding, groups=c)

    def transposed(self, x, kernel, strides):
        kernel, bias = kernel.transpose(2, 3, 0, 1).copy(), torch.tensor(weights(kernel.shape[3]))
        return F.conv_transpose2d(x, torch.tensor(kernel), bias, strides)

    def dense(self, x, kernel):
        turned = x.movedim(1, -1) if x.ndim == 4 else x
        y = F.linear(turned, torch.tensor(kernel.T.copy()), torch.tensor(weights(kernel.shape[1])))
        return y.movedim(-1, 1) if x.ndim == 4 else y

    def norm(self, x):
        gamma, beta, mean, variance = (torch.tensor(weights(x.shape[1], seed=i)) for i in range(4))
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    def layer_norm(self, x):
        c = x.shape[-1]
        return F.layer_norm(x, (c,), *(torch.tensor(weights(c, seed=i)) for i in range(2)), 1e-5)

    def attention(self, x, heads):
        c = x.shape[-1]
        w, b = [[torch.tensor(weights(*s, seed=i)) for i in range(4)] for s in ((c, c), (c,))]
        q, k, v = (F.linear(x, w[i].T, b[i]).unflatten(-1, (heads, -1)).transpose(1, 2) for i in range(3))
        return F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), w[3].T, b[3])

    def activation(self, x, name):
        return {"relu": F.relu, "relu6": F.relu6, "gelu": F.gelu, "softmax": lambda x: F.softmax(x, -1)}[name](x)

    def max_pool(self, x, size, strides):
        return F.max_pool2d(x, size, strides)

    def average(self, x):
        return x.mean((2, 3))

    def pad(self, x, sides):
        (top, bottom), (left, right) = sides
        return F.pad(x, (left, right, top, bottom))

    def concat(self, *parts):
        return torch.cat(parts, 1)

    def flatten(self, x):
        return x.movedim(1, -1).flatten(1) if x.ndim == 4 else x.flatten(1)

    def tokens(self, x):
        return x.flatten(2).transpose(1, 2)

    def add(self, x, y):
        return x + y


SOURCES = {"keras": Keras, "torch": lambda keras: PyTorch()}
IMAGE, TOKENS, VECTOR = (8, 9, 4), (6, 8), (7,)
K = weights(3, 3, 4, 6)

CONSTRUCTS = {
    "convolution": (IMAGE, lambda s, x: s.conv(x, K)),
    "convolution with a stride": (IMAGE, lambda s, x: s.conv(x, K, strides=2)),
    "same padding": (IMAGE, lambda s, x: s.conv(x, K, "same")),
    "same padding of an even kernel": (IMAGE, lambda s, x: s.conv(x, weights(2, 4, 4, 3), "same")),
    "asymmetric padding": (IMAGE, lambda s, x: s.conv(x, K, ((0, 1), (2, 1)), strides=2)),
    "dilation": (IMAGE, lambda s, x: s.conv(x, K, "same", dilation=2)),
    "dilation without padding": (IMAGE, lambda s, x: s.conv(x, K, dilation=(2, 1))),
    "groups": (IMAGE, lambda s, x: s.conv(x, weights(3, 3, 2, 6), groups=2)),
    "one group a channel": (IMAGE, lambda s, x: s.conv(x, weights(3, 3, 1, 4), groups=4)),
    "depthwise": (IMAGE, lambda s, x: s.depthwise(x, weights(3, 3, 4, 1), "same")),
    "depthwise with a multiplier": (IMAGE, lambda s, x: s.depthwise(x, weights(3, 3, 4, 3))),
    "depthwise, then pointwise": (IMAGE, lambda s, x: s.conv(s.depthwise(x, weights(3, 3, 4, 1)), weights(1, 1, 4, 5))),
    "transposed": (IMAGE, lambda s, x: s.transposed(x, weights(3, 3, 4, 2), 2)),
    "normalisation alone": (IMAGE, lambda s, x: s.norm(x)),
    "normalisation after a convolution": (IMAGE, lambda s, x: s.activation(s.norm(s.conv(x, K)), "relu")),
    "normalisation before a convolution": (IMAGE, lambda s, x: s.conv(s.norm(x), K, "same")),
    "normalisation of a vector": (VECTOR, lambda s, x: s.dense(s.norm(x), weights(7, 3))),
    "normalisation of a flat image": (IMAGE, lambda s, x: s.dense(s.norm(s.flatten(x)), weights(288, 3))),
    "dense on a vector": (VECTOR, lambda s, x: s.dense(x, weights(7, 3))),
    "dense on an image": (IMAGE, lambda s, x: s.dense(x, weights(4, 5))),
    "dense on tokens": (TOKENS, lambda s, x: s.dense(x, weights(8, 5))),
    "dense on a flat image": (IMAGE, lambda s, x: s.dense(s.flatten(s.conv(x, K)), weights(252, 5))),
    "dense on a flat pixel": (IMAGE, lambda s, x: s.dense(s.flatten(s.conv(x, weights(8, 9, 4, 5))), weights(5, 2))),
    "rectifiers": (IMAGE, lambda s, x: s.activation(s.conv(s.activation(x, "relu6"), K), "relu")),
    "rectifier of a flat image": (IMAGE, lambda s, x: s.dense(s.activation(s.flatten(x), "relu"), weights(288, 2))),
    "GELU": (TOKENS, lambda s, x: s.activation(s.dense(x, weights(8, 5)), "gelu")),
    "max pooling": (IMAGE, lambda s, x: s.max_pool(x, 2, 2)),
    "overlapping max pooling": (IMAGE, lambda s, x: s.max_pool(x, 3, 2)),
    "global average": (IMAGE, lambda s, x: s.dense(s.average(s.conv(x, K)), weights(6, 2))),
    "sum": (IMAGE, lambda s, x: s.add(s.conv(x, weights(1, 1, 4, 4)), s.conv(x, weights(3, 3, 4, 4), "same"))),
    "sum of flat images": (IMAGE, lambda s, x: s.add(s.flatten(x), s.flatten(s.conv(x, weights(1, 1, 4, 4))))),
    "concatenation": (IMAGE, lambda s, x: s.concat(x, s.conv(x, K, "same"))),
    "concatenation of vectors": (VECTOR, lambda s, x: s.concat(x, s.dense(x, weights(7, 3)))),
    "layer normalisation": (TOKENS, lambda s, x: s.layer_norm(x)),
    "layer normalisation of a vector": (VECTOR, lambda s, x: s.dense(s.layer_norm(x), weights(7, 2))),
    "attention": (TOKENS, lambda s, x: s.add(x, s.attention(s.layer_norm(x), 2))),
    "tokens of an image": (IMAGE, lambda s, x: s.attention(s.layer_norm(s.tokens(x)), 2)),
    "softmax": (VECTOR, lambda s, x: s.activation(s.dense(x, weights(7, 3)), "softmax")),
    "padding": (IMAGE, lambda s, x: s.max_pool(s.pad(x, ((1, 0), (0, 2))), 2, 2)),
}


def plain(net: Network) -> tuple[list, list[int]]:
    """The layers with their places instead of names, and the places of the outputs."""
    places = {layer.name: str(i) for i, layer in enumerate(net)}
    layers = [replace(layer, name=places[layer.name], inputs=tuple(map(places.get, layer.inputs))) for layer in net]
    return layers, [places[name] for name in net.outputs]


def assert_equal(ours, other, where=""):
    """Types, fields and arrays, all of them."""
    assert type(ours) is type(other), where
    if is_dataclass(ours):
        for field in fields(ours):
            name = f"{where} {type(ours).__name__}.{field.name}"
            assert_equal(getattr(ours, field.name), getattr(other, field.name), name)
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == other.dtype, where
        np.testing.assert_array_equal(ours, other, err_msg=where)
    else:
        assert ours == other, where


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_every_source_gives_the_same_network(construct, keras):
    shape, build = CONSTRUCTS[construct]
    nets = [make(keras).network(build, shape) for make in SOURCES.values()]
    (layers, outputs), *others = map(plain, nets)
    for other, where in others:
        assert [type(layer).__name__ for layer in layers] == [type(layer).__name__ for layer in other]
        for ours, theirs in zip(layers, other, strict=True):
            assert_equal(ours, theirs)
        assert outputs == where


REFUSED = {
    "cubic up-sampling": (IMAGE, {
        Keras: lambda s, x: s.layers.UpSampling2D(2, interpolation="bicubic")(x),
        PyTorch: lambda s, x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    }),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_refuses_the_same(what, source, keras):
    shape, build = REFUSED[what]
    made = SOURCES[source](keras)
    build = build if callable(build) else build[type(made)]
    with pytest.raises(spica.SpicaError, match=r"is not supported|none of keras\.layers"):
        made.network(build, shape)

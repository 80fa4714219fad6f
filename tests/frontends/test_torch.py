"""PyTorch modules in: the same outputs, however a module turns its tensors, or a message that names the operation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import spica
from spica.frontends.torch.operations import MOVES
from spica.frontends.view import View
from spica.layers import Attention, Dense, DepthwiseConv2D, Softmax, TableActivation, TokenEmbedding
from spica.passes import prepare

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Module(nn.Module):
    """A module whose ``forward`` is a function of it."""

    def __init__(self, forward, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self._forward(self, x)


def randomised(module, seed=0):
    """A module whose parameters and statistics all matter, in evaluation."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point():
            low, high = (0.5, 1.5) if "var" in name or "norm" in name else (-0.4, 0.4)
            value.data.uniform_(low, high, generator=generator)
    return module.eval()


def taken(module, shape, seed=0):
    """The network of a module, held to it on random samples."""
    module = randomised(module, seed)
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    net = spica.from_torch(module, x)
    with torch.no_grad():
        wanted = module(x).numpy()
    turned = x.ndim == 4 or net.inputs[0].shape != shape
    ours = np.moveaxis(x.numpy(), 1, -1) if turned else x.numpy()
    got = net.forward(ours)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1) if got.ndim == 4 else got, wanted, atol=2e-5)
    if not isinstance(net[net.outputs[0]], Softmax):  # which is left to whoever reads the outputs
        np.testing.assert_allclose(prepare(net).forward(ours), got, atol=2e-5)
    return net


def residual(m, x):
    x = F.relu(m.norm(m.first((x / 255 - 0.5) / 0.25)))
    return m.last(torch.flatten(m.pool(x + F.relu6(m.depthwise(x))), 1))


def in_place(m, x):
    x = m.relu(m.norm(m.first(x)))
    y = m.second(x)
    y += x
    return m.last(m.relu(y).mean([2, 3]))


def concatenated(m, x):
    return m.last(m.average(torch.cat([m.first(x), m.second(x)], 1))[:, :, 0, 0])


IMAGES = {
    "residual": lambda: Module(
        residual,
        first=nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), norm=nn.BatchNorm2d(8),
        depthwise=nn.Conv2d(8, 8, 3, padding=1, groups=8), pool=nn.MaxPool2d(2), last=nn.Linear(8 * 16, 10),
    ),
    "in place": lambda: Module(
        in_place,
        first=nn.Conv2d(3, 8, (3, 5), padding=(1, 2)), norm=nn.BatchNorm2d(8), relu=nn.ReLU(inplace=True),
        second=nn.Conv2d(8, 8, 3, 1, 1), last=nn.Linear(8, 4),
    ),
    "sequential": lambda: nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 6, 3, 2), nn.Hardtanh(0, 6), nn.Conv2d(6, 4, 4, padding="same"),
        nn.MaxPool2d(3, 2, 1), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ),
    "concatenated": lambda: Module(
        concatenated,
        first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(3, 5, 3), average=nn.AvgPool2d(14), last=nn.Linear(9, 2),
    ),
    "image out": lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU6(), nn.Conv2d(6, 2, 1)),
    "channels last": lambda: Module(
        lambda m, x: m.last(m.dense(m.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).flatten(1)),
        first=nn.Conv2d(3, 4, 4, 4), dense=nn.Linear(4, 6), last=nn.Linear(96, 3),
    ),
}  # fmt: skip


def gelu_in_parts(m, x):
    x = m.first(x)
    return m.second(0.5 * x * (1 + torch.erf(x / 2**0.5)))


def gelu_as_exported(m, x):
    x = m.first(x)
    return m.second(x * (torch.erf(x * 0.5**0.5) + 1.0) * 0.5)


@pytest.mark.parametrize("forward", [gelu_in_parts, gelu_as_exported])
def test_a_gelu_in_parts_is_one_layer(forward):
    tokens = taken(Module(forward, first=nn.Linear(6, 8), second=nn.Linear(8, 3)), (5, 6))
    image = taken(Module(forward, first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(4, 2, 1)), (3, 8, 8))
    for net in (tokens, image):
        assert [type(layer).__name__ for layer in net][2:3] == ["TableActivation"] and len(net) == 4


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, dilation=2), nn.Conv2d(4, 6, 3, padding="same", dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(4, 8, 3, groups=4, stride=2, padding=1), nn.Conv2d(1, 1, 3),
        nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=4),
        nn.ConvTranspose2d(4, 6, 2, 2, groups=2, dilation=2),
    ],
)  # fmt: skip
def test_convolutions_that_are_lowered(layer):
    taken(nn.Sequential(layer, nn.ReLU()), (layer.in_channels, 9, 8))


def test_values_of_a_vector_may_be_in_any_order():
    first, flat = nn.Conv2d(3, 4, 3), 4 * 6 * 6
    taken(nn.Sequential(first, nn.Flatten(), nn.BatchNorm1d(flat), nn.ReLU(), nn.Linear(flat, 3)), (3, 8, 8))
    both = Module(
        lambda m, x: m.last(torch.cat([m.first(x).flatten(1), x.flatten(1)], 1)),
        first=nn.Conv2d(3, 4, 3), last=nn.Linear(flat + 3 * 64, 3),
    )  # fmt: skip
    taken(both, (3, 8, 8))
    taken(nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 3)), (3, 8, 8))


def test_pixels_are_normalised_as_tokens():
    def forward(m, x):
        return m.second(m.norm(m.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))

    taken(Module(forward, first=nn.Conv2d(3, 4, 3), norm=nn.LayerNorm(4), second=nn.Conv2d(4, 2, 3)), (3, 8, 8))


@pytest.mark.parametrize("name", IMAGES)
def test_convolutional_modules(name):
    taken(IMAGES[name](), (3, 16, 16))


def test_layers_are_named_after_their_modules():
    net = taken(IMAGES["residual"](), (3, 16, 16))
    assert {"first", "norm", "depthwise", "last"} <= {layer.name for layer in net}
    assert isinstance(net["depthwise"], DepthwiseConv2D)


def test_a_softmax_at_the_end_goes_when_quantised():
    module = randomised(nn.Sequential(nn.Linear(6, 3), nn.Softmax(-1)))
    x = torch.rand(4, 6)
    net = spica.from_torch(module, x)
    np.testing.assert_allclose(net.forward(x.numpy()), module(x).detach().numpy(), atol=1e-6)
    assert len(spica.quantize(net, x.numpy())) == 3


def test_vectors():
    net = taken(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 2)), (6,))
    assert net.types["input"].shape == (6,)


# -- one vision transformer, its attention written in all the ways that people write it ----------------------------

WIDTH, HEADS, TOKENS = 16, 2, 17


def one_projection(m, y):
    n, t, c = y.shape
    q, k, v = m.qkv(y).reshape(n, t, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
    return m.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c))


def by_products(m, y):
    n, t, c = y.shape
    qkv = m.qkv(y).reshape(n, t, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
    weights = ((qkv[0] @ qkv[1].transpose(-2, -1)) * (c // HEADS) ** -0.5).softmax(-1)
    return m.proj((weights @ qkv[2]).transpose(1, 2).reshape(n, t, c))


def three_projections(m, y):
    n, t, c = y.shape
    q, k, v = (p(y).view(n, t, HEADS, c // HEADS).permute(0, 2, 1, 3) for p in (m.q, m.k, m.v))
    weights = F.softmax(torch.matmul(q, k.transpose(-1, -2)) / (c // HEADS) ** 0.5, dim=-1)
    return m.proj(torch.matmul(weights, v).permute(0, 2, 1, 3).contiguous().view(n, t, c))


def scaled_queries(m, y):
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in m.qkv(y).chunk(3, -1))
    return m.proj((((q * 0.25) @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))


def own_scale(m, y):
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in m.qkv(y).split(WIDTH, -1))
    return m.proj(F.scaled_dot_product_attention(q, k, v, scale=0.2).transpose(1, 2).flatten(2))


def whole_layer(m, y):
    return m.mha(y, y, y, need_weights=False)[0]


ATTENTIONS = (one_projection, by_products, three_projections, scaled_queries, own_scale, whole_layer)


def transformer(attention, mean=False):
    def forward(m, x):
        x = m.patches(x).flatten(2).transpose(1, 2)
        x = x + m.places[:, 1:] if mean else torch.cat([m.token.expand(len(x), -1, -1), x], 1) + m.places
        x = x + attention(m, m.norm1(x))
        x = x + m.mlp(m.norm2(x))
        return m.head(m.norm3(x).mean(1) if mean else m.norm3(x)[:, 0])

    linears = {name: nn.Linear(WIDTH, WIDTH) for name in ("q", "k", "v", "proj")}
    return Module(
        forward, **linears, qkv=nn.Linear(WIDTH, 3 * WIDTH), mha=nn.MultiheadAttention(WIDTH, HEADS, batch_first=True),
        patches=nn.Conv2d(3, WIDTH, 4, 4), token=nn.Parameter(torch.zeros(1, 1, WIDTH)),
        places=nn.Parameter(torch.zeros(1, TOKENS, WIDTH)), norm1=nn.LayerNorm(WIDTH), norm2=nn.LayerNorm(WIDTH),
        norm3=nn.LayerNorm(WIDTH), mlp=nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH)),
        head=nn.Linear(WIDTH, 3),
    )  # fmt: skip


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_attention_however_it_is_written(attention):
    net = taken(transformer(attention), (3, 16, 16))
    kinds = [type(layer) for layer in net]
    assert kinds.count(Attention) == kinds.count(TokenEmbedding) == kinds.count(TableActivation) == 1
    assert all(layer.kernel.shape[1] <= 32 for layer in net if isinstance(layer, Dense))  # no unused channels


def test_the_mean_of_tokens_is_read_out_too():
    taken(transformer(one_projection, mean=True), (3, 16, 16))


def test_pytorchs_own_encoder_quantised_and_fine_tuned(keras):
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, activation="gelu", batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(m, x):
        x = m.patches(x / 127.5 - 1).flatten(2).transpose(1, 2) + m.places
        return m.head(m.encoder(x).mean(1))

    module = Module(
        forward, encoder=encoder, patches=nn.Conv2d(3, WIDTH, 4, 4), places=nn.Parameter(torch.zeros(1, 16, WIDTH)),
        head=nn.Linear(WIDTH, 3),
    )  # fmt: skip
    module, pixels = randomised(module), np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    net = spica.from_torch(module, pixels.transpose(0, 3, 1, 2))
    with torch.no_grad():
        wanted = module(torch.tensor(pixels).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(net.forward(pixels), wanted, atol=2e-4)
    qnet = spica.quantize(net, pixels)
    error = qnet.forward(pixels) - wanted
    assert 10 * np.log10((wanted**2).sum() / (error**2).sum()) > 15
    np.testing.assert_array_equal(qnet.forward(pixels), qnet.forward(pixels, engine="reference"))
    tuned = spica.finetune(qnet, pixels, np.arange(40) % 3, net=net, epochs=1)
    assert tuned.forward(pixels).shape == (40, 3)


@pytest.mark.parametrize(
    "name, shape, arguments",
    [
        ("chunk", (7, 4), (3, 0)), ("expand", (2, 1, 3), ([-1, 4, -1],)), ("flatten", (2, 3, 4, 5), (1, 2)),
        ("permute", (2, 3, 4), ([2, 0, 1],)), ("reshape", (2, 6), ([-1, 3],)), ("select", (2, 3, 4), (1, -1)),
        ("slice", (2, 9), (1, 1, 9223372036854775807, 3)), ("split", (2, 7), (3, 1)),
        ("split_with_sizes", (2, 7), ([3, 4], 1)), ("squeeze", (2, 1, 3, 1), ()), ("squeeze", (2, 1, 3, 1), (1,)),
        ("t", (2, 3), ()), ("transpose", (2, 3, 4), (-1, 0)), ("unbind", (2, 3), (1,)),
        ("unflatten", (2, 12), (1, [3, 4])), ("unsqueeze", (2, 3), (-1,)), ("view", (2, 6), ([3, 4],)),
    ],
)  # fmt: skip
def test_moves_are_pytorchs(name, shape, arguments):
    x = np.arange(int(np.prod(shape))).reshape(shape)
    wanted, got = getattr(torch.ops.aten, name)(torch.tensor(x), *arguments), MOVES[name](View("x", (), x), *arguments)
    several = isinstance(wanted, list | tuple)
    for a, b in zip(wanted if several else [wanted], got if several else [got], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numbers)


@pytest.mark.parametrize(
    "module, shape, message",
    [
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), (3, 8, 8), "0: pooling with dilation"),
        (Module(lambda m, x: F.conv2d(torch.ones(2, 3, 8, 8), x)), (3, 2, 2), "only its first argument"),
        (nn.Upsample(scale_factor=1.5), (3, 8, 8), "enlarge by whole numbers"),
        (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (3, 8, 8), "align_corners"),
        (Module(lambda m, x: F.softmax(x, 0)), (3, 8, 8), "a softmax over samples"),
        (Module(lambda m, x: x if x.sum() > 0 else -x), (6,), "torch.export cannot follow it"),
        (Module(lambda m, x: torch.zeros(2, 3)), (6,), "does not depend on the input"),
    ],
)
def test_what_cannot_be_taken_is_said(module, shape, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_torch(module, torch.rand(2, *shape))


def test_arguments_are_checked():
    with pytest.raises(spica.SpicaError, match=r"not a torch.nn.Module"):
        spica.from_torch("net.pt", torch.rand(1, 3))
    for example in ("x", np.zeros(3, np.float32), np.zeros((0, 3), np.float32)):
        with pytest.raises(spica.SpicaError, match="example"):
            spica.from_torch(nn.Linear(3, 2), example)


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    spica.from_torch(module, torch.rand(4, 3))
    assert module.training and all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_what_is_changed_in_place_is_changed_for_all_its_views():
    relu_ = nn.functional.relu_
    taken(Module(lambda m, x: (y := m.first(x), relu_(y.view(-1, 8)))[0], first=nn.Linear(4, 8)), (3, 4))
    taken(Module(lambda m, x: ((y := m.first(x)).view(-1, 8), relu_(y))[0], first=nn.Linear(4, 8)), (4,))


def test_positions_do_not_change_what_others_read():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.positions = nn.Parameter(torch.rand(1, 1, 6)), nn.Parameter(torch.rand(1, 5, 6))

        def forward(self, x):
            tokens = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
            return (tokens + self.positions) + tokens

    taken(Tokens(), (4, 6))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda m, x: m.first(x).to(torch.int32).to(torch.float32), "a tensor of torch.int32 is not supported"),
        (lambda m, x: m.first(x)[:1], "slice takes samples of the batch apart"),
        (lambda m, x: torch.roll(m.first(x), 1), "roll cannot be taken as it is called here"),
        (lambda m, x: nn.functional.batch_norm(m.first(x)[:, :, None, None], None, None, training=True), "statistics"),
        (
            lambda m, x: torch.bmm(m.first(x)[:, None], torch.ones(2, m.first(x).shape[1], 3)),
            "use linear layers and att",
        ),
    ],
)
def test_what_would_be_lost_is_refused(forward, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_torch(Module(forward, first=nn.Linear(4, 8)), torch.rand(2, 4))


OPERATIONS = {
    "activations": ((3, 6, 7), nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Hardswish(), nn.ELU(0.7), nn.SELU(), nn.LeakyReLU(0.2), nn.PReLU(4),
        nn.Mish(), nn.Tanh(), nn.Softplus(), nn.Hardtanh(-0.5, 0.7), nn.CELU(0.8), nn.Softsign(), nn.GELU("tanh"),
        nn.Hardsigmoid(), nn.LogSigmoid(), nn.Sigmoid(),
    )),
    "average pooling": ((3, 9, 11), nn.AvgPool2d(3, 2)),
    "average pooling with a border": ((3, 9, 11), nn.AvgPool2d(3, 2, 1)),
    "average pooling without its border": ((3, 9, 11), nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    "average pooling that rounds up": ((3, 9, 12), nn.AvgPool2d(2, 2, 1, ceil_mode=True)),
    "adaptive average pooling": ((3, 8, 12), nn.AdaptiveAvgPool2d((2, 3))),
    "adaptive average pooling of odd sizes": ((3, 8, 7), nn.AdaptiveAvgPool2d((3, 5))),
    "adaptive average pooling to more": ((3, 2, 3), nn.AdaptiveAvgPool2d((5, 7))),
    "max pooling that rounds up": ((3, 9, 12), nn.MaxPool2d(3, 2, ceil_mode=True)),
    "max pooling that would begin in the border": ((3, 7, 7), nn.MaxPool2d(2, 2, 1, ceil_mode=True)),
    "nearest": ((3, 5, 4), nn.Upsample(scale_factor=(2, 3))),
    "nearest to a size": ((3, 5, 4), nn.Upsample(size=(10, 8))),
    "bilinear": ((3, 5, 4), nn.Upsample(scale_factor=2, mode="bilinear")),
    "bilinear by odd factors": ((3, 5, 4), nn.Upsample(scale_factor=(3, 5), mode="bilinear")),
    "pixel shuffle": ((3, 4, 5), nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 3, 3))),
    "pixel unshuffle": ((3, 4, 6), nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 3, 1))),
    "channel shuffle": ((6, 4, 5), nn.Sequential(nn.ChannelShuffle(3), nn.Conv2d(6, 3, 1))),
    "group norm": ((6, 4, 5), nn.Sequential(nn.GroupNorm(3, 6), nn.Conv2d(6, 3, 1))),
    "instance norm": ((6, 4, 5), nn.Sequential(nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 3, 1))),
    "one-pixel maps": ((4, 1, 1), nn.Sequential(nn.Conv2d(4, 5, 1), nn.ReLU(), nn.Flatten(), nn.Linear(5, 2))),
    "reflection": ((3, 5, 6), nn.Sequential(nn.ReflectionPad2d((1, 2, 0, 1)), nn.Conv2d(3, 2, 3))),
    "replication": ((3, 5, 6), nn.Sequential(nn.ReplicationPad2d(2), nn.Conv2d(3, 2, 3))),
    "signals": ((3, 16), nn.Sequential(
        nn.Conv1d(3, 6, 3, 2, 1), nn.BatchNorm1d(6), nn.ReLU(),
        nn.Conv1d(6, 6, 3, padding="same", groups=3, dilation=2),
        nn.MaxPool1d(2), nn.AvgPool1d(2), nn.Upsample(scale_factor=2), nn.ConstantPad1d(1, 0.0),
        nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(18, 2),
    )),
    "log-softmax": ((5,), nn.Sequential(nn.Linear(5, 3), nn.LogSoftmax(1))),
    "a softmax of channels": ((3, 4, 4), nn.Sequential(nn.Conv2d(3, 5, 1), nn.Softmax(1))),
    "a product": ((3, 6, 6), Module(lambda m, x: m.a(x) * m.b(x), a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(3, 4, 3))),
    "squeeze and excite": ((4, 6, 6), Module(
        lambda m, x: x * torch.sigmoid(m.up(F.relu(m.down(x.mean((2, 3), keepdim=True))))),
        down=nn.Conv2d(4, 2, 1), up=nn.Conv2d(2, 4, 1))),
    "excitation by dense layers": ((4, 6, 6), Module(
        lambda m, x: torch.sigmoid(m.up(F.relu(m.down(x.mean((2, 3)))))).view(-1, 4, 1, 1) * x,
        down=nn.Linear(4, 2), up=nn.Linear(2, 4))),
    "attention to places": ((4, 6, 6), Module(lambda m, x: x * torch.sigmoid(m.map(x)), map=nn.Conv2d(4, 1, 3, 1, 1))),
    "a difference": ((3, 6, 6), Module(lambda m, x: m.a(x) - m.b(x), a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(3, 4, 3))),
    "a sum that spreads": ((3, 6, 6), Module(lambda m, x: x + x.mean((2, 3), keepdim=True))),
    "positions of an image": ((3, 6, 6), Module(lambda m, x: m.a(x + torch.arange(108.0).view(3, 6, 6) / 50),
                                                a=nn.Conv2d(3, 2, 1))),
    "a sum of a product": ((6,), Module(lambda m, x: torch.addcmul(x, torch.ones(6) * 2, m.a(x), value=0.5),
                                        a=nn.Linear(6, 6))),
    "a quotient": ((3, 6, 6), Module(lambda m, x: m.a(x) / (1 + torch.exp(x)), a=nn.Conv2d(3, 3, 3, 1, 1))),
    "turned tensors": ((3, 6, 6), Module(lambda m, x: m.a(x + x.transpose(2, 3)), a=nn.Conv2d(3, 2, 3))),
    "crops": ((3, 8, 8), Module(lambda m, x: m.a(x[:, :, 1:-2, 2:]) + m.a(x)[:, :, :3, 2:], a=nn.Conv2d(3, 2, 3))),
    "focus": ((3, 8, 8), Module(
        lambda m, x: m.a(torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)), a=nn.Conv2d(12, 4, 3))),
    "channels apart": ((4, 5, 5), Module(lambda m, x: torch.cat([x[:, :2], m.a(x[:, 2:])], 1).sum(1, keepdim=True),
                                         a=nn.Conv2d(2, 2, 1))),
    "zero channels": ((3, 6, 6), Module(lambda m, x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)) + m.a(x),
                                        a=nn.Conv2d(3, 6, 1, 2))),
    "rows of tensors": ((3, 6, 5), Module(lambda m, x: torch.cat([x, m.a(x)], 2), a=nn.Conv2d(3, 3, 1))),
    "a stack": ((6,), Module(lambda m, x: torch.stack([m.a(x), x], 1).flatten(1), a=nn.Linear(6, 6))),
    "several outputs of a detector": ((3, 8, 8), Module(
        lambda m, x: torch.cat([h(x).permute(0, 2, 3, 1).reshape(len(x), -1, 2) for h in (m.a, m.b)], 1),
        a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(3, 6, 3, 2))),
    "anchors": ((3, 6, 6), Module(
        lambda m, x: m.a(x).view(-1, 3, 7, 4, 4).permute(0, 1, 3, 4, 2), a=nn.Conv2d(3, 21, 3))),
    "a transposed output": ((4, 6), Module(lambda m, x: x.transpose(1, 2))),
    "an outer product": ((4,), Module(lambda m, x: x[:, :, None] * m.a(x)[:, None], a=nn.Linear(4, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_networks_use(name):
    shape, module = OPERATIONS[name]
    net = taken(module, shape)
    assert net.outputs


GATES = {
    "gelu": [
        lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
        lambda x: x * (0.5 + 0.5 * torch.erf(x * 0.5**0.5)),
        lambda x: (x / 2) * (torch.erf(x / 2**0.5) + 1),
    ],
    "gelu_tanh": [
        lambda x: 0.5 * x * (1 + torch.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
        lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x))),
    ],
    "silu": [lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(1.702 * x) * x, lambda x: x / (1 + torch.exp(-x))],
    "hard_silu": [lambda x: x * F.relu6(x + 3) / 6, lambda x: x * F.hardsigmoid(x), lambda x: F.relu6(x + 3) / 6 * x],
    "mish": [lambda x: x * torch.tanh(F.softplus(x))],
    "power": [lambda x: x * x],
}


@pytest.mark.parametrize("function", GATES)
def test_activations_in_parts_are_one_layer(function):
    for forward in GATES[function]:
        module = Module(lambda m, x, f=forward: m.b(f(m.a(x))), a=nn.Conv2d(2, 3, 3), b=nn.Conv2d(3, 2, 1))
        net = taken(module, (2, 6, 6))
        assert [layer.function for layer in net if isinstance(layer, TableActivation)] == [function]
        assert len(net) == 4 or function == "gelu"


@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, torch.rand(2, 3, 8, 8))])
def test_scripts_are_followed(make):
    module = randomised(nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 4, 3, 2), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4 * 36, 5),
    ))  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script, x = make(module), torch.rand(3, 3, 8, 8)
        net = spica.from_torch(script, x)
    with torch.no_grad():
        np.testing.assert_allclose(net.forward(x.movedim(1, -1).numpy()), module(x).numpy(), atol=2e-5)


def test_a_product_of_two_functions_that_is_no_known_one_stays_a_product():
    net = taken(Module(lambda m, x: torch.tanh(x) * torch.sigmoid(x)), (6,))
    assert [type(layer).__name__ for layer in net] == ["Input", "TableActivation", "TableActivation", "Multiply"]

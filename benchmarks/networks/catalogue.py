"""Networks that people have, by the source that they come from: what ``run.py`` takes, as functions that build each.

Weights are seeded, and statistics of batch normalisation random, so that every number matters. Images are small, which
changes nothing in what layers there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A network of the catalogue.

    Attributes:
        group: what it is listed under.
        take: returns the network as Spica takes it, and samples that it reads, with the outputs of its own framework.
    """

    group: str
    take: Callable[[], tuple[Any, np.ndarray, list[np.ndarray]]]


# -- PyTorch ---------------------------------------------------------------------------------------------------------


def randomised(module: Any) -> Any:
    """Return a module in evaluation whose statistics all matter, and whose last layer is not all zeros."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, value in [*module.named_buffers(), *module.named_parameters()]:
        if "running_mean" in name:
            value.data.normal_(0, 0.1, generator=generator)
        elif "running_var" in name:
            value.data.uniform_(0.5, 1.5, generator=generator)
        elif not value.any() and value.is_floating_point() and value.ndim > 1:
            value.data.normal_(0, 0.05, generator=generator)
    return module.eval()


def torch_case(build: Callable[[], Any], shape: tuple[int, ...], road: str = "torch", group: str = "PyTorch") -> Case:
    """Return the case of a module, taken as it is or through its exporter to ONNX."""

    def take() -> tuple[Any, np.ndarray, list[np.ndarray]]:
        import torch

        import spica

        torch.manual_seed(0)
        module, x = randomised(build()), torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            found = module(x)
        wanted = [found] if hasattr(found, "shape") else list(found.values() if isinstance(found, dict) else found)
        net = spica.from_torch(module, x[:1]) if road == "torch" else from_export(module, x[:1], road)
        last = net.inputs[0].shape == (*shape[1:], shape[0]) and len(shape) > 1
        samples = x.movedim(1, -1).numpy() if last else x.numpy()
        return net, samples, [np.moveaxis(y.numpy(), 1, -1) if y.ndim == 4 else y.numpy() for y in wanted]

    return Case(group if road == "torch" else f"{group}, by ONNX", take)


def from_export(module: Any, example: Any, road: str) -> Any:
    """Take a module by an ONNX file, of the exporter of scripts ("scripts") or of graphs ("graphs")."""
    import io

    import onnx
    import torch

    import spica

    file = io.BytesIO()
    options: dict[str, Any] = {"dynamo": False, "opset_version": 17}
    if road == "graphs":
        options = {"dynamo": True, "opset_version": 18, "verbose": False}
    torch.onnx.export(module, example, file, **options)
    return spica.from_onnx(onnx.load_from_string(file.getvalue()))


TORCHVISION = [
    "alexnet",
    "vgg11",
    "vgg16_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "squeezenet1_0",
    "squeezenet1_1",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mnasnet0_5",
    "mnasnet1_0",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "regnet_x_400mf",
    "convnext_tiny",
    "swin_t",
]
BY_ONNX = [
    "squeezenet1_0",
    "mnasnet0_5",
    "resnet18",
    "resnet50",
    "squeezenet1_1",
    "densenet121",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet1_0",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "regnet_y_400mf",
    "convnext_tiny",
]
SEGMENTATION = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
TIMM = [
    "cspresnet50",
    "darknet53",
    "deit_tiny_patch16_224",
    "dla34",
    "dpn68",
    "efficientnet_lite0",
    "ese_vovnet19b_dw",
    "fbnetc_100",
    "gernet_s",
    "ghostnet_100",
    "hardcorenas_a",
    "hrnet_w18_small",
    "lcnet_050",
    "mixer_s32_224",
    "mixnet_s",
    "mobilenetv4_conv_small",
    "mobileone_s0",
    "nf_regnet_b0",
    "poolformer_s12",
    "regnetz_b16",
    "repvgg_a0",
    "res2net50_26w_4s",
    "resmlp_12_224",
    "resnet10t",
    "resnetv2_50",
    "rexnet_100",
    "selecsls42",
    "semnasnet_075",
    "skresnet18",
    "spnasnet_100",
    "tf_efficientnetv2_b0",
    "tinynet_e",
    "visformer_tiny",
    "vit_tiny_patch16_224",
    "xception41",
]


def torchvision_model(name: str) -> Any:
    """Build a classifier of torchvision, its auxiliary heads left out."""
    from torchvision import models

    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return getattr(models, name)(weights=None, **options)


def segmentation_model(name: str) -> Any:
    """Build a network of torchvision that labels every pixel."""
    from torchvision.models import segmentation

    return getattr(segmentation, name)(weights=None, weights_backbone=None)


def timm_model(name: str, size: int) -> Any:
    """Build a classifier of timm."""
    import timm

    sized = {"img_size": size} if name.startswith(("deit", "vit", "mixer", "resmlp", "visformer")) else {}
    return timm.create_model(name, pretrained=False, **sized)


def small_modules() -> dict[str, tuple[Callable[[], Any], tuple[int, ...]]]:
    """Return what tutorials and small projects of PyTorch have: a builder and a shape each."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Mnist(nn.Module):  # of PyTorch's examples
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
            self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
            self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
            x = F.relu(self.fc1(torch.flatten(self.dropout1(x), 1)))
            return F.log_softmax(self.fc2(self.dropout2(x)), dim=1)

    class Cifar(nn.Module):  # of PyTorch's tutorial
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84), nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(F.relu(self.conv2(self.pool(F.relu(self.conv1(x))))))
            return self.fc3(F.relu(self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))))

    def lenet() -> Any:
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip

    def block(inputs: int, outputs: int) -> Any:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
        )  # fmt: skip

    class UNet(nn.Module):
        def __init__(self, learned: bool) -> None:
            super().__init__()
            self.a, self.b, self.c = block(3, 16), block(16, 32), block(32, 64)
            up = lambda i, o: nn.ConvTranspose2d(i, o, 2, 2) if learned else nn.Sequential(  # noqa: E731
                nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, o, 1))  # fmt: skip
            self.up1, self.up2, self.d, self.e = up(64, 32), up(32, 16), block(64, 32), block(32, 16)
            self.last = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            a = self.a(x)
            b = self.b(F.max_pool2d(a, 2))
            d = self.d(torch.cat([b, self.up1(self.c(F.max_pool2d(b, 2)))], 1))
            return self.last(self.e(torch.cat([a, self.up2(d)], 1)))

    class Temporal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv1d(6 if i == 0 else 16, 16, 3, dilation=2**i) for i in range(4)])
            self.head = nn.Linear(16, 5)

        def forward(self, x: Any) -> Any:
            for i, conv in enumerate(self.convs):
                x = F.relu(conv(F.pad(x, (2 * 2**i, 0))))
            return self.head(x.mean(-1))

    class Yolo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[Any] = []
            for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 128)):
                layers += [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1),
                           nn.MaxPool2d(2)]  # fmt: skip
            self.body, self.head = nn.Sequential(*layers), nn.Conv2d(128, 3 * 7, 1)

        def forward(self, x: Any) -> Any:
            y = self.head(self.body(x))
            return y.view(len(x), 3, 7, *y.shape[2:]).permute(0, 1, 3, 4, 2).flatten(1)

    class Recurrent(nn.Module):
        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.first, self.cell, self.last = nn.Linear(6, 16), kind(16, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            return self.last(self.cell(F.relu(self.first(x)))[0][:, -1])

    words = lambda: nn.Sequential(  # noqa: E731 (a keyword network on cepstra, as signals)
        nn.Conv1d(13, 32, 3, padding=1), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(32, 64, 3, padding=1),
        nn.BatchNorm1d(64), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 12),
    )  # fmt: skip
    coder = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 7), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 7), nn.ReLU(), nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 3, 2, 1, 1), nn.Sigmoid(),
    )  # fmt: skip
    pixels = lambda: nn.Sequential(  # noqa: E731 (super-resolution)
        nn.Conv2d(1, 32, 5, padding=2), nn.Tanh(), nn.Conv2d(32, 16, 3, padding=1), nn.Tanh(),
        nn.Conv2d(16, 9, 3, padding=1),
        nn.PixelShuffle(3),
    )  # fmt: skip
    perceptron = lambda: nn.Sequential(  # noqa: E731
        nn.Flatten(),
        nn.Linear(784, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(128, 10),
        nn.Softmax(1),
    )
    return {
        "MNIST example": (Mnist, (1, 28, 28)), "CIFAR tutorial": (Cifar, (3, 32, 32)), "LeNet-5": (lenet, (1, 28, 28)),
        "U-Net": (lambda: UNet(True), (3, 32, 32)), "U-Net, bilinear": (lambda: UNet(False), (3, 32, 32)),
        "keyword CNN, 1-D": (words, (13, 49)), "autoencoder": (coder, (1, 28, 28)), "perceptron": (perceptron,
            (1, 28, 28)),
        "temporal network": (Temporal, (6, 64)), "tiny YOLO": (Yolo, (3, 64, 64)), "super-resolution": (pixels,
            (1, 16, 16)),
        "LSTM": (lambda: Recurrent(nn.LSTM), (20, 6)), "GRU": (lambda: Recurrent(nn.GRU), (20, 6)),
        "transformer encoder": (lambda: nn.Sequential(
            nn.Linear(8, 16), nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)),
            (12, 8)),
    }  # fmt: skip


# -- Keras -----------------------------------------------------------------------------------------------------------

APPLICATIONS = [
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
]


def keras_case(build: Callable[[Any], Any], group: str = "Keras", file: bool = False) -> Case:
    """Return the case of a Keras model, live or by a file."""

    def take() -> tuple[Any, np.ndarray, list[np.ndarray]]:
        import tempfile

        import spica
        from spica.util.keras_backend import load_keras

        keras = load_keras()
        keras.utils.set_random_seed(0)
        model, random = build(keras), np.random.default_rng(0)
        for variable in model.variables:
            if "moving_mean" in variable.path:
                variable.assign(random.normal(0, 0.1, variable.shape))
            elif "moving_variance" in variable.path:
                variable.assign(random.uniform(0.5, 1.5, variable.shape))
        x = random.uniform(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
        found = model.predict(x, verbose=0)
        if file:
            with tempfile.TemporaryDirectory() as folder:
                model.save(f"{folder}/model.keras")
                net = spica.from_keras(f"{folder}/model.keras")
        else:
            net = spica.from_keras(model)
        return net, x, found if isinstance(found, list) else [found]

    return Case(group, take)


def application(name: str) -> Callable[[Any], Any]:
    """Return the builder of a model of ``keras.applications`` for small images."""
    size = 96 if name in ("InceptionResNetV2", "InceptionV3", "Xception", "NASNetMobile") else 64
    return lambda keras: getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)


def small_models() -> dict[str, Callable[[Any], Any]]:
    """Return what tutorials and small projects of Keras have."""

    def row(shape: tuple[int, ...], *build: Callable[[Any], list[Any]]) -> Callable[[Any], Any]:
        return lambda keras: keras.Sequential([keras.Input(shape), *build[0](keras.layers)])

    def residual(keras: Any) -> Any:
        k = keras.layers
        x = keras.Input((32, 32, 3))
        y = k.RandomFlip()(x / 127.5 - 1)
        for filters in (16, 32):
            z = k.BatchNormalization()(k.Conv2D(filters, 3, 2, padding="same")(y))
            z = k.Conv2D(filters, 3, padding="same")(k.Activation("swish")(z))
            y = k.ReLU()(k.Add()([z, k.Conv2D(filters, 1, 2)(y)]))
        return keras.Model(x, k.Dense(10, activation="softmax")(k.GlobalAveragePooling2D()(y)))

    def segmentation(keras: Any) -> Any:
        k = keras.layers
        x = keras.Input((32, 32, 3))
        a = k.Conv2D(16, 3, padding="same", activation="relu")(x)
        b = k.Conv2D(32, 3, padding="same", activation="relu")(k.MaxPooling2D()(a))
        y = k.Concatenate()([a, k.UpSampling2D()(b)])
        return keras.Model(
            x, k.Conv2D(1, 1, activation="sigmoid")(k.Conv2D(16, 3, padding="same", activation="relu")(y))
        )

    return {
        "MNIST example": row((28, 28, 1), lambda k: [
            k.Conv2D(32, 3, activation="relu"), k.MaxPooling2D(), k.Conv2D(64, 3, activation="relu"), k.MaxPooling2D(),
            k.Flatten(), k.Dropout(0.5), k.Dense(10, activation="softmax")]),
        "batch norm behind ReLU": row((28, 28, 1), lambda k: [
            k.Conv2D(16, 3, activation="relu"), k.BatchNormalization(), k.MaxPooling2D(),
            k.Conv2D(32, 3, activation="relu"),
            k.BatchNormalization(), k.MaxPooling2D(), k.Flatten(), k.Dense(10)]),
        "pictures, with augmentation": residual,
        "small U-Net": segmentation,
        "keyword CNN, 1-D": row((49, 13), lambda k: [
            k.Conv1D(32, 3, activation="relu"), k.MaxPooling1D(), k.Conv1D(64, 3, activation="relu"),
            k.GlobalAveragePooling1D(), k.Dense(12, activation="softmax")]),
        "motion, 1-D": row((64, 6), lambda k: [
            k.Conv1D(32, 5, padding="same"), k.BatchNormalization(), k.LeakyReLU(0.1), k.MaxPooling1D(2),
            k.SeparableConv1D(64, 3, activation="elu"), k.GlobalMaxPooling1D(), k.Dense(6, activation="softmax")]),
        "causal convolutions, classified": row((64, 6), lambda k: [
            k.Conv1D(16, 3, padding="causal", activation="relu"), k.Conv1D(16, 3, padding="causal", dilation_rate=2,
            activation="relu"), k.Flatten(), k.Dense(4)]),
        "autoencoder": row((28, 28, 1), lambda k: [
            k.Conv2D(16, 3, 2, "same", activation="relu"), k.Conv2D(8, 3, 2, "same", activation="relu"),
            k.Conv2DTranspose(8, 3, 2, "same", activation="relu"), k.Conv2DTranspose(16, 3, 2,
            "same", activation="relu"),
            k.Conv2D(1, 3, padding="same", activation="sigmoid")]),
        "perceptron": row((20,), lambda k: [
            k.Dense(64, activation="relu"), k.BatchNormalization(), k.Dropout(0.3), k.Dense(32, activation="selu"),
            k.Dense(1)]),
        "LSTM": row((20, 6), lambda k: [k.LSTM(16), k.Dense(4)]),
    }  # fmt: skip


# -- files -----------------------------------------------------------------------------------------------------------


def file_case(path: Path, wanted: Callable[[Path, np.ndarray], list[np.ndarray]] | None, group: str) -> Case:
    """Return the case of a model file; ``wanted`` runs it in its own framework, where that is at hand."""

    def take() -> tuple[Any, np.ndarray, list[np.ndarray]]:
        import spica

        net = spica.from_file(path)
        x = np.random.default_rng(0).uniform(0, 1, (2, *net.inputs[0].shape)).astype(np.float32)
        return net, x, [] if wanted is None else wanted(path, x)

    return Case(group, take)


def by_onnxruntime(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """Run an ONNX file, sample by sample, on images with their channels last."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    first = session.get_inputs()[0]
    given = np.moveaxis(x, -1, 1) if x.ndim == 4 and first.shape[1:] != list(x.shape[1:]) else x
    made = [session.run(None, {first.name: sample[None]}) for sample in given]
    return [np.concatenate(outputs) for outputs in zip(*made)]


def cases(mlperf: Path | None) -> dict[str, Case]:
    """Return all networks by name; those of MLPerf Tiny from a folder of its files, where one is given."""
    warnings.simplefilter("ignore")
    found: dict[str, Case] = {}
    for name in TORCHVISION:
        size = 96 if name == "inception_v3" else 64
        found[f"torchvision {name}"] = torch_case(
            lambda n=name: torchvision_model(n), (3, size, size), group="torchvision"
        )
    for name in SEGMENTATION:
        found[f"torchvision {name}"] = torch_case(
            lambda n=name: segmentation_model(n), (3, 64, 64), group="torchvision"
        )
    for name in BY_ONNX:
        built = lambda n=name: torchvision_model(n)  # noqa: E731
        found[f"onnx {name}"] = torch_case(built, (3, 64, 64), "scripts", "torchvision")
    for name in ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"):
        built = lambda n=name: torchvision_model(n)  # noqa: E731
        found[f"onnx {name}, of graphs"] = torch_case(built, (3, 64, 64), "graphs", "torchvision")
    for name in TIMM:
        found[f"timm {name}"] = torch_case(lambda n=name: timm_model(n, 64), (3, 64, 64), group="timm")
    for name, (build, shape) in small_modules().items():
        found[f"torch {name}"] = torch_case(build, shape, group="small, PyTorch")
        found[f"onnx {name}"] = torch_case(build, shape, "scripts", "small, PyTorch")
    for name in APPLICATIONS:
        found[f"keras {name}"] = keras_case(application(name), "keras.applications")
    for name, model in small_models().items():
        found[f"keras {name}"] = keras_case(model, "small, Keras")
        found[f"keras file {name}"] = keras_case(model, "small, Keras, by file", file=True)
    for name in ("ad01.h5", "pretrainedResnet.h5", "str_ww_ref_model.h5", "vww_96.h5", "kws_ref_model_float32.tflite"):
        if mlperf is not None:
            found[f"MLPerf Tiny {name}"] = file_case(mlperf / name, None, "MLPerf Tiny, trained")
    return found

"""Spica: an open, exact, event-based neural processor and its toolchain.

    net = spica.from_keras(model)                    # float Network; spica.from_torch(module, example) as well
    qnet = spica.quantize(net, samples, weights=4, activations=4)  # integer Network
    print(spica.check(qnet, "AKD1000"))              # hardware rules
    qnet = spica.finetune(qnet, x, labels, net=net)  # quantisation-aware training, with any Keras backend
    chip = spica.map(qnet, "AKD1000")                # MappedNetwork: same integers, and what they cost

Importing this package loads what runs a saved network. The rest, and every framework, is loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spica import _renamed, engine, layers  # noqa: F401  (layers register their rules, the engine itself)
from spica.engine.inputs import to_input_integers
from spica.errors import SpicaError
from spica.network import Network
from spica.network.file import load

if TYPE_CHECKING:
    from spica.deploy import split
    from spica.frontends import from_file, from_keras, from_onnx, from_quantizeml, from_tfjs, from_tflite, from_torch
    from spica.hardware import check
    from spica.hardware import map_network as map
    from spica.learning import learn
    from spica.qat import adapt, convert, finetune, trainable
    from spica.quantization import quantize, recipe

__version__ = "0.1.0"

__all__ = [
    "Network",
    "SpicaError",
    "adapt",
    "check",
    "convert",
    "finetune",
    "from_file",
    "from_keras",
    "from_onnx",
    "from_quantizeml",
    "from_tfjs",
    "from_tflite",
    "from_torch",
    "learn",
    "load",
    "map",
    "quantize",
    "recipe",
    "split",
    "to_input_integers",
    "trainable",
]

_PLACES = {
    "adapt": "qat.adapt",
    "check": "hardware.check",
    "convert": "qat.convert",
    "finetune": "qat.finetune",
    "from_file": "frontends.from_file",
    "from_keras": "frontends.from_keras",
    "from_onnx": "frontends.from_onnx",
    "from_quantizeml": "frontends.from_quantizeml",
    "from_tfjs": "frontends.from_tfjs",
    "from_tflite": "frontends.from_tflite",
    "from_torch": "frontends.from_torch",
    "learn": "learning.learn",
    "map": "hardware.map_network",
    "quantize": "quantization.quantize",
    "recipe": "quantization.recipe",
    "split": "deploy.split",
    "trainable": "qat.trainable",
}
"""Where functions are that are loaded when they are first asked for, and with them their packages."""


def __getattr__(name: str) -> Any:
    """Load a function, or a package of functions, that is asked for the first time."""
    if name in _PLACES:
        package, _, function = _PLACES[name].partition(".")
        globals()[name] = found = getattr(import_module(f"spica.{package}"), function)
        return found
    if any(place.startswith(f"{name}.") for place in _PLACES.values()):
        return import_module(f"spica.{name}")
    raise AttributeError(f"module 'spica' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is loaded and the functions that can be."""
    return sorted({*globals(), *_PLACES})


_renamed.register()

"""Spica: an open, exact, event-based neural processor and its toolchain.

    net = spica.from_keras(model)                    # float Network; spica.from_torch(module, example) as well
    qnet = spica.quantize(net, samples, weights=4, activations=4)  # integer Network
    print(spica.check(qnet, "AKD1000"))              # hardware rules
    qnet = spica.finetune(qnet, x, labels, net=net)  # quantisation-aware training, with any Keras backend
    chip = spica.map(qnet, "AKD1000")                # MappedNetwork: same integers, and what they cost

Importing this package loads no framework; front ends load theirs when called.
"""

from spica import _renamed, engine, layers  # noqa: F401  (layers register their rules, the engine itself)
from spica.deploy import split
from spica.engine.inputs import to_input_integers
from spica.errors import SpicaError
from spica.frontends import from_keras, from_quantizeml, from_torch
from spica.hardware import check
from spica.hardware import map_network as map
from spica.learning import learn
from spica.network import Network
from spica.network.file import load
from spica.qat import convert, finetune, trainable
from spica.quantization import quantize, recipe

_renamed.register()

__version__ = "0.1.0"

__all__ = [
    "Network",
    "SpicaError",
    "check",
    "convert",
    "finetune",
    "from_keras",
    "from_quantizeml",
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

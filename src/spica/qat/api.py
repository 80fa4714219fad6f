"""Quantisation-aware training: make an integer network trainable, fit it, and convert it back.

Keras is loaded when one of these functions is called, not before.
"""

from __future__ import annotations

import sys
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spica.errors import SpicaError
from spica.hardware.spec import OpType, specs
from spica.network import Network
from spica.network.graph import check_network
from spica.passes import prepare
from spica.qat.distillation import targets
from spica.qat.latent_weights import find_latent_weights
from spica.util.arguments import check_integer, check_number
from spica.util.keras_backend import load_keras


def trainable(quantized: Network, net: Network | None = None, *, sparsity: float = 0.0) -> Any:
    """Return an integer network as a ``keras.Model`` to compile and fit: quantisation-aware training.

    It reads the integers that the network reads and gives its de-quantised outputs (logits, for a classifier). In
    training every rounding has the gradient of the identity; in evaluation (``predict``, ``evaluate``, validation) its
    outputs are those of ``spica.convert(model)``, bit for bit. Weights, biases and output ranges are learned, in units
    in which Adam with a learning rate near 1e-3 suits every layer; ``model.get_layer(name).trainable = False`` freezes
    one.

    Args:
        quantized: an integer network with one input, as ``spica.quantize`` gives it. With frame buffers, the model
            reads clips ``(S, T, ...)``.
        net: the float network that it was made from. Weights then start where they were before rounding, within the
            integers that they were rounded to; otherwise at the integers.
        sparsity: strength of a loss on activity after rectifiers, by its share in the network's synapse operations.

    Returns:
        The model (``keras.Model``), which computes what ``quantized`` does until it is trained.

    Raises:
        SpicaError: where a layer cannot be trained, or no Keras backend is installed.
    """
    check_network(quantized, "give the network that spica.quantize made")
    if net is not None:
        check_network(net, "give the float network that spica.quantize read")
    for layer in quantized:
        if specs(quantized)[layer.name].op_type is OpType.HOST:
            raise SpicaError(
                f"{layer.name}: computes in real numbers on the host, which cannot be trained here; train "
                "the network that ends before it"
            )
    sparsity = check_number("sparsity", sparsity, 0, 1e6)
    load_keras()
    from spica.qat.model import Trainable

    latent = {} if net is None else find_latent_weights(prepare(net), quantized)
    return Trainable(quantized, latent, sparsity)


def convert(model: Any) -> Network:
    """Return the integer network of what a model made by ``spica.trainable`` has learned.

    Raises:
        SpicaError: for any other model.
    """
    load_keras()
    from spica.qat.model import Trainable

    if not isinstance(model, Trainable):
        raise SpicaError(f"{type(model).__name__} was not made by spica.trainable; spica.from_keras takes other models")
    return model.integer()


def finetune(
    quantized: Network,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    net: Network | None = None,
    epochs: int = 3,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    distillation: float = 0.5,
    sparsity: float = 0.0,
    checkpoint: str | PathLike[str] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Network:
    """Fine-tune an integer classifier: the short way of ``trainable``, ``fit``, ``convert``.

    Args:
        quantized: the integer network.
        x: samples ``(N, ...)`` as integers that it reads (``spica.to_input_integers`` makes them of real ones); clips
            ``(S, T, ...)`` of a network with memory.
        y: class of each sample ``(N,)``, or of each frame of clips ``(S, T)``; without, the float network alone
            teaches.
        net: the float network it was made from.
        epochs: passes over the samples.
        batch_size: samples of a step.
        learning_rate: Adam's at the start; it falls to zero along a cosine.
        distillation: share of the float network's probabilities in the target, 0 to 1, where there is one.
        sparsity: strength of a loss on activity, see ``trainable``.
        checkpoint: a folder in which every epoch is kept, so that an interrupted call, made again, goes on.
        seed: of the order of samples.
        progress: whether to show Keras' progress bars; by default only in a terminal.

    Returns:
        The fine-tuned integer network.

    Raises:
        SpicaError: where an option is bad or a layer cannot be trained.
    """
    keras = load_keras()
    epochs, batch_size = check_integer("epochs", epochs), check_integer("batch_size", batch_size)
    learning_rate = check_number("learning_rate", learning_rate, 1e-12, 1e3)
    keras.utils.set_random_seed(check_integer("seed", seed, 0, 2**32 - 1))
    model = trainable(quantized, net, sparsity=sparsity)
    wanted = targets(quantized, net, x, y, distillation)
    samples = np.asarray(x)
    steps = epochs * -(-len(samples) // batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        (keras.losses.BinaryCrossentropy if wanted.shape[-1] == 1 else keras.losses.CategoricalCrossentropy)(
            from_logits=True
        ),
    )
    callbacks = [] if checkpoint is None else [keras.callbacks.BackupAndRestore(str(checkpoint))]
    show = sys.stderr.isatty() if progress is None else progress
    model.fit(samples, wanted, batch_size=batch_size, epochs=epochs, callbacks=callbacks, verbose=1 if show else 0)
    return convert(model)

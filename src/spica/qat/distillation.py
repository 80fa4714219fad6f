"""Distillation: targets of fine-tuning from labels, the float network, or both."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import check_frames
from spica.errors import SpicaError
from spica.layers import Softmax
from spica.network import Network
from spica.network.classification import check_labels, count_classes
from spica.network.layer import forward_float
from spica.util.arguments import check_number


def targets(
    quantized: Network, net: Network | None, x: ArrayLike, y: ArrayLike | None, distillation: float
) -> NDArray[np.float32]:
    """Return each sample's probabilities ``(N, classes)`` or, of clips, each frame's ``(S, T, classes)``.

    The cross-entropy with a mixture of two distributions is the mixture of the two cross-entropies.
    """
    distillation = check_number("distillation", distillation, 0, 1)
    kind = quantized.types[quantized.outputs[0]]
    if len(quantized.outputs) != 1 or len(kind.shape) != 1:
        raise SpicaError(
            f"{quantized.name}: is not a classifier with one output; use spica.trainable with a loss of your own"
        )
    reads = quantized.types[quantized.inputs[0].name]
    samples = check_frames(quantized, reads, x)
    clips = samples.ndim == len(reads.shape) + 2
    if quantized.stateful_layers and not clips:
        raise SpicaError(
            f"{quantized.name}: keeps a state, so it is trained on clips (S, T, ...); give x[None] for one"
        )
    if y is None and net is None:
        raise SpicaError("fine-tuning needs labels, or the float network as a teacher")
    taught = None
    if net is not None and (y is None or distillation > 0):
        taught = probabilities(net, reads.to_float(samples))
    if y is None:
        assert taught is not None
        return taught
    whole = clips and np.ndim(y) == 1  # every frame is of its clip's class
    labels = check_labels(y, samples.shape[: 1 if whole else 1 + clips], count_classes(kind))
    labels = np.repeat(labels[:, None], samples.shape[1], axis=1) if whole else labels
    known = np.eye(count_classes(kind), dtype=np.float32)[labels][..., -kind.channels :]  # one logit: of class 1
    return known if taught is None else distillation * taught + np.float32(1 - distillation) * known


def probabilities(net: Network, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities that a float classifier gives, whether it ends in a softmax, in logits, or in one."""
    outputs = net.forward(x)
    assert not isinstance(outputs, list)
    if outputs.shape[-1] == 1:
        return 1 / (1 + np.exp(-outputs))
    if isinstance(net[net.outputs[0]], Softmax):
        return outputs
    return forward_float(Softmax(name="teacher", inputs=("outputs",)), [outputs])

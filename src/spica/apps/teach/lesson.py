"""The requests of the page: look at a drawing, learn it, forget a class, save."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.hardware import learning_step, map_network
from spica.layers import LearningDense
from spica.learning import Learner
from spica.network import Network
from spica.network.edit import replace_layer

LONGEST_NAME, MOST_CLASSES = 24, 100


class Lesson:
    """A learner of small grey images, with names for its classes.

    Args:
        network: an integer network with a learning layer, which reads images ``(H, W, 1)`` of 8 bits.
        device: the device whose modelled cost of learning is shown.

    Raises:
        SpicaError: for another network.
    """

    def __init__(self, network: Network, device: str = "AKD1000") -> None:
        if not any(isinstance(layer, LearningDense) for layer in network):
            raise SpicaError(
                f"{network.name}: it has no learning layer; 'spica demo learning' makes a network with one"
            )
        (source,) = network.inputs
        kind = network.types[source.name]
        if len(kind.shape) != 3 or kind.channels != 1 or kind.bits != 8 or kind.signed:
            raise SpicaError(f"{network.name}: it reads {kind}, but the page draws grey images of 8 bits")
        self.shape, self.device = kind.shape, device
        self.learner = Learner(network)
        layer = self.learner.layer
        self.names = list(layer.names or map(str, range(self.learner.classes)))
        self.taught = layer.learned.reshape(self.learner.classes, -1).sum(axis=1).tolist()

    def state(self) -> dict[str, Any]:
        """Return the classes and how often each was taught, and the size of an image."""
        height, width, _ = self.shape
        classes = [{"name": name, "taught": count} for name, count in zip(self.names, self.taught)]
        return {"height": height, "width": width, "device": self.device, "classes": classes}

    def look(self, pixels: Any) -> dict[str, Any]:
        """Return how much a drawing looks like each class, and the spikes and time that it took."""
        image = self._image(pixels)
        start = time.perf_counter()
        shares = self.learner.predict_proba(image, threads=1)[0]
        took = time.perf_counter() - start
        spikes = int(self.learner.features(image).sum())
        return {"shares": shares.round(4).tolist(), "spikes": spikes, "milliseconds": 1e3 * took}

    def teach(self, pixels: Any, name: Any) -> dict[str, Any]:
        """Learn a drawing as an example of a class, which is made if it is new."""
        image = self._image(pixels)
        whole = isinstance(name, str) and 0 < len(name := name.strip()) <= LONGEST_NAME and name.isprintable()
        if not whole:
            raise SpicaError(f"a class needs a name of 1 to {LONGEST_NAME} characters")
        if name not in self.names:
            if len(self.names) >= MOST_CLASSES:
                raise SpicaError(f"there are {MOST_CLASSES} classes, which is as many as the page shows; forget one")
            self.learner.add_classes(1)
            self.names.append(name)
            self.taught.append(0)
        label = self.names.index(name)
        start = time.perf_counter()
        self.learner.partial_fit(image, [label], threads=1)
        took = time.perf_counter() - start
        self.taught[label] += 1
        chip = map_network(self.learner.network, self.device)
        chip.forward(image)
        step = learning_step(chip)
        energy = step.energy_uj + step.statistics.dynamic_energy_uj
        return {**self.look(pixels), "milliseconds": 1e3 * took, "microjoules": energy, **self.state()}

    def forget(self, name: Any) -> dict[str, Any]:
        """Make a class as it was before it learned."""
        if name not in self.names:
            raise SpicaError(f"there is no class {name!r}")
        label = self.names.index(name)
        self.learner.forget(label)
        self.taught[label] = 0
        return self.state()

    def save(self, path: Path) -> dict[str, Any]:
        """Write the network as it is now, its classes with their names."""
        net, names = self.learner.network, tuple(self.names)
        replace_layer(net, self.learner.layer.name, replace(self.learner.layer, names=names)).save(path)
        return {"path": str(path)}

    def _image(self, pixels: Any) -> NDArray[np.uint8]:
        count = int(np.prod(self.shape))
        whole = isinstance(pixels, list) and len(pixels) == count and all(type(v) is int for v in pixels)
        if not whole or min(pixels) < 0 or max(pixels) > 255:
            raise SpicaError(f"a drawing is {count} whole numbers of 0 to 255")
        return np.array(pixels, np.uint8).reshape(1, *self.shape)

"""A classifier that learns on the chip: a network of binary features with a learning layer as its end."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.layers import Dense, Dequantize, LearningDense
from spica.layers.learning import RULES, UNIT
from spica.learning.propose import propose_weights
from spica.learning.rules import STATE, State, random_kernel
from spica.network import Layer, Network
from spica.network.classification import accuracy, check_labels
from spica.network.graph import check_network
from spica.util.arguments import check_choice, check_integer, check_number

LAYER = "learning"
SHARES = {"initial_plasticity": 1.0, "min_plasticity": 0.1, "plasticity_decay": 0.25, "competition": 0.0}
DEFAULTS: dict[str, Any] = {"neurons_per_class": 1, "rule": "swap", "seed": 0} | SHARES


class Learner:
    """A classifier in scikit-learn's manner whose last layer learns from single samples, as the chip does.

    ``spica.learn`` makes it. Samples are the integers that the network reads; labels are numbers of classes, from 0.
    Threads may share a learner: it learns for one of them at a time.
    """

    def __init__(self, network: Network) -> None:
        layer = learning_layer(network)
        assert layer is not None
        position = network.layers.index(layer)
        self._features = network.with_layers(network.layers[:position], layer.inputs)
        self._network: Network | None = network
        self._ends, self._outputs = network.layers[position + 1 :], network.outputs
        self._state = State(layer)
        self._lock = threading.RLock()

    @property
    def network(self) -> Network:
        """Return the integer network as it is now, to be saved, mapped and run; ``spica.learn`` opens it again."""
        with self._lock:
            if self._network is None:
                layers = (*self._features.layers, self.layer, *self._ends)
                self._network = self._features.with_layers(layers, self._outputs)
            return self._network

    @property
    def layer(self) -> LearningDense:
        """Return the learning layer as it is now."""
        with self._lock:
            return self._state.record()

    @property
    def classes(self) -> int:
        """Return how many classes there are neurons for."""
        return self._state.kernel.shape[1] // self._state.layer.neurons_per_class

    def features(self, x: ArrayLike, **options: Any) -> NDArray[np.uint8]:
        """Return the binary spikes ``(N, inputs)`` that the learning layer reads; options as ``Network.run``."""
        name = self._features.outputs[0]
        result = self._features.run(x, **options)
        return result.tensors[name].reshape(result.samples, -1)

    def fit(self, x: ArrayLike, y: ArrayLike | None = None, *, epochs: int = 1, **options: Any) -> Learner:
        """Forget everything, then learn samples in their order; see ``partial_fit``."""
        spikes, labels, epochs = self._read(x, y, epochs, options)
        with self._lock:
            self._become(blank(self.layer, range(self.classes)))
            return self._learn(spikes, labels, epochs, options)

    def partial_fit(self, x: ArrayLike, y: ArrayLike | None = None, *, epochs: int = 1, **options: Any) -> Learner:
        """Learn more samples, one after the other.

        Args:
            x: samples ``(N, ...)`` as integers that the network reads.
            y: class of each; without, the neurons of all classes compete for every sample.
            epochs: passes over the samples.
            options: as ``Network.run``; they change nothing but the time it takes.

        Raises:
            SpicaError: for labels that do not fit; ``add_classes`` makes room for more.
        """
        spikes, labels, epochs = self._read(x, y, epochs, options)
        return self._learn(spikes, labels, epochs, options)

    def _read(
        self, x: ArrayLike, y: ArrayLike | None, epochs: int, options: dict[str, Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None, int]:
        """Return spikes, labels and epochs, all checked before anything is learned or forgotten."""
        epochs, spikes = check_integer("epochs", epochs), self.features(x, **options)
        if y is None:
            return spikes, None, epochs
        return spikes, check_labels(y, (len(spikes),), self.classes, "; add_classes makes room"), epochs

    def _learn(
        self, spikes: NDArray[np.uint8], labels: NDArray[np.int64] | None, epochs: int, options: dict[str, Any]
    ) -> Learner:
        with self._lock:
            self._network = None
            for _ in range(epochs):
                if options.get("engine") == "reference":
                    state = State(self.layer)  # an interrupt leaves the learner as it was before this epoch
                    for i, sample in enumerate(spikes):
                        state.learn(sample, None if labels is None else int(labels[i]))
                    self._state = state
                else:
                    self._state.learn_all(spikes, labels)
            return self

    def potentials(self, x: ArrayLike, **options: Any) -> NDArray[np.int64]:
        """Return the largest potential of each class's neurons ``(N, classes)``: what the network gives."""
        spikes, each = self.features(x, **options).astype(np.float32), self._state.layer.neurons_per_class
        sums = spikes @ self._connections()
        return sums.reshape(len(spikes), -1, each).max(axis=2).astype(np.int64)

    def predict(self, x: ArrayLike, **options: Any) -> NDArray[np.int64]:
        """Return the class of every sample ``(N,)``: that of the neuron with the largest potential."""
        return self.potentials(x, **options).argmax(axis=1)

    def predict_proba(self, x: ArrayLike, **options: Any) -> NDArray[np.float64]:
        """Return a share for every class: softmax of its largest potential over a tenth of a neuron's connections.

        The chip gives potentials; the shares order classes as they do, and are not calibrated.
        """
        potentials = self.potentials(x, **options) * 10 / self._state.layer.weights_per_neuron
        shares = np.exp(potentials - potentials.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def score(self, x: ArrayLike, y: ArrayLike, **options: Any) -> float:
        """Return the fraction of samples whose predicted class is the label."""
        return accuracy(self.predict(x, **options), y, self.classes)

    def winners(self, x: ArrayLike, **options: Any) -> NDArray[np.int64]:
        """Return the neuron of largest potential for every sample; its class is ``winner // neurons_per_class``."""
        return (self.features(x, **options).astype(np.float32) @ self._connections()).argmax(axis=1)

    def add_classes(self, count: int = 1) -> Learner:
        """Add neurons for more classes; those that are there stay as they are."""
        count = check_integer("count", count)
        with self._lock:
            layer, each = self.layer, self.layer.neurons_per_class
            neurons = layer.kernel.shape[1]
            more, first = count * each, neurons // each
            wide: dict[str, Any] = {
                "names": (*layer.names, *map(str, range(first, first + count))) if layer.names else ()
            }
            for name in STATE:
                values = getattr(layer, name)
                columns = more if values.shape[-1] else 0  # a memory without any stays so
                wide[name] = np.pad(values, [*[(0, 0)] * (values.ndim - 1), (0, columns)])
            wider = replace(layer, **wide)
            self._become(blank(wider, range(first, first + count)))
        return self

    def forget(self, label: int) -> Learner:
        """Reset the neurons of a class to what they were before they learned; the class keeps its number."""
        with self._lock:
            label = check_integer("label", label, 0, self.classes - 1)
            self._become(blank(self.layer, range(label, label + 1)))
        return self

    def _connections(self) -> NDArray[np.float32]:
        """Return the kernel as float32, in which its sums are exact: none passes 2**24."""
        with self._lock:
            return self._state.kernel.astype(np.float32)

    def _become(self, layer: LearningDense) -> None:
        self._state, self._network = State(layer), None

    def __repr__(self) -> str:
        layer = self.layer
        return (
            f"<Learner {self._features.name!r}: {self.classes} classes x {layer.neurons_per_class} neurons, "
            f"{layer.weights_per_neuron} of {len(layer.kernel)} inputs each, {layer.learned.sum()} samples learned>"
        )


def learn(
    network: Network,
    classes: int | None = None,
    *,
    neurons_per_class: int | None = None,
    weights_per_neuron: int | None = None,
    samples: ArrayLike | None = None,
    rule: str | None = None,
    initial_plasticity: float | None = None,
    min_plasticity: float | None = None,
    plasticity_decay: float | None = None,
    competition: float | None = None,
    seed: int | None = None,
) -> Learner:
    """Give an integer network a last layer that learns on the chip.

    Args:
        network: an integer network. A last fully connected layer is replaced; what it read must be binary spikes
            (``spica.quantize(..., activations={"name": 1})``). A network that ends in a learning layer goes on with it
            as it was made, without further options.
        classes: how many classes to have neurons for.
        neurons_per_class: neurons of each class, 1 by default; more help where a class looks in several ways.
        weights_per_neuron: connections of each neuron; by default proposed from ``samples``.
        samples: what the network reads, to propose it: 1.2 times the median number of spikes.
        rule: "swap", the published one and the default, or "prototype".
        initial_plasticity: share of what a sample asks for that is done at first, 0 to 1; 1 by default.
        min_plasticity: the same, at least; 0.1 by default.
        plasticity_decay: share of its plasticity that a neuron loses with each sample that it learns; 0.25 by default.
        competition: share of a winner's potential that becomes its threshold, so that others win next; 0 by default.
        seed: of the first connections and of everything drawn by lot; 0 by default.

    Raises:
        SpicaError: where the network's features are not binary, or an option is bad.
    """
    options = {"neurons_per_class": neurons_per_class, "rule": rule, "initial_plasticity": initial_plasticity,
               "min_plasticity": min_plasticity, "plasticity_decay": plasticity_decay, "competition": competition,
               "seed": seed}  # fmt: skip
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    check_network(network, "spica.quantize makes one of a float network")
    if learning_layer(network) is not None:
        given |= {"classes": classes, "weights_per_neuron": weights_per_neuron}
        if unread := [name for name, value in given.items() if value is not None]:
            raise SpicaError(f"{network.name} goes on learning as it was made; {unread[0]} would change nothing")
        return Learner(network)
    layers, source = features_of(network)
    features = network.with_layers(layers, [source])
    inputs = _check_binary(features, source)
    if weights_per_neuron is None:
        if samples is None:
            raise SpicaError("give weights_per_neuron, or samples to propose it from")
        weights_per_neuron = propose_weights(features, samples)
    fields = _checked(DEFAULTS | given)
    fields["weights_per_neuron"] = check_integer("weights_per_neuron", weights_per_neuron, 1, inputs)
    layer = _new_layer(source, inputs, check_integer("classes", classes), **fields)
    end = Dequantize(name=f"{LAYER}/dequantize", inputs=(LAYER,))
    return Learner(network.with_layers([*layers, layer, end], [end.name]))


def _new_layer(source: str, inputs: int, classes: int, **fields: Any) -> LearningDense:
    """Return a learning layer that has learned nothing."""
    neurons = classes * fields["neurons_per_class"]
    nothing = np.zeros(neurons, np.int64)
    kernel = np.zeros((inputs, neurons), np.int8)
    memory = np.zeros((inputs, neurons if fields["rule"] == "prototype" else 0), np.int16)
    fields |= {"kernel": kernel, "memory": memory, "plasticity": nothing, "threshold": nothing, "learned": nothing}
    return blank(LearningDense(name=LAYER, inputs=(source,), **fields), range(classes))


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a rule as fields of the layer, with shares in 1/1024."""
    check_choice("rule", options["rule"], RULES)
    shares = {name: round(check_number(name, options[name], 0, 1) * UNIT) for name in SHARES}
    neurons = check_integer("neurons_per_class", options["neurons_per_class"])
    return (
        options | shares | {"neurons_per_class": neurons, "seed": check_integer("seed", options["seed"], 0, 2**64 - 1)}
    )


def _check_binary(features: Network, source: str) -> int:
    """Check that features are binary spikes, and return how many there are."""
    kind = features.types[source]
    if kind.bits != 1 or kind.signed:
        raise SpicaError(
            f"{features.name}: {source!r}, which the learning layer would read, is {kind}, but must be binary spikes; "
            f"quantise with activations={{{source!r}: 1}}, or end the network earlier"
        )
    return int(np.prod(kind.shape))


def learning_layer(network: Network) -> LearningDense | None:
    """Return the learning layer of a network, if it has one."""
    return next((layer for layer in network if isinstance(layer, LearningDense)), None)


def features_of(network: Network) -> tuple[tuple[Any, ...], str]:
    """Return the layers up to the features of a classifier or extractor, and the features' name."""
    layers = list(network.layers)
    while is_head(layers[-1]):
        layers.pop()
    return tuple(layers), layers[-1].name


@singledispatch
def is_head(layer: Layer) -> bool:
    """Return whether a layer at the end of a network comes after its features: a classifier, or what reads one."""
    return False


@is_head.register
def _(layer: Dequantize) -> bool:
    return True


@is_head.register
def _(layer: Dense) -> bool:
    return layer.requantize is None


def blank(layer: LearningDense, labels: range) -> LearningDense:
    """Return the layer with the neurons of some classes as they are before they learn."""
    each = layer.neurons_per_class
    neurons = range(labels.start * each, labels.stop * each)
    part = slice(neurons.start, neurons.stop)
    changed = {name: getattr(layer, name).copy() for name in STATE}
    for values in changed.values():
        values[..., part] = 0
    changed["kernel"][:, part] = random_kernel(len(layer.kernel), neurons, layer.weights_per_neuron, layer.seed)
    changed["plasticity"][part] = layer.initial_plasticity
    return replace(layer, **changed)

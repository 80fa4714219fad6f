"""The contract of a pass, and pipelines of passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, NamedTuple

from spica.errors import SpicaError
from spica.network import Network
from spica.network.graph import check_network


class Result(NamedTuple):
    """A network after a pass.

    Attributes:
        network: the network; the very one that was given where nothing was modified.
        modified: whether it is another one.
        note: what was modified, in words, where the pass tells it.
    """

    network: Network
    modified: bool = False
    note: str = ""


Condition = Callable[[Network], None]
"""Raises a ``SpicaError`` for a network that does not meet it."""


class Pass:
    """A function from a network to a ``Result`` of equal outputs, with its contract; use the class as a decorator.

    Every run checks the conditions below, that inputs and outputs keep their shapes, and that ``modified`` is true.

    Attributes:
        name: the function's.
        requires: conditions on the network that it is given.
        ensures: conditions on the network that it makes.
    """

    def __init__(
        self, rewrite: Callable[..., Result], requires: Sequence[Condition] = (), ensures: Sequence[Condition] = ()
    ) -> None:
        update_wrapper(self, rewrite)
        self.name, self.rewrite, self.requires, self.ensures = rewrite.__name__, rewrite, requires, ensures

    def run(self, net: Network, *where: Any) -> Result:
        """Run the pass on a network; ``where`` is for passes that need to know more, such as a layer and a device.

        Raises:
            SpicaError: naming the pass, where the network does not meet what it requires, or the pass failed.
        """
        check_network(net)
        try:
            for condition in self.requires:
                condition(net)
            result = self.rewrite(net, *where)
            if result.modified is (result.network is net):
                raise SpicaError(f"{net.name}: the pass reports modified={result.modified}, which is not so")
            before, after = _interface(net), _interface(result.network)
            if before != after:
                raise SpicaError(f"{net.name}: its inputs and outputs must stay {before}, but became {after}")
            for condition in self.ensures:
                condition(result.network)
        except SpicaError as error:
            raise SpicaError(f"pass {self.name}: {error}") from error
        return result

    def __call__(self, net: Network) -> Network:
        """Return the network after the pass."""
        return self.run(net).network


def _interface(net: Network) -> list[tuple[Any, ...]]:
    """Return the names of the inputs, and the shapes and kinds of inputs and outputs."""
    inputs = tuple(layer.name for layer in net.inputs)
    return [inputs, *((net.types[name].shape, net.types[name].is_float) for name in (*inputs, *net.outputs))]


class Pipeline:
    """Passes, and pipelines of passes, to run in order.

    Args:
        passes: the steps.
        until_stable: whether to begin again until no pass modifies the network.
    """

    def __init__(self, *passes: Pass | Pipeline, until_stable: bool = False) -> None:
        self.passes, self.until_stable = passes, until_stable

    def run(self, net: Network) -> Result:
        """Run every pass; a ``SpicaError`` names the one that failed."""
        start = net
        while True:
            before = net
            for step in self.passes:
                net = step.run(net).network
            if net is before or not self.until_stable:
                return Result(net, net is not start)

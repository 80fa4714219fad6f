"""The contract of a pass, and pipelines of passes.

A pass is a function from a network to a ``Result``: an equal network, and whether it is another one. ``@graph_pass``
makes an object of it that has the function's name and docstring, can be called, and checks on every run

* before: what the pass requires of a network;
* after: that the inputs are the same and the outputs have the same shapes, that ``modified`` is true, and what the pass
  ensures besides.
"""

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
    """A pass with its contract; ``graph_pass`` makes it.

    Attributes:
        name: the function's name.
        requires: conditions on the network that it is given.
        ensures: conditions on the network that it makes.
    """

    def __init__(
        self, rewrite: Callable[..., Result], requires: Sequence[Condition] = (), ensures: Sequence[Condition] = ()
    ) -> None:
        update_wrapper(self, rewrite)
        self.name, self.rewrite = rewrite.__name__, rewrite
        self.requires, self.ensures = tuple(requires), tuple(ensures)

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
            _check_interface(net, result.network)
            for condition in self.ensures:
                condition(result.network)
        except SpicaError as error:
            raise SpicaError(f"pass {self.name}: {error}") from error
        return result

    def __call__(self, net: Network) -> Network:
        """Return the network after the pass."""
        return self.run(net).network


def graph_pass(requires: Sequence[Condition] = (), ensures: Sequence[Condition] = ()) -> Callable[..., Pass]:
    """Make a pass of a function from a network to a ``Result``."""
    return lambda rewrite: Pass(rewrite, requires, ensures)


class Pipeline:
    """Passes, and pipelines of passes, to run in order.

    Args:
        passes: the steps.
        until_stable: whether to begin again until no pass modifies the network.
    """

    def __init__(self, *passes: Pass | Pipeline, until_stable: bool = False) -> None:
        self.passes, self.until_stable = passes, until_stable

    def run(self, net: Network) -> Result:
        """Run every pass.

        Raises:
            SpicaError: naming the pass that failed.
        """
        start = net
        while True:
            modified = False
            for step in self.passes:
                result = step.run(net)
                net, modified = result.network, modified or result.modified
            if not (modified and self.until_stable):
                return Result(net, net is not start)


def _check_interface(before: Network, after: Network) -> None:
    """Check that two networks have the same inputs, and outputs of the same shapes and kinds."""
    tensors = [
        [(n.types[name].shape, n.types[name].is_float) for name in (*(i.name for i in n.inputs), *n.outputs)]
        for n in (before, after)
    ]
    names = [[layer.name for layer in n.inputs] for n in (before, after)]
    if names[0] != names[1] or tensors[0] != tensors[1]:
        raise SpicaError(f"{before.name}: its inputs and outputs must stay {tensors[0]}, but became {tensors[1]}")

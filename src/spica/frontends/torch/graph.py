"""PyTorch modules to float networks, through the graph that ``torch.export`` makes of them.

PyTorch has channels first, and cuts and turns tensors at will; see ``view`` for how that becomes channels last. How it
spells each operation is in ``operations``.
"""

from __future__ import annotations

import copy
import logging
import operator
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from spica.errors import SpicaError
from spica.frontends.ops import GraphBuilder
from spica.frontends.patterns import Part
from spica.frontends.torch import recurrent  # noqa: F401 (enters its operations)
from spica.frontends.torch.operations import IDENTITIES, MOVES, OPERATIONS, SEVERAL
from spica.frontends.view import View
from spica.layers import Input
from spica.network import Network
from spica.util.files import refuse_damage

SIGNALS = {"adaptive_avg_pool1d", "avg_pool1d", "conv1d", "max_pool1d"}
KEEPS_LAYOUT = {
    "_native_batch_norm_legit_no_training", "_to_copy", "add", "clone", "constant_pad_nd", "div", "getitem", "mul",
    "native_dropout", "pad", "relu", "sub",
}  # fmt: skip
"""Operations of signals, and those that say nothing of which axis holds the channels."""


def from_torch(module: Any, example: Any) -> Network:
    """Take a PyTorch module as a float network.

    Args:
        module: a ``torch.nn.Module`` that reads one tensor, or what ``torch.jit`` made of one; it is taken as it is in
            evaluation.
        example: a tensor or array that it can read, with a batch axis: images ``(N, C, H, W)``, tokens ``(N, T, C)`` or
            vectors ``(N, C)``. Only its shape and type matter.

    Returns:
        A float ``Network`` that computes what the module computes, with channels last: it reads ``(N, H, W, C)``, and
        an output that is an image has its channels last too. Signals ``(N, C, L)`` that a convolution reads are
        ``(N, L, C)``.

    Raises:
        SpicaError: naming the first operation that cannot be taken and what would work instead.
    """
    exported = _export(module, example)
    known, signature = {**exported.state_dict, **exported.constants}, exported.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    held |= signature.inputs_to_lifted_tensor_constants
    graph = _Walk(exported.graph.nodes)
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            graph.values[node.name] = _kept(known[held[node.name]]) if node.name in held else graph.source(node)
        elif node.op == "call_function":
            graph.call(node)
    (results,) = (node.args[0] for node in exported.graph.nodes if node.op == "output")
    return graph.network([graph.output(result) for result in results], type(module).__name__.lower())


def _export(module: Any, example: Any) -> Any:
    try:
        import torch
    except ImportError:
        raise SpicaError("from_torch needs PyTorch; run: pip install torch") from None
    if not isinstance(module, torch.nn.Module):
        raise SpicaError(f"{module!r:.60}: not a torch.nn.Module")
    try:
        example = torch.as_tensor(example).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise SpicaError(f"example is {example!r:.60}, but must be a tensor or an array with a batch axis") from None
    if example.ndim < 2 or not len(example):
        shape = tuple(example.shape)
        raise SpicaError(f"example has shape {shape}, but must have a batch axis and at least one sample")
    one = example[:1]
    # Two samples, so that the batch axis can be told from axes of one.
    two = (torch.cat([one, one]).to(next(module.parameters(), one).dtype),)
    fast, logged = torch.backends.mha.get_fastpath_enabled(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what goes wrong is said once, below
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide what a transformer does in one operation
    try:
        # Without operations in place, which would change other views of what they change.
        return _exported(copy.deepcopy(module).cpu().eval(), two).run_decompositions({})
    except Exception as error:  # whatever the module's own code raises
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SpicaError(
            f"{type(module).__name__}: torch.export cannot follow it ({said:.200}); "
            "call it on the example yourself, and avoid branches that depend on values"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        logging.disable(logged)


def _exported(module: Any, example: tuple[Any, ...]) -> Any:
    """Return a module as a graph; one of ``torch.jit`` by PyTorch's converter of scripts."""
    import torch

    if not isinstance(module, torch.jit.ScriptModule):
        return torch.export.export(module, example)
    from torch._export.converter import TS2EPConverter

    return TS2EPConverter(module, example).convert()


def _kept(value: Any) -> Any:
    """Return a parameter, buffer or constant; real ones in float32, whatever a module is kept in."""
    value = value.detach().cpu()
    return value.float() if value.is_floating_point() else value


def _leaves(values: Any) -> list[Any]:
    """Return what lists hold, and lists in them."""
    return [leaf for value in values for leaf in (_leaves(value) if isinstance(value, list) else [value])]


def _plain(value: Any) -> Any:
    """Return a constant tensor as an array, real ones in float32; other values as they are."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return _kept(value).numpy().copy() if hasattr(value, "numpy") else value


class _Walk(GraphBuilder):
    """Follows an exported graph.

    Attributes:
        values: what each node's tensor is, by its name: a view, a part of an operation, or PyTorch's own.
        operations: names of all that a module does itself, by its place among the modules.
    """

    def __init__(self, nodes: Iterable[Any]) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}
        self.operations: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for node in nodes:
            if node.op == "call_function" and node.target is not operator.getitem:
                self.operations[tuple(_modules(node))].add(_operation(node))

    def source(self, node: Any) -> View:
        """Return the input of the network that a placeholder is, channels first."""
        _, *shape = map(int, node.meta["val"].shape)
        if len(shape) > 3:
            raise SpicaError(f"{node.name}: an input of shape {tuple(shape)} is no image, tokens or vector")
        if len(shape) < 2 or (len(shape) == 2 and not _is_signal(node)):
            return self.make(Input, node.name, shape=tuple(shape))
        return self.make(Input, node.name, shape=(*shape[1:], shape[0])).channels_first()

    def call(self, node: Any) -> None:
        """Do one operation of the graph."""
        args = [self.value(a) for a in node.args]
        options = {key: self.value(a) for key, a in node.kwargs.items()}
        if not any(isinstance(v, View | Part) for v in _leaves([*args, *options.values()])):
            self.values[node.name] = node.target(*args, **options)  # the input has no part in it: PyTorch computes it
            return
        name, at = _operation(node), self.where(node)
        with refuse_damage(at, f"{name} cannot be taken as it is called here; write it with other operations"):
            self.values[node.name] = self.result(name, at, [_plain(a) for a in args], options)

    def where(self, node: Any) -> str:
        """Return the path of the module that a node belongs to, with the operation where it has several or no path."""
        modules = _modules(node)
        path = list(modules.values())[-1][0] if modules else ""
        alone = path and len(self.operations[tuple(modules)]) < 2
        return "/".join(part for part in (path.replace(".", "/"), "" if alone else _operation(node)) if part)

    def result(self, name: str, at: str, args: list[Any], options: dict[str, Any]) -> Any:
        """Return what an operation makes of views, arrays and plain values."""
        if name in IDENTITIES:
            return args[0]
        if name == "sym_size":
            return args[0].numbers.shape[args[1]]
        if name == "getitem":
            return args[0][args[1]]
        read = MOVES.get(name) or OPERATIONS.find(name, at)
        if name not in SEVERAL and args and isinstance(args[0], Part):
            args = [args[0].completed(self, at), *args[1:]]
        others = [v for v in _leaves([*args[1:], *options.values()]) if isinstance(v, View | Part)]
        if name not in SEVERAL and (others or not isinstance(args[0], View)):
            raise SpicaError(f"{at}: {name} is taken where only its first argument, whole, depends on the input")
        if name not in MOVES:
            return read(self, at, *args, **options)
        made = read(*args, **options)
        if not all(view.has_every_sample() for view in _leaves([made])):
            raise SpicaError(f"{at}: {name} takes samples of the batch apart; leave the batch axis whole")
        return made

    def value(self, argument: Any) -> Any:
        """Return what an argument of a node stands for."""
        if isinstance(argument, list | tuple):
            return [self.value(a) for a in argument]
        name = getattr(argument, "name", None)
        return self.values[name] if name in self.values and hasattr(argument, "op") else argument

    def output(self, node: Any) -> View:
        """Return an output with channels last."""
        found = self.value(node)
        if isinstance(found, Part):
            found = found.completed(self, str(node))
        if not isinstance(found, View):
            raise SpicaError(f"{node}: an output that does not depend on the input cannot be taken")
        return self.output_of(found, str(node))


def _is_signal(node: Any) -> bool:
    """Return whether a convolution or pooling of signals ``(N, C, L)`` reads a tensor, or what has the same layout."""
    for user in node.users:
        name = _operation(user)
        if name in SIGNALS or (name in KEEPS_LAYOUT and _is_signal(user)):
            return True
    return False


def _operation(node: Any) -> str:
    """Return the name of what a node does, without its overload: "conv2d"."""
    if node.target is operator.getitem:
        return "getitem"
    return str(getattr(node.target, "_schema", node.target)).partition("(")[0].split("::")[-1].split(".")[0]


def _modules(node: Any) -> dict[str, tuple[str, Any]]:
    """Return the modules that a node is inside of, outermost first: their paths and types by PyTorch's own names."""
    return node.meta.get("nn_module_stack") or {}

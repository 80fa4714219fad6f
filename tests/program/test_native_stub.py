"""The stub of the native module has what the module has, and 8-bit kernels are as good as wide ones."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import spica
from spica import _native

STUB = ast.parse((Path(spica.__file__).parent / "_native.pyi").read_text())


def test_the_stub_and_the_module_have_the_same_names():
    assert _public(STUB.body) == _public(dir(_native))
    for node in STUB.body:
        if isinstance(node, ast.ClassDef):
            assert _public(node.body) == _public(dir(getattr(_native, node.name)))


@pytest.mark.parametrize("owner", [None, "Learner", "Program"])
def test_the_stub_and_the_module_have_the_same_arguments_and_explain_every_function(owner):
    classes = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
    body, found = (STUB.body, _native) if owner is None else (classes[owner].body, getattr(_native, owner))
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and not node.decorator_list]
    assert functions
    for function in functions:
        signature, _, text = getattr(found, function.name).__doc__.partition("\n\n")
        arguments = re.findall(r"(\w+):", re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", signature)))
        assert [a.arg for a in function.args.args if a.arg != "self"] == arguments
        assert ast.get_docstring(function).split()[:2] == text.split()[:2]


@pytest.mark.parametrize("add, shape", [("convolve", (3, 2, 5, 40)), ("depthwise", (3, 2, 5))])
def test_kernels_of_one_byte_give_what_the_same_kernels_of_two_give(add, shape):
    rng = np.random.default_rng(1)
    kernel = rng.integers(-128, 128, shape).astype(np.int8)
    x = rng.integers(0, 256, (2, 7, 6, 5)).astype(np.uint8)
    narrow, wide = (_convolved(add, kernel.astype(dtype), x) for dtype in (np.int8, np.int16))
    assert np.array_equal(narrow, wide)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), (3, 2), axis=(1, 2))
    formula = "nhwcij,ijcf->nhwf" if add == "convolve" else "nhwcij,ijc->nhwc"
    assert np.array_equal(narrow, np.einsum(formula, windows, kernel))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.float32])
def test_kernels_of_other_types_are_refused(dtype):
    with pytest.raises(ValueError, match="int8 or int16"):
        _convolved("convolve", np.zeros((1, 1, 5, 3), dtype), np.zeros((1, 2, 2, 5), np.uint8))


def _convolved(add, kernel, x):
    """The accumulators of ``kernel`` over ``x``, without padding."""
    samples, height, width, channels = x.shape
    shape = (height - kernel.shape[0] + 1, width - kernel.shape[1] + 1, kernel.shape[-1])
    program, nothing = _native.Program(), np.zeros(0, np.float32)
    source = program.tensor((height, width, channels), [0] * 4, 1, 0, [], -1, -1)
    target = program.tensor(shape, [0] * 4, 0, 0, [], -1, -1)
    events = [-1] if add == "convolve" else []
    epilogue = (None, None, None, None, 31, 32, False, 0, 0)
    getattr(program, add)(source, target, *events, kernel, [1, 1], [0, 0], epilogue, (-(1 << 24), 1 << 24))
    program.finalize([source], [target], [(nothing, nothing)])
    y = np.empty((samples, *shape), np.int32)
    program.run([x], [y], samples, 1, False)
    return y


def _public(names):
    """The public ones among names, or among those that statements of a stub define."""
    found = [n if isinstance(n, str) else getattr(n, "name", getattr(n, "target", n)) for n in names]
    return {name for n in found if isinstance(name := getattr(n, "id", n), str) and not name.startswith("_")}

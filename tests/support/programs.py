"""Programs that several tests use, and ways to change them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica.layers import Conv2D, Dequantize, Input, MaxPool, ReLU
from spica.network import Network
from spica.program import Program, trace_network


def programs_of(net: Network, streaming: bool = False) -> list[Program]:
    return [s.program for s in trace_network(net, streaming=streaming) if s.program is not None]


def small_network() -> Network:
    random = np.random.default_rng(0)
    conv = Conv2D(
        name="conv", inputs=("input",), kernel=random.integers(-8, 8, (3, 3, 1, 4), dtype=np.int8), weight_bits=4,
        weight_scale=np.ones(4, np.float32), activation=ReLU(), pool=MaxPool(padding="same"), padding="same",
    )  # fmt: skip
    layers = (Input(name="input", shape=(6, 6, 1), bits=8), conv, Dequantize(name="output", inputs=("conv",)))
    return Network(layers, ("output",))


def small_program() -> Program:
    (program,) = programs_of(small_network())
    return program


def change(program: Program, number: int, **fields) -> Program:
    """The program with other fields of one step."""
    steps = list(program.steps)
    steps[number] = replace(steps[number], **fields)
    return replace(program, steps=tuple(steps))


def other_tensor(program: Program, number: int, **fields) -> Program:
    """The program with other fields of one tensor."""
    tensors = list(program.tensors)
    tensors[number] = replace(tensors[number], **fields)
    return replace(program, tensors=tuple(tensors))

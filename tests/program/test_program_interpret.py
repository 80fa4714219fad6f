"""Programs interpreted in numpy: they say what layers mean, and every range that they state holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.engine.runner import Memory, execute, execute_segment, make_ops
from spica.network import Network
from spica.program import Segment, check, trace_network
from spica.program.interpret import interpret, interpret_tensors
from spica.program.ir import bits_of
from support.networks import integer_networks
from support.profiles import examples
from support.programs import change, programs_of, small_program

FILES = Path(__file__).parent.parent / "network" / "version_0_1"
SAMPLES = np.load(FILES / "expected.npz")


def run_interpreted(net: Network, x: np.ndarray, streaming: bool) -> np.ndarray:
    """Outputs of ``net`` with its programs interpreted; frame by frame where ``streaming``."""
    memory, ops = Memory(net), make_ops("reference", 1)

    def step(segment: Segment, read: list[np.ndarray]) -> list[np.ndarray]:
        if segment.program is None:
            return execute_segment(net, segment, read, ops, memory)
        states = [a for name in segment.stateful for a in memory.states[name]]
        made = interpret(segment.program, [*read, *states])
        after = iter(made[len(segment.writes) :])
        memory.states |= {name: tuple(next(after) for _ in memory.states[name]) for name in segment.stateful}
        return made[: len(segment.writes)]

    segments = trace_network(net, streaming=streaming)
    outputs = execute({net.inputs[0].name: x}, segments, step, net.outputs, 1 if streaming else len(x))
    return net.types[net.outputs[0]].to_float(outputs[net.outputs[0]])


@examples(150)
@given(integer_networks(), st.booleans())
def test_interpreted_programs_give_what_both_engines_give_and_every_value_is_in_its_range(case, streaming):
    net, x = case
    got = run_interpreted(net, x, streaming)
    for engine in ("native", "reference"):
        np.testing.assert_array_equal(got, net.forward(x, engine=engine))


@examples(100)
@given(integer_networks(memory=False))
def test_every_tensor_of_a_random_program_is_in_its_range_and_bits(case):
    net, x = case
    for segment in trace_network(net, keep=[layer.name for layer in net]):
        if segment.program is None:
            continue
        read = [net.run(x, keep=[name]).tensors[name] for name in segment.reads]
        for tensor, values in zip(segment.program.tensors, interpret_tensors(segment.program, read), strict=True):
            assert tensor.low <= values.min() and values.max() <= tensor.high
            assert bits_of(int(values.min()), int(values.max())) <= tensor.bits


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["vit_44", "vit_88", "recurrent_88", "temporal_44", "residual_88"])
def test_programs_with_attention_and_memory_give_what_the_reference_gives(name, streaming):
    net, x = spica.load(FILES / f"quantized_{name}.spica"), SAMPLES[f"quantized_{name}/x"]
    for program in programs_of(net, streaming):
        check(program)
    x = x.reshape(-1, *net.inputs[0].shape)[:12]
    np.testing.assert_array_equal(run_interpreted(net, x, streaming), net.forward(x, engine="reference"))


def test_the_interpreter_refuses_values_beyond_their_ranges():
    program = small_program()
    x = np.full((1, 6, 6, 1), 255)
    with pytest.raises(spica.SpicaError, match="input: tensor 0 must be 0 to 255, but reach from 256 to 256"):
        interpret(program, [x + 1])
    with pytest.raises(spica.SpicaError, match=r"conv: accumulators must be 0 to 1, but reach"):
        interpret(change(program, 0, sums=(0, 1)), [x])

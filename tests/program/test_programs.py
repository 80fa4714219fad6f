"""Programs as values: they say what layers mean, keep their rules, and are printed, compared, changed and saved."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spica
from spica.engine.plan import plan
from spica.engine.runner import Memory, execute, execute_segment, make_ops
from spica.layers import Conv2D, Dequantize, Input, MaxPool, ReLU
from spica.network import Network
from spica.program import Program, Segment, check, load_programs, save_programs, trace_network
from spica.program.file import digest
from spica.program.interpret import interpret, interpret_tensors
from spica.program.ir import Copy, Tensor, bits_of
from spica.program.lower import byte_planes, lower
from spica.program.native import NativeProgram
from support.networks import integer_networks


def programs_of(net: Network, streaming: bool = False) -> list[Program]:
    return [s.program for s in trace_network(net, streaming=streaming) if s.program is not None]


def run_interpreted(net: Network, x: np.ndarray, streaming: bool) -> tuple[np.ndarray, Memory]:
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
    return net.types[net.outputs[0]].to_float(outputs[net.outputs[0]]), memory


@settings(max_examples=150, deadline=None)
@given(integer_networks(), st.booleans())
def test_interpreted_programs_give_what_both_engines_give_and_every_value_is_in_its_range(case, streaming):
    net, x = case
    got, _ = run_interpreted(net, x, streaming)
    for engine in ("native", "reference"):
        np.testing.assert_array_equal(got, net.forward(x, engine=engine))


@settings(max_examples=100, deadline=None)
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


@settings(max_examples=100, deadline=None)
@given(integer_networks(), st.booleans())
def test_random_programs_keep_the_rules_and_come_back_from_a_file(tmp_path_factory, case, streaming):
    net, _ = case
    path = tmp_path_factory.mktemp("program") / "net.program"
    programs = programs_of(net, streaming)
    for program in programs:
        check(program)
        check(lower(program)[0])
    save_programs(programs, path)
    loaded = load_programs(path)
    assert loaded == programs
    assert [digest(p) for p in loaded] == [digest(p) for p in programs]


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


def test_a_program_prints_as_a_table_with_a_row_for_each_step():
    lines = str(small_program()).splitlines()
    assert lines[0] == "reads input %0; writes output %2"
    assert lines[1].split() == [
        "step", "layer", "reads", "writes", "shape", "range", "bits", "sums", "weights", "epilogue",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[3:]] == ["Conv", "Pool"]
    assert "3x3x1x4 int8 pad 1,1,1,1" in lines[3] and "relu" in lines[3]


def test_programs_are_compared_by_content():
    a, b = small_program(), small_program()
    assert a == b and digest(a) == digest(b)
    conv = a.steps[0]
    changed = replace(a, steps=(replace(conv, kernel=conv.kernel + np.int8(1)), *a.steps[1:]))
    assert changed != a and digest(changed) != digest(a)
    assert replace(a, steps=(replace(conv, kernel=conv.kernel.astype(np.int16)), *a.steps[1:])) != a
    assert replace(a, tensors=(replace(a.tensors[0], low=-1), *a.tensors[1:])) != a


def test_a_program_cannot_be_changed_in_place():
    program = small_program()
    with pytest.raises(FrozenInstanceError):
        program.steps = ()
    with pytest.raises(ValueError, match="read-only"):
        program.steps[0].kernel[:] = 0


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 0), (0, 1, 1), (0, 255, 8), (-1, 0, 1), (-128, 127, 8), (-9, -9, 5), (-129, 0, 9), (-1, 255, 9)],
)
def test_bits_follow_from_the_range(low, high, bits):
    tensor = Tensor(shape=(1, 1, 1), low=low, high=high)
    assert tensor.bits == bits and tensor.signed == (low < 0)


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


def epilogue(program: Program, **fields) -> Program:
    return change(program, 0, epilogue=replace(program.steps[0].epilogue, **fields))


COPY = Copy(layer="conv", inputs=(0,), outputs=(1,), shape=(6, 6, 1), strides=(6, 1, 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: other_tensor(p, 1, low=1 << 40, high=1 << 41), r"tensor 1: its range must be within 32 bits"),
        (lambda p: other_tensor(p, 1, shape=(6, 0, 4)), r"tensor 1: every size must be at least 1"),
        (lambda p: other_tensor(p, 1, shares=2), r"tensor 1: must share an earlier tensor of 144 values"),
        (lambda p: other_tensor(p, 1, shares=0), r"tensor 1: must share an earlier tensor of 144 values"),
        (lambda p: change(p, 0, inputs=(7,)), r"conv \(Conv\): tensor 7 does not exist; there are 3"),
        (lambda p: change(p, 0, inputs=(0, 0)), r"conv \(Conv\): reads and writes 2 and 1 tensors"),
        (lambda p: replace(p, outputs=(replace(p.outputs[0], tensor=-1),)), r"output: tensor -1 does not exist"),
        (lambda p: change(p, 0, inputs=(2,)), r"conv \(Conv\): reads tensor 2, which nothing has written"),
        (lambda p: change(p, 0, outputs=(0,)), r"writes tensor 0, whose storage another tensor has"),
        (lambda p: change(p, 1, outputs=(0,)), r"conv \(Pool\): writes tensor 0, which is written already"),
        (lambda p: replace(p, steps=p.steps[:1]), r"output: leaves from tensor 2, which nothing has written"),
        (lambda p: replace(p, inputs=(replace(p.inputs[0], shape=(5,)),)), r"input: an array \(5,\) does not fit"),
        (lambda p: replace(p, inputs=(replace(p.inputs[0], dtype="float32"),)), r"input: an array of float32"),
        (lambda p: change(p, 0, kernel=p.steps[0].kernel.astype(np.int64)), r"a kernel .* of int64 does not fit 1 cha"),
        (lambda p: change(p, 0, fill=np.zeros(2, np.int64)), r"the padding needs one value for each of 1 channels"),
        (lambda p: epilogue(p, bias=np.zeros(3, np.int64)), r"bias must be int64, one for each of 4 channels"),
        (lambda p: epilogue(p, shift=np.zeros(4, np.int64)), r"multiplier and shift come together"),
        (lambda p: epilogue(p, value_bits=63), r"buffers have 1 to 62 bits; got 63 and"),
        (lambda p: change(p, 0, strides=(2, 1)), r"conv \(Conv\): writes \(\(3, 6, 4\),\), but its tensors are"),
        (lambda p: change(p, 1, strides=(0, 1)), r"conv \(Pool\): strides must be 1 or more"),
        (lambda p: change(p, 0, sums=(0, 10)), r"accumulators reach from -?\d+ to \d+, but its range is \(0, 10\)"),
        (lambda p: change(p, 0, sums=(-(1 << 60), 1 << 60)), r"accumulators of more than 53 bits are not exact"),
        (lambda p: other_tensor(p, 1, high=5), r"conv \(Conv\): makes 0 to \d+, but tensor 1 holds 0 to 5"),
        (lambda p: replace(p, steps=(replace(COPY, offset=1), *p.steps[1:])), r"places that its tensors do not have"),
        (lambda p: replace(p, steps=(COPY, *p.steps[1:])), r"tensor 1: copies leave 108 of its values unwritten"),
    ],
)
def test_a_program_that_breaks_a_rule_is_refused(damage, message):
    program = small_program()
    check(program)
    with pytest.raises(spica.SpicaError, match=message):
        check(damage(program))


def test_the_interpreter_refuses_values_beyond_their_ranges():
    program = small_program()
    x = np.full((1, 6, 6, 1), 255)
    with pytest.raises(spica.SpicaError, match="input: tensor 0 must be 0 to 255, but reach from 256 to 256"):
        interpret(program, [x + 1])
    with pytest.raises(spica.SpicaError, match=r"conv: accumulators must be 0 to 1, but reach"):
        interpret(change(program, 0, sums=(0, 1)), [x])


def test_a_program_from_a_file_runs(tmp_path):
    net = small_network()
    save_programs(programs_of(net), tmp_path / "p")
    (program,) = load_programs(tmp_path / "p")
    x = np.random.default_rng(1).integers(0, 256, (3, 6, 6, 1), dtype=np.uint8)
    (got,), _ = NativeProgram(program)([x], 1)
    np.testing.assert_array_equal(got, net.forward(x))


def test_a_damaged_or_other_file_is_refused(tmp_path):
    path = tmp_path / "p"
    save_programs([small_program()], path)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(data), 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(spica.SpicaError):
            load_programs(path)
        path.write_bytes(data[:place])
        with pytest.raises(spica.SpicaError, match=r"not a whole \.spica-program file"):
            load_programs(path)
    small_network().save(path)
    with pytest.raises(spica.SpicaError, match=r"not a whole \.spica-program file"):
        load_programs(path)
    save_programs([small_program()], path)
    with pytest.raises(spica.SpicaError, match=r"not a whole \.spica file"):
        spica.load(path)


def test_a_program_that_breaks_a_rule_does_not_come_back_from_a_file(tmp_path):
    save_programs([change(small_program(), 0, inputs=(7,))], tmp_path / "p")
    with pytest.raises(spica.SpicaError, match="tensor 7 does not exist"):
        load_programs(tmp_path / "p")


@pytest.mark.parametrize(
    ("low", "high", "windowed", "planes", "zero"),
    [
        (0, 255, False, 1, 0),
        (-128, 127, True, 1, -128),
        (0, 256, False, 0, 0),
        (0, 65535, True, 2, 0),
        (-1, 40000, True, 3, -(0x80 << 16) - (1 << 15)),
        (-(1 << 31), (1 << 31) - 1, True, 4, -(1 << 31)),
    ],
)
def test_byte_planes_follow_from_the_range(low, high, windowed, planes, zero):
    assert byte_planes(low, high, windowed) == (planes, zero)


def test_the_native_program_of_a_segment_is_built_once():
    net = small_network()
    (segment,) = plan(net, net.outputs)
    assert plan(net, net.outputs)[0] is segment
    assert segment.native is segment.native

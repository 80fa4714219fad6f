"""Native programs against the numpy primitives: any shape, range, weight, epilogue, number of threads, and path."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica import _native
from spica.engine import native as native_engine
from spica.engine.native import Native
from spica.engine.plan import plan
from spica.program.lower import byte_planes
from spica.program.native import build_native
from spica.program.trace import Tracer, Untraceable
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue
from spica.semantics.reference import Reference
from support.networks import SEEDS
from support.profiles import examples
from support.programs import small_network

RANGES = [(0, 1), (0, 15), (0, 255), (-128, 127), (0, 65535), (-1000, 70000), (-(1 << 22), 1 << 22)]
CHANNELS = [1, 3, 4, 8, 17, 33, 64, 70, 130]


def build(tracer: Tracer, inputs: list, outputs: list) -> _native.Program:
    """The native program between two lists of traced values."""
    return build_native(tracer.program(*(dict(zip("0123", values)) for values in (inputs, outputs))))


@st.composite
def stages(draw, random: np.random.Generator, channels: int) -> Epilogue:
    """Stages that saturate, shift left and right, and may leave the sums unscaled."""
    scaled, relu = draw(st.booleans()), draw(st.booleans())
    bits, signed = draw(st.sampled_from([(1, False), (4, False), (8, False), (8, True), (16, True)]))
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    shifts = draw(st.sampled_from([(-2, 3), (4, 12), (8, 20), (20, 45)]))
    return Epilogue(
        value_bits=draw(st.sampled_from([6, 12, 27, 31])),
        bias=random.integers(-2000, 2000, channels) if draw(st.booleans()) else None,
        relu=relu,
        ceiling=random.integers(1, 1 << 20, channels) if relu and draw(st.booleans()) else None,
        average=draw(st.booleans()),
        multiplier=random.integers(0, 1 << 10, channels) if scaled else None,
        shift=random.integers(*shifts, channels) if scaled else None,
        buffer_bits=draw(st.sampled_from([20, 32])),
        low=low,
        high=high,
        dtype=np.int64,
    )


@st.composite
def images(draw, random: np.random.Generator, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A few images of one range, of which many are mostly zero."""
    low, high = draw(st.sampled_from(RANGES))
    x = random.integers(low, high + 1, (draw(st.integers(1, 4)), *(draw(st.integers(1, 9)) for _ in "hw"), channels))
    x[random.random(x.shape) < draw(st.sampled_from([0, 0.5, 0.95, 1]))] = 0
    return x, (low, high)


@examples(300)
@given(st.data(), SEEDS)
def test_a_program_gives_what_the_primitives_give(data, seed):
    random, draw = np.random.default_rng(seed), data.draw
    channels, filters = draw(st.sampled_from(CHANNELS)), draw(st.sampled_from([1, 5, 16, 40, 70, 200]))
    x, (low, high) = draw(images(random, channels))
    depthwise, limit = draw(st.booleans()), draw(st.sampled_from([1, 8, 128, 3000]))
    window = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    padding = tuple((draw(st.integers(0, 1)), draw(st.integers(0, 1))) for _ in "hw")
    strides = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    if any(s + sum(p) < k for s, p, k in zip(x.shape[1:3], padding, window)):
        return
    kernel = random.integers(-limit, limit, (*window, channels) if depthwise else (*window, channels, filters))
    fill = () if depthwise else (random.integers(0, 2, channels),)
    name, outputs = ("convolve_depthwise", channels) if depthwise else ("convolve", filters)
    epilogue = draw(stages(random, outputs))
    largest = max(high, -low) * int(np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1 + depthwise)))[..., None].max())

    sums = getattr(primitives, name)(x, kernel, strides, padding, *fill, largest)
    expected = primitives.apply_epilogue(sums, epilogue)
    tracer = Tracer()
    value = tracer.input(x.shape[1:], low, high, np.int32)
    try:
        made = tracer.apply_epilogue(getattr(tracer, name)(value, kernel, strides, padding, *fill, largest), epilogue)
        program = build(tracer, [value], [made])
    except Untraceable:
        reach = largest + (0 if epilogue.bias is None else int(np.abs(epilogue.bias).max()))
        assert expected.max() >= 1 << 31 or reach >= 1 << 31 or reach * sums[0, ..., 0].size >= 1 << 31, epilogue
        return
    got = np.empty(expected.shape, np.int64)
    program.run([x.astype(np.int32)], [got], len(x), draw(st.integers(1, 5)), draw(st.booleans()))
    np.testing.assert_array_equal(got, expected)
    native = getattr(Native(2), name)(x, kernel, strides, padding, *fill, largest)
    np.testing.assert_array_equal(native, getattr(primitives, name)(x, kernel, strides, padding, *fill, largest))
    np.testing.assert_array_equal(Native(2).apply_epilogue(native, epilogue), expected)


@examples(150)
@given(st.data(), SEEDS)
def test_programs_of_tokens_give_what_the_primitives_give(data, seed):
    random, draw = np.random.default_rng(seed), data.draw
    heads, width, tokens = (
        draw(st.sampled_from([1, 2, 3])),
        draw(st.sampled_from([1, 7, 16, 24, 64])),
        draw(st.integers(1, 70)),
    )
    low, high = draw(st.sampled_from(RANGES[:4]))
    arrays = random.integers(low, high + 1, (3, draw(st.integers(1, 3)), tokens, heads * width))
    arrays[:, random.random(arrays.shape[1:]) < draw(st.sampled_from([0, 0.9, 1]))] = high
    scale = draw(st.integers(0, 1 << 12)), draw(st.integers(0, 20))
    epilogue = replace(draw(stages(random, heads * width)), average=False)
    tracer = Tracer()
    q, k, v = (tracer.input(arrays.shape[2:], low, high, np.int32) for _ in "qkv")
    try:
        mixed = tracer.apply_epilogue(tracer.attend(q, k, v, heads, *scale), epilogue)
    except Untraceable:
        assert 2 * width * max(high, -low) ** 2 * scale[0] >= 1 << 31 or epilogue.buffer_bits == 32
        return
    normal = tracer.normalise(q)
    program = build(tracer, [q, k, v], [mixed, normal])
    got = [np.empty(arrays.shape[1:], np.int64) for _ in range(2)]
    program.run([*arrays.astype(np.int32)], got, arrays.shape[1], draw(st.integers(1, 5)), draw(st.booleans()))
    np.testing.assert_array_equal(
        got[0], primitives.apply_epilogue(primitives.attend(*arrays, heads, *scale), epilogue)
    )
    np.testing.assert_array_equal(got[1], primitives.normalise(arrays[0]))


@pytest.mark.parametrize("bits, channels", [(16, 64), (16, 512), (8, 2048)])
def test_tokens_beyond_32_bits_are_left_to_the_reference(bits, channels):
    """What a program takes in it computes exactly at its extremes; what it does not take, it says."""
    high = (1 << (bits - 1)) - 1
    x = np.full((1, 3, channels), -high - 1)
    x[:, :, : channels // 2] = high
    tracer = Tracer()
    value = tracer.input(x.shape[1:], -high - 1, high, np.int32)
    try:
        normal = tracer.normalise(value)
    except Untraceable:
        assert bits == 16 and channels == 512
        return
    got = np.empty(x.shape, np.int64)
    build(tracer, [value], [normal]).run([x.astype(np.int32)], [got], 1, 1, False)
    np.testing.assert_array_equal(got, primitives.normalise(x))


@examples(150)
@given(
    SEEDS,
    st.integers(1, 3),
    st.integers(1, 20),
    st.sampled_from([1, 5, 64]),
    st.sampled_from([8, 16, 30]),
    st.sampled_from([12, 31]),
)
def test_a_native_recurrence_gives_what_the_reference_gives(seed, streams, steps, channels, width, bits):
    """Small factors and large ones, which saturate every product and sum."""
    random, limit = np.random.default_rng(seed), 1 << width
    x = random.integers(-limit, limit, (streams, steps, channels))
    state = tuple(random.integers(-limit, limit, (2, streams, channels)))
    factor = tuple(random.integers(-(1 << 16), 1 << 16, (2, channels)))

    def stage(low, high, shifts, value_bits):
        multiplier, shift = random.integers(0, 1 << 8, channels), random.integers(*shifts, channels)
        return Epilogue(
            value_bits=value_bits,
            multiplier=multiplier,
            shift=shift,
            buffer_bits=32,
            low=low,
            high=high,
            dtype=np.int64,
        )

    arrive, leave = stage(-(1 << 27), (1 << 27) - 1, (0, 12), 27), stage(-(1 << 15), (1 << 15) - 1, (8, 28), bits)
    got = Native(1).scan(x, state, factor, arrive, leave, bits)
    for mine, wanted in zip(got, Reference().scan(x, state, factor, arrive, leave, bits)):
        np.testing.assert_array_equal(mine, wanted)


def test_a_recurrence_runs_though_another_thread_clears_the_table_of_programs(monkeypatch):
    class Cleared(dict):
        def __setitem__(self, key, program):
            """Keep nothing."""

    monkeypatch.setattr(native_engine, "_SCANS", Cleared())
    random = np.random.default_rng(0)
    x, state = random.integers(-99, 99, (2, 5, 3)), tuple(random.integers(-99, 99, (2, 2, 3)))
    factor = tuple(random.integers(-99, 99, (2, 3)))
    plain = {"value_bits": 27, "multiplier": np.ones(3, np.int64), "dtype": np.int64}
    arrive = Epilogue(shift=np.full(3, 0), low=-(1 << 26), high=(1 << 26) - 1, **plain)
    leave = Epilogue(shift=np.full(3, 8), low=-(1 << 15), high=(1 << 15) - 1, **plain)
    got = Native(1).scan(x, state, factor, arrive, leave, 27)
    for mine, wanted in zip(got, Reference().scan(x, state, factor, arrive, leave, 27)):
        np.testing.assert_array_equal(mine, wanted)


def test_sums_beyond_32_bits_are_finished_in_64():
    random = np.random.default_rng(0)
    x = random.integers(-(1 << 22), 1 << 22, (2, 3, 3, 512))
    kernel = random.integers(-128, 128, (1, 1, 512, 20))
    epilogue = Epilogue(
        value_bits=31, multiplier=np.array(3), shift=np.array(24), buffer_bits=34, low=-128, high=127, dtype=np.int8
    )
    window = ((1, 1), ((0, 0), (0, 0)), np.zeros(512, np.int64), 1 << 40)
    tracer = Tracer()
    value = tracer.input(x.shape[1:], -(1 << 22), 1 << 22, np.int32)
    made = tracer.apply_epilogue(tracer.convolve(value, kernel, *window), epilogue)
    got = np.empty((2, 3, 3, 20), np.int8)
    build(tracer, [value], [made]).run([x.astype(np.int32)], [got], 2, 2, False)
    np.testing.assert_array_equal(got, primitives.apply_epilogue(primitives.convolve(x, kernel, *window), epilogue))


@pytest.mark.parametrize(
    "setting", ["SPICA_ISA=avx2", "SPICA_ISA=avxvnni", "SPICA_ISA=portable", "SPICA_PATH=dense", "SPICA_PATH=events"]
)
def test_every_instruction_set_and_path_gives_the_same(setting):
    """The tests of programs and networks again, in a process of its own."""
    name, value = setting.split("=")
    tests = [f"{__file__}::test_programs_of_tokens_give_what_the_primitives_give"]
    tests.append(f"{__file__}::test_a_program_gives_what_the_primitives_give")
    tests.append(str(Path(__file__).parent.parent / "engine" / "test_engine.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov", *tests]
    done = subprocess.run(command, env={**os.environ, name: value}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_instruction_set_is_one_that_is_known_and_has_a_peak():
    assert _native.instruction_set() in ("amx", "avx512", "avxvnni", "avx2", "neon", "portable")
    assert _native.peak(1, 1000) > 0


@pytest.mark.parametrize(
    "build",
    [
        lambda p: p.tensor((1, 1, 0), [0] * 4, 1, 0, [], -1, -1),
        lambda p: p.tensor((1, 1, 1), [0, -1, 0, 0], 1, 0, [], -1, -1),
        lambda p: p.tensor((1, 1, 1), [0] * 4, 5, 0, [], -1, -1),
        lambda p: p.max_pool(0, 7, [1, 1], [1, 1], [0, 0]),
        lambda p: p.copy(0, 1, (2, 2, 3), (6, 3, 1), 1, (0, 0, 0), (1, 1), False, True),
        lambda p: p.convolve(0, 1, -1, np.zeros((3, 1, 3, 3), np.int16), [1, 1], [0, 0], STAGE, (0, 1)),
        lambda p: p.convolve(0, 1, -1, np.zeros((1, 1, 4, 3), np.int16), [1, 1], [0, 0], STAGE, (0, 1)),
        lambda p: p.depthwise(0, 1, np.zeros((1, 1, 3), np.int16), [0, 1], [0, 0], STAGE, (0, 1)),
        lambda p: p.finalize([9], [], []),
    ],
)
def test_a_program_that_would_leave_its_arrays_is_refused(build):
    program = _native.Program()
    for _ in range(2):
        program.tensor((2, 2, 3), [0] * 4, 1, 0, [], -1, -1)
    with pytest.raises((ValueError, IndexError)):
        build(program)


STAGE = (None, None, None, None, 27, 32, False, 0, 255)


def test_a_program_checks_the_arrays_of_a_run():
    tracer = Tracer()
    value = tracer.input((2, 2, 3), 0, 255, np.uint8)
    program = build(tracer, [value], [tracer.permute(value, (1, 0, 2))])
    x, y = np.zeros((2, 2, 2, 3), np.uint8), np.zeros((2, 2, 2, 3), np.uint8)
    program.run([x], [y], 2, 1, False)
    for inputs, outputs, samples in (([], [y], 2), ([x], [y], 3), ([x.astype(np.float32)], [y], 2)):
        with pytest.raises(ValueError):
            program.run(inputs, outputs, samples, 1, False)


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


FORK = """
import os
from pathlib import Path
import numpy as np
from spica.program.native import build_native
from spica.program.trace import Tracer
from spica.semantics.primitives import Epilogue

tracer = Tracer()
value = tracer.input((4, 4, 8), 0, 255, np.uint8)
kernel, fill = np.ones((3, 3, 8, 64), np.int64), np.zeros(8, np.int64)
sums = tracer.convolve(value, kernel, (1, 1), ((1, 1), (1, 1)), fill, 1 << 20)
made = tracer.apply_epilogue(sums, Epilogue(value_bits=31))
program = build_native(tracer.program({"x": value}, {"y": made}))

def run():
    x, y = np.ones((4, 4, 4, 8), np.uint8), np.empty((4, 4, 4, 64), np.int64)
    program.run([x], [y], 4, 2, False)
    return y.max() == 72

assert run()
child = os.fork()
if child == 0:
    raise SystemExit(0 if run() else 1)
assert os.waitpid(child, 0)[1] == 0 and run()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own_and_ends():
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60).returncode == 0

"""The rules of programs: what traced programs keep, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.program import Program, check, load_programs, save_programs
from spica.program.lower import lower
from spica.program.steps import Copy
from support.networks import integer_networks
from support.profiles import examples
from support.programs import change, other_tensor, programs_of, small_program


@examples(100)
@given(integer_networks(), st.booleans())
def test_programs_of_random_networks_keep_the_rules_lowered_or_not(case, streaming):
    for program in programs_of(case[0], streaming):
        check(program)
        check(lower(program)[0])


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
        (lambda p: change(p, 1, padding=((2, 0), (0, 0))), r"its padding must be smaller than its window"),
        (lambda p: change(p, 0, kernel=p.steps[0].kernel + np.int16(32700)), r"weights must be -32640 to 32639"),
        (lambda p: change(p, 1, strides=(0, 1)), r"conv \(Pool\): strides must be 1 or more"),
        (lambda p: change(p, 0, sums=(0, 10)), r"accumulators reach from -?\d+ to \d+, but its range is \(0, 10\)"),
        (lambda p: change(p, 0, sums=(-(1 << 60), 1 << 60)), r"accumulators -?\d+ to \d+ are beyond 53 bits"),
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


def test_a_program_that_breaks_a_rule_does_not_come_back_from_a_file(tmp_path):
    save_programs([change(small_program(), 0, inputs=(7,))], tmp_path / "p")
    with pytest.raises(spica.SpicaError, match="tensor 7 does not exist"):
        load_programs(tmp_path / "p")

"""Programs are values: printed, compared by content, and never changed in place."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from spica.program import trace_network
from spica.program.file import digest
from spica.program.ir import RECORDS, Step, Tensor
from spica.program.native import ADD_STEP
from spica.program.steps import weight_arrays
from support.programs import small_network, small_program


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
    with pytest.raises(FrozenInstanceError):
        del program.steps
    with pytest.raises(ValueError, match="read-only"):
        program.steps[0].kernel[:] = 0


def test_a_record_has_its_fields_and_no_others():
    assert Tensor(shape=(1, 1, 1), low=0, high=1).shares is None
    for fields in ({"shape": (1, 1, 1)}, {"shape": (1, 1, 1), "low": 0, "high": 1, "middle": 0}):
        with pytest.raises(TypeError, match="Tensor has the fields"):
            Tensor(**fields)


def test_only_whole_steps_stand_in_files_and_the_native_engine_knows_each():
    kinds = {cls for cls in RECORDS.values() if issubclass(cls, Step)}
    assert kinds == set(ADD_STEP) and len(kinds) == 12
    assert "Step" not in RECORDS and "Windowed" not in RECORDS


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 0), (0, 1, 1), (0, 255, 8), (-1, 0, 1), (-128, 127, 8), (-9, -9, 5), (-129, 0, 9), (-1, 255, 9)],
)
def test_bits_follow_from_the_range(low, high, bits):
    tensor = Tensor(shape=(1, 1, 1), low=low, high=high)
    assert tensor.bits == bits and tensor.signed == (low < 0)


def test_the_layers_of_every_step_and_its_weights_are_named():
    program = small_program()
    assert [step.layer for step in program.steps] == ["conv", "conv"]
    assert [a.shape for a in weight_arrays(program.steps[0])] == [(3, 3, 1, 4)] and not weight_arrays(program.steps[1])
    assert [(e.layer, e.tensors) for e in program.events] == [("conv", (0,)), ("output", (2,))]


def test_networks_are_traced_in_segments_with_the_tensors_that_are_kept():
    net = small_network()
    (segment,) = trace_network(net)
    assert (segment.reads, segment.writes) == (("input",), ("output",))
    assert [layer.name for layer in segment.layers] == ["conv", "output"]
    (segment,) = trace_network(net, keep=["conv", "output"])
    assert [(port.name, port.dtype) for port in segment.program.outputs] == [("conv", "int32"), ("output", "float32")]

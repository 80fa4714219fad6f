"""The compiled form of a network: programs of integer steps, as data that can be printed, saved, checked and run."""

from spica.program.checks import check
from spica.program.file import load_programs, save_programs
from spica.program.ir import Program
from spica.program.segments import Segment, trace_layer, trace_network

__all__ = ["Program", "Segment", "check", "load_programs", "save_programs", "trace_layer", "trace_network"]

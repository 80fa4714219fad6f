"""Runs networks: float ones in numpy, integer ones on the native engine or on the numpy reference."""

from spica.engine.runner import Run, count_events, run
from spica.engine.stream import Stream
from spica.network.graph import set_engine

set_engine(run, Stream)

__all__ = ["Run", "Stream", "count_events", "run"]

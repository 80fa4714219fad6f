"""Runs networks: float ones in numpy, integer ones on the native engine or on the numpy reference."""

from spica.engine.run import Run, count_events, run
from spica.network.graph import set_runner

set_runner(run)

__all__ = ["Run", "count_events", "run"]

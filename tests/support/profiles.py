"""How many cases property tests draw: few in every run, many in ``make thorough``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

THOROUGH = os.environ.get("SPICA_TESTS", "quick") == "thorough"
FACTOR = 20 if THOROUGH else 1


def examples(count: int) -> settings:
    """Draw ``count`` cases in the quick profile, 20 times as many in the thorough one."""
    return settings(
        max_examples=count * FACTOR, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )

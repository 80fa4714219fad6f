"""How many cases property tests draw: few, the same ones in every run; many new ones in ``make thorough``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

THOROUGH = os.environ.get("SPICA_TESTS", "quick") == "thorough"
FACTOR = 20 if THOROUGH else 1


def examples(count: int) -> settings:
    """Draw ``count`` fixed cases in the quick profile, 20 times as many in the thorough one, anew each time."""
    return settings(
        max_examples=count * FACTOR,
        derandomize=not THOROUGH,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )

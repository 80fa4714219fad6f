"""Views: what is only looked at in another way is not copied, and order is seen whatever array holds the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from spica.errors import SpicaError
from spica.frontends.view import View


def test_moves_that_cancel_out_copy_nothing_and_leave_the_order():
    image = View.whole("image", (4, 5, 3))
    turned = image.channels_first()
    assert not turned.is_ordered() and turned.channels_last().is_whole()
    assert np.shares_memory(turned.numbers, image.numbers)
    assert np.shares_memory(View.whole("flat", (60,)).numbers, image.numbers)
    assert image.flatten(1).is_ordered() and not image.flatten(1).is_whole()


def test_order_is_seen_in_numbers_of_their_own_and_of_before_a_larger_output():
    image = View.whole("image", (4, 5, 3))
    View.whole("larger", (2 * image.numbers.base.size,))
    assert image.is_whole()
    assert View("image", image.shape, image.numbers.copy()).is_whole()
    assert not View("image", image.shape, image.numbers[::-1]).is_ordered()
    assert not View("image", image.shape, image.numbers[:1]).is_ordered()


def test_sizes_that_cannot_be_held_are_refused_before_anything_is_numbered():
    with pytest.raises(SpicaError, match="big: makes 4294967296x8 values of one sample"):
        View.whole("big", (1 << 32, 8))
    with pytest.raises(SpicaError, match="x: makes 800000000 values of one sample"):
        View.whole("x", (1, 8)).expand((-1, 100_000_000, -1)).reshape((2, -1))

"""Views: what is only looked at in another way is not copied, and order is seen whatever array holds the numbers."""

from __future__ import annotations

import numpy as np

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

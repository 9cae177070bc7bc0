from __future__ import annotations

import threading

import pytest

from sfumato.data.ahead import ahead


def test_items_come_in_order_and_errors_where_they_arise():
    def items():
        yield from range(5)
        raise ValueError("the sixth")

    taken = []

    def take():
        for item in ahead(items()):
            taken.append(item)

    with pytest.raises(ValueError, match="the sixth"):
        take()
    assert taken == [0, 1, 2, 3, 4]


def test_no_more_items_wait_than_allowed_and_an_early_stop_ends_the_thread():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    stream = ahead(items(), depth=2)
    assert next(stream) == 0
    stream.close()
    assert len(made) <= 5
    assert not [t for t in threading.enumerate() if t.name == "sfumato-reader"]

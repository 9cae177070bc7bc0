from __future__ import annotations

import threading

import pytest

from sfumato.data.ahead import ahead, in_order


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


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_work_of_several_threads_comes_in_order_and_boundedly(workers):
    taken, done = [], []

    def items():
        for i in range(40):
            taken.append(i)
            yield i

    for result in in_order(lambda x: -x, items(), workers):
        assert len(taken) - len(done) <= workers + 2
        done.append(result)
    assert done == [-i for i in range(40)]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda x: 1 // x, [1, 0], workers))

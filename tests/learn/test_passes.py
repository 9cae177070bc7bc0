from __future__ import annotations

import pytest

from sfumato.learn.passes import remembered


@pytest.mark.parametrize(("limit", "begun"), [(6, 1), (5, 3), (0, 3)])
def test_every_pass_gives_the_same_batches_and_small_ones_are_read_once(
    limit: int, begun: int
) -> None:
    starts: list[int] = []

    def start():
        starts.append(1)
        return iter([[1], [2, 3], [4, 5, 6]])

    passes = remembered(start, len, limit)
    for _ in range(3):
        assert list(passes()) == [[1], [2, 3], [4, 5, 6]]
    assert len(starts) == begun


def test_a_pass_that_was_left_early_is_begun_again() -> None:
    passes = remembered(lambda: iter([[1], [2]]), len, 10)
    assert next(passes()) == [1]
    assert list(passes()) == [[1], [2]]
    assert list(passes()) == [[1], [2]]

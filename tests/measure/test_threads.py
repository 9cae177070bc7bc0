from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info

from sfumato.measure.threads import one_thread


def limits() -> list[int]:
    return sorted(int(library["num_threads"]) for library in threadpool_info())


def test_libraries_are_limited_inside_and_get_their_threads_back() -> None:
    assert np.ones((2, 2)) @ np.ones((2, 2)) is not None  # a numerical library is loaded
    before = limits()
    assert before
    with one_thread():
        assert set(limits()) == {1}
    assert limits() == before

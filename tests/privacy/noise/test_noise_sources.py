from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.privacy.noise import SECURE, SecureSource, SeededSource
from sfumato.privacy.noise.sources import below

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


class Forgetful(SecureSource):
    """Planted defect: a buffer that a forked child inherits and replays."""

    def __init__(self) -> None:
        self._pool = b""

    def bytes(self, n: int) -> bytes:
        if len(self._pool) < n:
            self._pool = os.urandom(1 << 16)
        taken, self._pool = self._pool[:n], self._pool[n:]
        return taken


def child_replays(draw: Callable[[], bytes]) -> bool:
    """Whether a forked child draws what its parent draws next; chance 2**-512."""
    draw()  # the buffer is filled before the fork
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, draw())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read() == draw()


@needs_fork
def test_a_forked_child_does_not_replay_its_parents_bytes() -> None:
    assert not child_replays(lambda: SECURE.bytes(64))


@needs_fork
def test_a_fork_that_python_did_not_see_is_noticed_by_its_process_number(monkeypatch) -> None:
    source = SecureSource()
    monkeypatch.setattr(source, "_forget", lambda: None)
    assert not child_replays(lambda: source.bytes(64))


@needs_fork
def test_the_fork_hook_alone_is_enough(monkeypatch) -> None:
    source = SecureSource()
    parent = os.getpid()
    monkeypatch.setattr("sfumato.privacy.noise.sources.os.getpid", lambda: parent)
    assert not child_replays(lambda: source.bytes(64))


@needs_fork
def test_planted_a_buffer_inherited_by_a_child_is_caught() -> None:
    source = Forgetful()
    assert child_replays(lambda: source.bytes(64))


@needs_fork
def test_a_child_forked_while_another_thread_draws_can_draw() -> None:
    source = SecureSource()
    with source._lock:
        child = os.fork()
        if child == 0:
            # The hook has given the child a lock of its own, or this would wait for ever.
            free = source._lock.acquire(timeout=5)
            os._exit(0 if free else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_are_never_given_the_same_bytes() -> None:
    source, drawn = SecureSource(), []

    def draw() -> None:
        drawn.extend(source.bytes(8) for _ in range(20_000))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 80,000 words of 64 bits: two agree by chance with probability 2e-10.
    assert len(set(drawn)) == len(drawn) == 80_000


def test_copies_and_pickles_of_the_source_carry_no_bytes() -> None:
    source = SecureSource()
    source.bytes(8)
    for twin in (copy.deepcopy(source), pickle.loads(pickle.dumps(source))):
        assert twin._block == b""
        assert twin.bytes(32) != source.bytes(32)


@pytest.mark.parametrize("n", [0, 1, 7, 1 << 17, 1 << 18, (1 << 18) + 1])
def test_as_many_bytes_and_words_come_as_were_asked_for(n: int) -> None:
    for source in (SECURE, SeededSource(1)):
        assert len(source.bytes(n)) == n
        words = source.uint64(n)
        assert words.shape == (n,)
        assert words.dtype == np.uint64


def test_every_bit_of_a_word_is_fair() -> None:
    # 64 binomials of 100,000: beyond 6.3 standard deviations with probability 2e-8.
    for source in (SECURE, SeededSource(2)):
        words = source.uint64(100_000)
        ones = np.array([(words >> np.uint64(bit) & np.uint64(1)).sum() for bit in range(64)])
        assert np.abs(ones - 50_000.0).max() < 6.3 * np.sqrt(25_000)


def test_a_seeded_source_repeats_itself_and_says_that_it_is_not_secure() -> None:
    a, b = SeededSource(3), SeededSource(3)
    assert a.bytes(11) == b.bytes(11)
    assert np.array_equal(a.uint64(5), b.uint64(5))
    assert not np.array_equal(a.uint64(5), SeededSource(4).uint64(5))
    assert (SeededSource.secure, SECURE.secure) == (False, True)
    assert SECURE.name == "os-entropy"
    assert "tests only" in a.name


def test_the_incomplete_last_run_of_residues_is_rejected(scripted) -> None:
    # 2**64 = 1 mod 3: the last word would make 0 too likely; it is drawn again (here: 4 -> 1).
    assert scripted([(1 << 64) - 1, 5, 4]).integers(3, 2).tolist() == [1, 2]
    assert scripted([(1 << 64) - 2]).integers(3, 1).tolist() == [2]
    # 2**64 = 6 mod 10: the last six words are rejected, the one before is kept.
    kept = (1 << 64) - 7
    assert scripted([(1 << 64) - 6, kept]).integers(10, 1).tolist() == [kept % 10]
    # A power of two divides 2**64: nothing is rejected.
    assert scripted([(1 << 64) - 1]).integers(1 << 63, 1).tolist() == [(1 << 63) - 1]


def test_bounds_may_differ_from_draw_to_draw() -> None:
    source = SeededSource(5)
    highs = np.tile(np.array([1, 2, 7], np.uint64), 30_000)
    drawn = below(highs, source.uint64).reshape(-1, 3)
    assert drawn[:, 0].max() == 0
    # Binomials of 30,000; beyond 5.5 standard deviations with probability 4e-8 each.
    for column, high in ((1, 2), (2, 7)):
        counts = np.bincount(drawn[:, column], minlength=high)
        assert len(counts) == high
        assert np.abs(counts - 30_000 / high).max() < 5.5 * np.sqrt(30_000 / high)


def test_a_coin_shows_true_for_exactly_the_words_below_its_threshold(scripted) -> None:
    quarter = 1 << 62
    shown = scripted([0, quarter - 1, quarter, (1 << 64) - 1]).bernoulli(0.25, 4)
    assert shown.tolist() == [True, True, False, False]
    assert not scripted([0]).bernoulli(0.0, 1)[0]
    assert scripted([(1 << 64) - 1]).bernoulli(1.0, 1)[0]


def test_uniform_numbers_stay_below_one(scripted) -> None:
    drawn = scripted([0, 1 << 63, (1 << 64) - 1]).uniform(3)
    assert drawn.tolist() == [0.0, 0.5, 1 - 2.0**-53]


@pytest.mark.parametrize("high", [0, -3, (1 << 63) + 1])
def test_an_impossible_number_of_outcomes_is_refused(high: int) -> None:
    with pytest.raises(InputError, match=str(high)):
        SECURE.integers(high, 1)


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan")])
def test_an_impossible_probability_is_refused(probability: float) -> None:
    with pytest.raises(InputError, match=str(probability)):
        SECURE.bernoulli(probability, 1)

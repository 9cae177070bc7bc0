"""Audits by whoever sees every noisy value: what a release hides is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.api.auditing.brightness import PIXEL, Brightness

from sfumato.api import Audit, audit
from sfumato.api.auditing import transcripts
from sfumato.api.auditing.neighbours import Pair
from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.mechanisms import Gaussian
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.privacy.transcript import seen
from sfumato.publish.method import Calibrated
from sfumato.release.release import Artefact


@dataclass(frozen=True)
class Hidden(Brightness):
    """Images that are counted with noise, twice, and of which nothing is released."""

    name: ClassVar[str] = "test.hidden"

    def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
        twice = 2**0.5
        honest = Gaussian.calibrate(budget, twice, Neighbours.ADD_REMOVE, None, 1)
        drawn = replace(honest, stddev=honest.stddev * self.noise)

        def run(data: ImageSet, source: Any, progress: Any) -> Artefact:
            for _ in range(2):
                drawn.release([float(len(data))], source)
            black = np.zeros((1, 1, 1, 1), np.float32)
            return Artefact(ImageSet.from_arrays(black, [0], facts.classes))

        return Calibrated(self, budget, facts, Central(honest.event, budget.delta), {}, run)


def found(noise: float, adversary: str) -> Audit:
    return audit(
        Hidden(noise),
        schema=PIXEL,
        epsilon=4,
        runs=400,
        records=5,
        adversary=adversary,
        source=SeededSource,
    )


def test_a_transcript_shows_what_a_release_hides() -> None:
    released, drawn = found(1.0, "release"), found(1.0, "transcript")
    assert released.gaussian_epsilon == 0
    assert drawn.gaussian_epsilon is not None
    assert 1.0 < drawn.gaussian_epsilon <= 4.0
    assert not drawn.broken
    assert drawn.adversary == "transcript"
    assert "whoever sees every noisy value" in drawn.summary


def test_noise_that_is_missing_deep_inside_is_caught() -> None:
    assert not found(1 / 3, "release").broken
    assert found(1 / 3, "transcript").broken


def noisy(data: list[float], source: Any) -> None:
    """Two sums, of which the canary moves the second; as many coins before as there are records."""
    source.uint64(len(data))
    mechanism = Gaussian(1.0, 1.0, 2.0**-30, 1)
    mechanism.release([0.0], source)
    mechanism.release([sum(data)], source)


def test_a_pull_is_found_exactly_whatever_was_drawn_before() -> None:
    pulls = transcripts.Pulls.of(Pair([1.0], [1.0, 3.0], None, 1), noisy)
    still, moved = pulls.directions
    assert still.tolist() == [0.0]
    # The pull of 3 over a variance that is estimated from few runs, alike on both sides.
    assert moved.shape == (1,)
    assert moved[0] > 0
    read = pulls([np.array([5.0]), np.array([2.0])])
    assert read.tolist() == [0.0, 2.0 * moved[0], 2.0 * moved[0]]


def test_many_draws_become_few_numbers_and_a_missing_one_is_nothing() -> None:
    pulls = transcripts.Pulls([np.ones(2)] * 100)
    whole = pulls([np.ones(2)] * 100)
    assert len(whole) == transcripts.MOST + 1
    assert whole[-1] == whole[:-1].sum() == 200
    assert pulls([np.ones(2)] * 99 + [np.ones(3)])[-1] == pulls([np.ones(2)] * 99)[-1] == 198


def test_a_draw_of_no_fixed_size_is_not_read() -> None:
    def growing(data: list[float], source: Any) -> None:
        seen(np.ones(len(data)))
        seen(np.array([float(len(data))]))

    pulls = transcripts.Pulls.of(Pair([1.0], [1.0, 3.0], None, 1), growing)
    assert [part.size for part in pulls.directions] == [0, 1]


@pytest.mark.parametrize(
    ("method", "options", "problem"),
    [
        ("tables.mcgen", {"adversary": "everybody"}, "adversary is 'everybody'"),
        ("tables.mcgen", {"adversary": "transcript", "canaries": 50}, "audits by many runs"),
        ("images.gaussian", {"adversary": "transcript"}, "the guarantee is local"),
    ],
)
def test_who_cannot_look_is_refused(method: str, options: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        audit(method, epsilon=1, **options)


def test_what_draws_nothing_of_the_canary_is_refused() -> None:
    with pytest.raises(InputError, match="nothing that is drawn differs"):
        transcripts.Pulls.of(Pair([1.0], [1.0], None, 0), noisy)


def test_what_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "_LARGEST", 1)
    with pytest.raises(InputError, match="a run draws 2 numbers, and no more than 1 are read"):
        transcripts.Pulls.of(Pair([1.0], [1.0, 3.0], None, 1), noisy)


def test_what_is_drawn_to_measure_the_time_is_not_heard() -> None:
    """Planted: draws on made-up records stood among a run's own, as many as the clock allowed."""
    from sfumato.privacy.mechanisms import DiscreteLaplace
    from sfumato.privacy.transcript import listening
    from sfumato.publish import rehearsal

    with listening() as heard:
        assert rehearsal.taken(lambda: DiscreteLaplace(2.0, 1).release([5])) > 0
        assert not heard
        DiscreteLaplace(2.0, 1).release([5])
    assert len(heard) == 1

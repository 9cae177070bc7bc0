"""What is looked at of a run by whoever sees every noisy value that it draws.

Each draw is read along the direction in which the canary pulls it. That is found by running both
data sets with the same noise: what their draws differ in is then what the canary does to them. Few
such pairs, of nobody's data and with noise of a seed, are enough, and none of them is judged.

Source: Nasr, Song, Thakurta, Papernot, Carlini, IEEE S&P 2021, arXiv:2101.04535.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.noise import SeededSource
from sfumato.privacy.transcript import Transcript, listening

if TYPE_CHECKING:
    from sfumato.api.auditing.neighbours import Pair
    from sfumato.privacy.noise import NoiseSource

RELEASE, TRANSCRIPT = "release", "transcript"
ADVERSARIES = (RELEASE, TRANSCRIPT)
MOST = 32
"""Numbers that a transcript becomes; draws beyond are read together with their neighbours."""
_LARGEST = 1 << 25  # numbers of a transcript: of this many, nine are in memory for a moment
_PAIRS = 4
_FIRST = 1 << 41  # seeds of these pairs


def check_adversary(adversary: str, kind: str) -> None:
    """Refuses what nobody looks at.

    Args:
        adversary: One of ``ADVERSARIES``.
        kind: Of the guarantee that is audited.

    Raises:
        InputError: If it is unknown, or the guarantee has no transcript beside the release.
    """
    if adversary not in ADVERSARIES:
        raise InputError(f"adversary is {adversary!r}", f"Give {' or '.join(ADVERSARIES)}.")
    if adversary == TRANSCRIPT and kind == "local":
        raise InputError(
            "the guarantee is local: every report that is drawn is released",
            f"Audit it with adversary={RELEASE}.",
        )


class Pulls:
    """Reads transcripts along the canary's pull.

    Args:
        directions: Of each draw, the pull over the variance of its noise, so that what is read of
            Gaussian draws sums up to their likelihood ratio; 0 where the canary moves nothing.
    """

    def __init__(self, directions: Transcript) -> None:
        self.directions = directions

    @classmethod
    def of(cls, pair: Pair, run: Callable[[Any, NoiseSource], Any]) -> Pulls:
        """What the canary does to the draws of a method.

        Args:
            pair: Two neighbours.
            run: Runs the method on one of them with this noise.

        Raises:
            InputError: If nothing that is drawn differs between the two, or too much is drawn.
        """
        sides: tuple[list[Transcript], list[Transcript]] = ([], [])
        for seed in range(_FIRST, _FIRST + _PAIRS):
            for side, data in zip(sides, (pair.one, pair.other), strict=True):
                with listening() as transcript:
                    run(data, _Steady(seed))
                _check_size(transcript)
                side.append(transcript)
        draws = min(map(len, (*sides[0], *sides[1])))
        directions = [_direction(*([t[i] for t in side] for side in sides)) for i in range(draws)]
        if not any(direction.any() for direction in directions):
            raise InputError(
                "nothing that is drawn differs between the two data sets",
                f"Audit the method with adversary={RELEASE}, or with other settings.",
            )
        return cls(directions)

    def __call__(self, transcript: Transcript) -> NDArray[np.float64]:
        """(at most ``MOST`` + 1,) what each draw says of the canary, and all of them together."""
        read = [
            float(values @ along) if values.size == along.size else 0.0
            for values, along in zip(transcript, self.directions, strict=False)
        ]
        read += [0.0] * (len(self.directions) - len(read))
        together = [part.sum() for part in np.array_split(read, min(MOST, len(read)))]
        return np.array([*together, sum(read)])


def _check_size(transcript: Transcript) -> None:
    """Refuses what would fill the memory."""
    numbers = sum(values.size for values in transcript)
    if numbers > _LARGEST:
        raise InputError(
            f"a run draws {numbers:,} numbers, and no more than {_LARGEST:,} are read",
            "Audit the method with fewer steps or a smaller network.",
        )


def _direction(one: Transcript, other: Transcript) -> NDArray[np.float64]:
    """The pull on one draw over the variance of its noise, from runs with the same noise."""
    if len({values.size for values in (*one, *other)}) > 1:  # a draw of no fixed size
        return np.zeros(0)
    pull: NDArray[np.float64] = np.mean(other, axis=0) - np.mean(one, axis=0)
    length = float(np.linalg.norm(pull))
    if length == 0:
        return pull
    along = pull / length
    spread = np.mean([np.var(np.stack(side) @ along, ddof=1) for side in (one, other)])
    return pull / max(float(spread), (1e-9 * length) ** 2)


class _Steady(SeededSource):
    """A seed's noise, the same at each call whatever was asked for before.

    A data set of one record more asks for more coins; its other noise must stay what it was.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._calls = 0

    def uint64(self, n: int) -> NDArray[np.uint64]:
        """The first ``n`` words of the next call."""
        self._calls += 1
        words = np.random.Philox(np.random.SeedSequence((self._seed, self._calls))).random_raw(n)
        return np.asarray(words, np.uint64)

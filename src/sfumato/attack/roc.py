"""The ROC curve of an attack's scores, and its reading at small false-positive rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.intervals import clopper_pearson, difference

if TYPE_CHECKING:
    from sfumato.attack.blind import Blind
    from sfumato.attack.ceilings import Ceiling

POINTS = 200


def curve(
    positives: NDArray[Any], negatives: NDArray[Any], points: int = POINTS
) -> tuple[tuple[float, float], ...]:
    """The corners of the ROC curve, thinned for drawing.

    Args:
        positives: (m,) scores of members; higher means likelier a member.
        negatives: (n,) scores of non-members.
        points: At most about this many are kept, evenly on a linear and a logarithmic axis.

    Returns:
        ``(fpr, tpr)`` from ``(0, 0)`` to ``(1, 1)``, tied scores as one step.
    """
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    fpr = np.concatenate([[0.0], _reached(negatives, thresholds)])
    tpr = np.concatenate([[0.0], _reached(positives, thresholds)])
    if len(fpr) > points:
        wanted = np.concatenate(
            [np.linspace(0, 1, points // 2), np.geomspace(1 / len(negatives), 1, points // 2)]
        )
        kept = np.searchsorted(fpr, wanted, "right") - 1
        rising = np.searchsorted(tpr, np.linspace(0, 1, points // 4), "right") - 1
        keep = np.unique(np.concatenate([[0, len(fpr) - 1], kept, rising]))
        fpr, tpr = fpr[keep], tpr[keep]
    return tuple((float(x), float(y)) for x, y in zip(fpr, tpr, strict=True))


def _reached(scores: NDArray[Any], thresholds: NDArray[Any]) -> NDArray[np.float64]:
    ordered = np.sort(scores)
    return (len(ordered) - np.searchsorted(ordered, thresholds, "left")) / len(ordered)


def at_low_fpr(
    positives: NDArray[Any],
    negatives: NDArray[Any],
    targets: tuple[float, ...],
    confidence: float,
    ceiling: Ceiling | None,
    without: Blind | None = None,
) -> list[dict[str, Any]]:
    """True-positive rates where an attacker who must not be wrong would work.

    The threshold is set on the same non-members, so both rates are uncertain: a point breaks
    the guarantee, or beats chance, only if the lowest plausible true-positive rate exceeds the
    ceiling at, or simply is above, the highest plausible false-positive rate. All the intervals of
    all the points hold together; either is called wrongly with half of what they may miss, which
    is what the interval of an area leaves on its other side.

    Args:
        positives: (m,) scores of members; higher means likelier a member.
        negatives: (n,) scores of non-members.
        targets: False-positive rates.
        confidence: Of the points together.
        ceiling: What the guarantee allows; None if it says nothing.
        without: What is made of the same records without the release; None where that is chance.

    Returns:
        For each target rate: ``fpr_target``, ``fpr``, ``fpr_interval``, ``tpr``,
        ``tpr_interval``, ``baseline`` (the same rate without the release, or None), ``ceiling``
        (at the target), ``breaks_guarantee`` and ``beats_chance`` (and that baseline).
    """
    each = 1 - (1 - confidence) / (2 * len(targets))
    ordered = np.sort(negatives)[::-1]
    points: list[dict[str, Any]] = []
    for target in targets:
        allowed = int(np.floor(target * len(ordered) + 1e-9))
        # Whoever scores as high as the first non-member that may not be accused is let go.
        threshold = ordered[allowed] if allowed < len(ordered) else -np.inf
        wrong = int(np.sum(negatives > threshold))
        right = int(np.sum(positives > threshold))
        fpr_interval = clopper_pearson(wrong, len(negatives), each)
        tpr_interval = clopper_pearson(right, len(positives), each)
        broken = ceiling is not None and tpr_interval[0] > ceiling.at(fpr_interval[1])
        baseline, most = None, fpr_interval[1]
        if without is not None:
            baseline, around = without.found(target, each)
            most = max(most, around[1])
        points.append(
            {
                "fpr_target": target,
                "fpr": wrong / len(negatives),
                "fpr_interval": list(fpr_interval),
                "tpr": right / len(positives),
                "tpr_interval": list(tpr_interval),
                "baseline": baseline,
                "ceiling": None if ceiling is None else ceiling.at(target),
                "breaks_guarantee": broken,
                "beats_chance": tpr_interval[0] > most,
            }
        )
    return points


def at_best_threshold(
    positives: NDArray[Any],
    negatives: NDArray[Any],
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The largest difference of true- and false-positive rate, with an honest interval.

    The best threshold on some records looks better there than it is, so it is chosen on one half of
    them and judged on the other. The halves do not change roles: each half's threshold and the
    other's rates depend on each other, and an interval over both would be too narrow.

    Args:
        positives: (m,) scores of members, m at least 2; higher means likelier a member.
        negatives: (n,) scores of non-members, n at least 2.
        confidence: Of the interval.
        rng: Parts the records in halves.

    Returns:
        ``advantage`` and its ``interval``; of the half that is judged, how many members are
        ``revealed`` (pointed at, and members) of how many ``members``, and how many others are
        ``accused`` of how many ``others``.
    """
    halves = [np.array_split(rng.permutation(scores), 2) for scores in (positives, negatives)]
    inside, outside = halves[0][1], halves[1][1]
    threshold = _best(halves[0][0], halves[1][0])
    revealed, accused = int(np.sum(inside >= threshold)), int(np.sum(outside >= threshold))
    m, n = len(inside), len(outside)
    return {
        "advantage": revealed / m - accused / n,
        "interval": list(difference(revealed, m, accused, n, confidence)),
        "revealed": revealed,
        "members": m,
        "accused": accused,
        "others": n,
    }


def _best(positives: NDArray[Any], negatives: NDArray[Any]) -> float:
    thresholds = np.unique(np.concatenate([positives, negatives]))
    at = int(np.argmax(_reached(positives, thresholds) - _reached(negatives, thresholds)))
    # Half-way to the next lower score: where other records fall, nobody knows.
    return float((thresholds[at] + thresholds[max(at - 1, 0)]) / 2)

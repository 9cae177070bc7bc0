"""The shadow-model attack: a classifier that has seen what models say about their own records."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.evidence import MINIMUM
from sfumato.attack.membership.game import Side, finding, play
from sfumato.attack.membership.scores import SMALLEST
from sfumato.attack.membership.shadowed import Shadowed, encoded
from sfumato.measure import cnn
from sfumato.measure.progress import Progress, silent
from sfumato.measure.threads import one_thread
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.attack.shadows import Bank
    from sfumato.release.release import Release

_EXAMPLES = 20_000  # predictions of each class that the classifier learns from


@attack("membership.shadow")
@dataclass(frozen=True)
class Shadow(Shadowed):
    """Learns from shadow models' predictions which records they were trained on, class by class.

    The attacker holds auxiliary records of the same population and trains models like the attacked
    one on halves of them. A small network a class learns to tell the predictions on a model's own
    records from those on the rest; its log-odds on the attacked model's predictions are the score.

    Source: Shokri, Stronati, Song, Shmatikov, S&P 2017, section V.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Shokri, Stronati, Song, Shmatikov. S&P 2017. arXiv:1610.05820"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # S001 names no number of shadow models: ten, as DP-UTIL (arXiv:2112.12998) has.
        "s001": {"shadows": 10, "family": cnn.CONVOLUTIONAL, "epochs": 10, "max_records": 10_000}
    }

    shadows: int = 16

    def __call__(
        self,
        release: Release,
        evidence: Evidence,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Finding:
        """The area under the ROC curve of the classifier's log-odds."""
        game = play(self, release, evidence, seed, auxiliary=self.max_records)
        baseline = game.baseline()
        bank = self.train(game, game.auxiliary, progress)
        examples, member = _examples(bank, encoded(game, game.auxiliary.inputs), game.auxiliary)
        labels = np.tile(game.auxiliary.labels, len(bank))
        sides = [
            views(np.log(np.maximum(side.probabilities, SMALLEST)), side.labels)
            for side in (game.members, game.others)
        ]
        found = [np.zeros(len(side)) for side in (game.members, game.others)]
        rare = [k for k in range(game.classes) if np.sum(labels == k) < 2 * MINIMUM * len(bank)]
        common = [k for k in range(game.classes) if k not in rare]
        # Classes that are rare share one classifier.
        for group in (*([k] for k in common), *([rare] if rare else ())):
            at = [np.isin(side.labels, group) for side in (game.members, game.others)]
            if not any(part.any() for part in at):
                continue
            own = np.flatnonzero(np.isin(labels, group))
            if len(own) == 0:
                own = np.arange(len(labels))
            judge = _judge(examples[own], member[own], seed)
            for scored, view, part in zip(found, sides, at, strict=True):
                if part.any():
                    scored[part] = judge(view[part])
        return finding(
            self,
            game,
            found[0],
            found[1],
            attack="membership.shadow",
            how="a classifier of shadow models' predictions",
            baseline=baseline,
            details=self.told(bank, game),
        )


def views(log_probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Predictions as the classifier sees them.

    Args:
        log_probabilities: (n, K).
        labels: (n,) class numbers.

    Returns:
        (n, K) the true class's, then the others' from the largest.
    """
    rows = np.arange(len(labels))
    rest = log_probabilities.copy()
    rest[rows, labels] = np.inf
    found = -np.sort(-rest, axis=1)
    found[:, 0] = log_probabilities[rows, labels]
    return found


def _examples(
    bank: Bank, inputs: NDArray[np.float32], side: Side
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What each shadow model says of each record of the pool, and whether it was trained on it."""
    from scipy.special import log_softmax

    floor = np.log(SMALLEST)
    parts = [
        views(np.maximum(log_softmax(scores, axis=1), floor), side.labels)
        for scores in bank.scores(inputs)
    ]
    return np.concatenate(parts), bank.inside.ravel()


def _judge(examples: NDArray[np.float64], member: NDArray[np.bool_], seed: int) -> Any:
    """A function from (n, K) views to (n,) log-odds of membership."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng([seed, 2])
    some = rng.permutation(len(examples))[:_EXAMPLES]
    centre, spread = examples[some].mean(axis=0), examples[some].std(axis=0)
    spread = np.maximum(spread, 1e-6)
    model = MLPClassifier((64,), max_iter=20, random_state=seed % (1 << 32))
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped at its stated steps
        model.fit((examples[some] - centre) / spread, member[some])

    def judge(views: NDArray[np.float64]) -> NDArray[np.float64]:
        with one_thread():
            told = model.predict_proba((views - centre) / spread)
        odds: NDArray[np.float64] = np.log(np.maximum(told[:, 1], SMALLEST)) - np.log(
            np.maximum(told[:, 0], SMALLEST)
        )
        return odds

    return judge

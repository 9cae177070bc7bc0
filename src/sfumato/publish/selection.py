"""Private selection: one of several candidates, picked by looks at private records, all paid for.

Settings that are tried on private data and kept or thrown away by what came of them leak through
the choice, however private each try is. Here the number of tries is random and secret, each try is
one of the candidates drawn at random, and its score is computed under noise of its own. What that
costs, in tries, grows slowly with their expected number, and with delta; it does not hang on how
many candidates there are (Papernot, Steinke, ICLR 2022; accounted as
:class:`sfumato.privacy.events.SelectedDpEvent`); the plan says it, beside the cost of a plain list.

A try sets records aside: by coins that each record has to itself, or, where neighbours differ in a
record's value, so many of them, drawn at random; either way a record of two neighbours is on the
same side in both. The candidate publishes from the others, the *judge* gives every record a value
in [0, 1] (how near it is to what a generator makes of the release, say), and the mean over those
that were used, less the mean over those set aside, is compared with a public limit. Sums of both
sides are released under Gaussian noise, and with them the counts where these are private; the means
are quotients of the two.

Source: the private loop of generator feedback, perturbation.md J.3; Papernot, Steinke 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError, SfumatoError
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE
from sfumato.publish import checks, room
from sfumato.publish.method import TUNED, Calibrated, Progress, RecordCaveat, settings
from sfumato.publish.trial import Trial

if TYPE_CHECKING:
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.release.release import Artefact, Release

_LEAST_SHARE = 1 / 200  # of the whole budget, that a trial may come down to
_CLOSE = 0.01
_MOST_TRIALS = 1000
_MOST_OF_IT = 1 - 1e-9  # of what is shared out; the other part must have some
_METHOD = ("name", "relation", "kinds", "gives", "calibrate")
_FEWEST = 20  # records of a side; where one is empty by chance, a candidate could not run


class NothingSelectedError(SfumatoError):
    """No trial passed, so nothing is released. That was paid for like a release."""

    exit_code: ClassVar[int] = 6


class Judge(Protocol):
    """What gives private records values, by a release alone."""

    @property
    def label(self) -> str:
        """For the card: what it is, with its settings."""
        ...

    def __call__(self, content: Any, sides: Sequence[Any], seed: int) -> list[NDArray[np.float64]]:
        """A value in [0, 1] of each record of each side.

        Each may depend on its record, the content and the seed, and on no other record.
        """
        ...


@dataclass(frozen=True)
class Selection:
    """The last of the candidates, in the caller's order, whose trial stayed below the limit.

    Args:
        candidates: Configured methods from the one that is wanted least to the one that is wanted
            most. Each trial has the same budget, whichever it draws.
        judge: Gives records their values.
        limit: A trial passes if the noisy difference of the two sides' means is below.
        trials: Expected number of trials, at least 1; a few times as many as there are candidates,
            so that each has its chance.
        held_out: Share of the records that a trial sets aside, in (0, 1).
        score_share: Of a trial's squared mu, what the comparison takes.

    Raises:
        InputError: If a value is out of its range, or a candidate's guarantee is not central.

    Guaranteed: ``Central``, (epsilon, delta) for one record, under the candidates' relation.
    """

    candidates: tuple[Any, ...]
    judge: Judge
    limit: float
    trials: float = 5.0
    held_out: float = 0.1
    score_share: float = 0.1

    name: ClassVar[str] = "selection"
    source: ClassVar[str] = "Papernot, Steinke, ICLR 2022 (arXiv 2110.03620)"
    relation: ClassVar[str] = "central"

    def __post_init__(self) -> None:
        if not self.candidates:
            raise InputError("there are no candidates", "Give methods to choose from.")
        for candidate in self.candidates:
            if isinstance(candidate, type) or not all(hasattr(candidate, it) for it in _METHOD):
                raise InputError(
                    f"{candidate!r} is no configured method",
                    "Give methods with their settings, such as generators.Merf().",
                )
            if candidate.relation != "central":
                raise InputError(
                    f"{candidate.name} gives a {candidate.relation} guarantee",
                    "Give methods with a central one.",
                )
            if "images" not in candidate.kinds or candidate.gives != "images":
                raise InputError(
                    f"{candidate.name} publishes no pictures, or takes none",
                    "A selection is of methods that make pictures of pictures.",
                )
        checks.number("limit", self.limit, 0, 1, closed=False)
        checks.number("trials", self.trials, 1, _MOST_TRIALS)
        for name in ("held_out", "score_share"):
            checks.number(name, getattr(self, name), 0, _MOST_OF_IT, closed=False)

    def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
        """The run that spends ``budget`` on all its trials together.

        Raises:
            InputError: If a candidate refuses the facts, the candidates' guarantees are not of one
                relation, the budget has no delta or is too small, or the comparison's noise is
                more than the limit.
        """
        if budget.delta == 0:
            raise InputError("delta is 0, and a selection needs one", "Give a delta.")
        if facts.records is None:
            raise InputError(
                "the number of records is not declared", "Declare records in the schema."
            )
        if getattr(facts, "unit", None) is not None:
            raise InputError(
                "the facts name a unit, and a trial sets records aside one by one",
                "Bound the rows to one a person and leave the unit out.",
            )
        if min(self.held_out, 1 - self.held_out) * facts.records < _FEWEST:
            raise InputError(
                f"held_out is {self.held_out:g} of {facts.records} records",
                f"Leave at least {_FEWEST} on either side.",
            )
        at, trial = budget.epsilon, None
        while trial is None or self._spent(trial) > budget.epsilon:
            at /= 2
            if at < budget.epsilon * _LEAST_SHARE:
                raise InputError(
                    f"no trial is small enough that {self.trials:g} of them meet {budget}",
                    "Give a larger budget or fewer trials.",
                )
            trial = self._trial(replace(budget, epsilon=at), facts)
        most = 2 * at
        while most > at * (1 + _CLOSE):
            middle = math.sqrt(at * most)
            larger = self._trial(replace(budget, epsilon=middle), facts)
            if self._spent(larger) <= budget.epsilon:
                at, trial = middle, larger
            else:
                most = middle
        return self._calibrated(trial, budget, facts)

    def _spent(self, trial: Trial) -> float:
        """The epsilon of all trials like this one.

        Raises:
            InputError: If a candidate's event has no bound that a selection could use.
        """
        try:
            return trial.guarantee(self.trials).epsilon()
        except InputError as error:
            names = ", ".join(dict.fromkeys(one.method.name for one in trial.made))
            raise InputError(
                f"one of {names} cannot be a candidate under {trial.relation.value}: "
                f"{error.problem}",
                "Leave it out, or ask for it under add-remove.",
            ) from None

    def _trial(self, budget: Budget, facts: Any) -> Trial:
        from sfumato.privacy.calibration import analytic_gaussian_mu

        used = max(1, round((1 - self.held_out) * facts.records))
        facts = facts.with_records(used)
        made = tuple(method.calibrate(budget, facts) for method in self.candidates)
        guarantees: list[Any] = [one.guarantee for one in made]
        relations = {Neighbours(guarantee.neighbours) for guarantee in guarantees}
        if len(relations) > 1:
            raise InputError(
                f"the candidates' guarantees are under {', '.join(sorted(relations))}",
                "Give candidates of one relation.",
            )
        relation = relations.pop()
        far = 2 if relation is Neighbours.REPLACE_ONE else 1
        share = self.score_share / (1 - self.score_share)
        mu = math.sqrt(share) * analytic_gaussian_mu(budget)
        return Trial(made, far / mu, relation, budget.delta)

    def _calibrated(self, trial: Trial, budget: Budget, facts: Any) -> Calibrated:
        used = (1 - self.held_out) * facts.records, self.held_out * facts.records
        stddev = trial.stddev(*used)
        if stddev > self.limit:
            raise InputError(
                f"the comparison has noise of {stddev:.2g}, the limit is {self.limit:g}",
                "Raise the limit, the budget or score_share, or set more records aside.",
            )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=trial.guarantee(self.trials),
            plan={
                "selected": {
                    "among": [_named(method) for method in self.candidates],
                    "judge": self.judge.label,
                    "limit": self.limit,
                    "expected_trials": self.trials,
                    "held_out": self.held_out,
                    "trial_epsilon": trial.made[0].budget.epsilon,
                    **trial.cost(self.trials),
                    "comparison_stddev": stddev,
                },
                "plans": [dict(one.plan) for one in trial.made],
            },
            run=_Run(self, trial),
            # One for all, which the card names: a stream for whole tensors serves sums as well.
            source=next((one.source for one in trial.made if one.source is not SECURE), SECURE),
            public=tuple(fact for one in trial.made for fact in one.public),
            caveats=(
                *dict.fromkeys(
                    line
                    for one in trial.made
                    for line in one.caveats
                    if line != TUNED and not isinstance(line, RecordCaveat)
                ),
                "One record is one image: of a person with several, all together are protected "
                "less, by group privacy.",
                "Settings that were chosen by looking at these records in any other way than by "
                "this selection are not covered.",
                "How many trials were run, how long they took and what the others gave is no part "
                "of the release, and must not be told: hand a copy over, at a time fixed before.",
                "The limit says nothing that the guarantee does not: the release has passed one of "
                "several noisy comparisons, and the difference that is stated is too small, for "
                "it is the least of those that passed.",
            ),
        )


@dataclass(frozen=True)
class _Run:
    """Trials until the coin says stop."""

    selection: Selection
    trial: Trial

    def check(self, data: Any) -> None:
        """Refuses candidates for which there is no room."""
        for made in self.trial.made:
            room.check(made.method, getattr(made.run, "certain", ()))

    def __call__(self, data: Any, source: NoiseSource, progress: Progress) -> Artefact:
        """What was picked.

        Raises:
            NothingSelectedError: If no trial passed.
        """
        best: tuple[tuple[int, float], Artefact] | None = None
        trials = 0
        while True:
            trials += 1
            at = int(source.integers(len(self.trial.made), 1)[0])

            def told(done: int, total: int, label: str, number: int = trials) -> None:
                progress(done, total, f"trial {number}: {label}")

            artefact, difference = self._one(at, data, source, told)
            if difference < self.selection.limit:
                score = at, -difference
                if best is None or score > best[0]:
                    best = (
                        score,
                        replace(
                            artefact,
                            notes={**artefact.notes, "candidate": at, "difference": difference},
                        ),
                    )
            if source.bernoulli(1 / self.selection.trials, 1)[0]:
                break
        if best is None:
            raise NothingSelectedError(
                "no candidate stayed below the limit, so nothing is released; the budget is spent",
                "That a selection was tried and gave nothing is covered by its guarantee.",
            )
        return best[1]

    def _one(
        self, at: int, data: Any, source: NoiseSource, progress: Progress
    ) -> tuple[Artefact, float]:
        """A trial: what the candidate publishes, and the noisy difference."""
        aside = self._aside(len(data), source)
        sides = [data.select(np.flatnonzero(side)) for side in (~aside, aside)]
        made = self.trial.made[at]
        artefact = made.run(sides[0], source, progress)
        seed = int(source.integers(1 << 31, 1)[0])
        values = self.selection.judge(artefact.content, sides, seed)
        if [len(value) for value in values] != [len(side) for side in sides]:
            raise AssertionError("a judge gives a value for each record")
        given = [np.asarray(value, np.float64) for value in values]
        return artefact, self.trial.difference(given, source)

    def _aside(self, records: int, source: NoiseSource) -> NDArray[np.bool_]:
        """(n,) whom this trial sets aside; who is, is the same for both of two neighbours.

        Where a record may be added, by a coin of its own. Where one is replaced, the number is
        exactly what the candidates were calibrated for, as that of all records is public.
        """
        if self.trial.relation is Neighbours.ADD_REMOVE:
            return source.bernoulli(self.selection.held_out, records)
        used = self.trial.made[0].facts.records
        rng = np.random.default_rng(int.from_bytes(source.bytes(16), "little"))
        aside = np.ones(records, np.bool_)
        aside[rng.permutation(records)[:used]] = False
        return aside


def as_picked(release: Release, calibrated: Calibrated) -> Release:
    """A selection's release under the name, settings and facts of the candidate that made it.

    So that it can be drawn from again; what it was picked among stays in the plan.
    """
    card = release.card
    plan = {name: value for name, value in card.plan.items() if name != "plans"}
    at = plan.pop("candidate")
    run: Any = calibrated.run
    made: Calibrated = run.trial.made[at]
    plan["selected"] = {**plan["selected"], "difference": plan.pop("difference")}
    method = made.method
    card = replace(
        card,
        method={"name": method.name, "settings": settings(method), "source": method.source},
        plan={**made.plan, **plan},
        facts=(*calibrated.facts.as_facts(), *made.public),
    )
    return replace(release, card=card)


def _named(method: Any) -> dict[str, Any]:
    return {"name": method.name, "settings": settings(method)}

"""One row's budget: how it is divided, and the reports that spend it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.tables import allocation, sampling
from sfumato.publish.tables.reports import (
    Constant,
    Report,
    Sampled,
    is_number,
    levels_report,
    number_report,
)

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.data import Column, Schema

PRESENCE = 0.5
"""Share of a number's budget that says whether there is one, where it may be missing."""

TRUTHFUL = 0.95
"""No more is spent on the label than makes it right this often."""


@dataclass(frozen=True)
class Row:
    """What one row may cost, and what of that is fixed before importance is known.

    Every number here is public: it follows from the method's settings, the budget and the schema.

    Args:
        facts: The table's schema.
        rule: How the attributes' budget is divided by importance.
        noise: As in ``Adaptive``, of ordered attributes.
        wide: Of unordered attributes with many levels; see ``Adaptive``.
        pure: Epsilon of everything but Gaussian noise: the label, levels, presence bits, and
            numbers under Laplace noise.
        label: The label's part of ``pure``.
        mu: Of all numbers under Gaussian noise together, in GDP's terms: the squared diameters
            over the squared stddevs sum to ``mu ** 2``. 0 under any other noise.
        delta: What the Gaussian noise may cost.
        sampled: How many attributes a row reports, each with an equal part of the budget; 0 for
            all of them, each with its own part.
    """

    facts: Schema
    rule: str
    noise: str
    wide: str
    pure: float
    label: float
    mu: float = 0.0
    delta: float = 0.0
    sampled: int = 0

    @classmethod
    def calibrate(
        cls,
        facts: Schema,
        budget: Budget,
        weights: NDArray[np.float64],
        *,
        rule: str,
        noise: str,
        wide: str,
        label_share: float | None,
        sampled: int | str | None = None,
        beside: tuple[DpEvent, Budget] | None = None,
    ) -> Row:
        """The division of a row's budget.

        Args:
            facts: The table's schema.
            budget: What a row may cost.
            weights: (features,) public importance; equal weights where it is paid for later.
            rule: As in ``Adaptive.allocation``.
            noise: As in ``Adaptive``.
            wide: As in ``Adaptive``.
            label_share: As in ``Adaptive``.
            sampled: As in ``Adaptive``.
            beside: What else is drawn from the records, to learn their importance, and the budget
                of everything together. The rows' ``cost`` then holds for any importance. None:
                ``weights`` are final, and the rows' ``event`` is all there is.

        Raises:
            InputError: If Gaussian noise has no delta to spend.
        """
        epsilon = budget.epsilon
        label = _label_epsilon(facts, epsilon, label_share)
        row = cls(facts, rule, noise, wide, epsilon, label)
        if sampled is not None:
            row = replace(row, sampled=row._sampled(sampled))
        numbers = row._numbers(weights) if noise == "gaussian" else 0.0
        if numbers == 0:
            return row._rounded(weights, epsilon)
        if budget.delta == 0:
            raise InputError(
                "delta is 0, which no Gaussian noise can meet",
                "Give a delta, or set noise=laplace.",
            )
        pure = label + (epsilon - label) * (1 - numbers)
        row = replace(row, pure=pure, delta=budget.delta)
        return row._with_gaussian(weights, budget, beside)

    def reports(self, weights: NDArray[np.float64]) -> dict[str, Report]:
        """A report for each column, in the schema's order.

        Args:
            weights: (features,) importance, positive.

        Guaranteed: their events compose to at most ``cost``, whatever the weights.
        """
        budgets = self._budgets(weights)
        gaussian = self._stddevs(weights)
        reports: dict[str, Report] = {}
        for column in self.facts:
            epsilons = budgets.get(column.name, ())
            if column.size == 1:
                reports[column.name] = Constant()
                continue
            if is_number(column):
                stddev = gaussian.get(column.name)
                report = number_report(column, *epsilons, stddev=stddev, noise=self.noise)
            else:
                report = levels_report(column, epsilons[0], self.wide)
            if self.sampled and column.name != self.facts.target:
                report = Sampled(report, column.size, sampling.otherwise(column))
            reports[column.name] = report
        return reports

    def chances(self, weights: NDArray[np.float64]) -> dict[str, float]:
        """Of each informative attribute to be reported, where a row reports ``sampled`` of them.

        Args:
            weights: (features,) importance, positive.
        """
        shares = self._shares(weights)
        reported = sampling.inclusion(np.array(list(shares.values())), self.sampled)
        return dict(zip(shares, map(float, reported), strict=True))

    def event(self, weights: NDArray[np.float64]) -> DpEvent:
        """What one row reveals under these weights, attribute by attribute."""
        from sfumato.privacy import events

        reports = self.reports(weights)
        if not self.sampled:
            return events.compose(*(e for report in reports.values() for e in report.events))
        # Whichever attributes are drawn, each of their reports is proven for this part.
        part = events.PureDpEvent(self._part, Neighbours.REPLACE_ONE.value)
        label = reports[self.facts.target].events if self.facts.target is not None else ()
        return events.compose(*label, events.repeat(part, self.sampled))

    @property
    def cost(self) -> DpEvent:
        """What one row reveals at most, under any weights: epsilon of the sum, mu of the Gaussians.

        Numbers under Gaussian noise, each in units of its own stddev, are one integer vector under
        discrete Gaussian noise: two rows are at most ``mu`` apart, which is (mu^2 / 2)-zCDP.
        """
        from sfumato.privacy import events

        pure = events.PureDpEvent(self.pure, Neighbours.REPLACE_ONE.value)
        if self.mu == 0:
            return pure
        return events.compose(pure, events.DiscreteGaussianDpEvent(1 / self.mu, 0.5, "vector"))

    def describe(self, weights: NDArray[np.float64]) -> dict[str, Any]:
        """Label and attributes with their part of the budget and their noise, as JSON values."""
        budgets, reports = self._budgets(weights), self.reports(weights)
        gaussian = self._stddevs(weights)
        names = [column.name for column in self.facts.features]
        importance = dict(zip(names, (float(w) for w in weights), strict=True))
        chances = self.chances(weights) if self.sampled else {}
        attributes = []
        for name in names:
            entry: dict[str, Any] = {"name": name, "importance": importance[name]}
            if name in gaussian:
                entry["mu"] = (self.facts[name].cardinality - 1) / gaussian[name]
            entry["epsilon"] = allocation.total(budgets.get(name, ()))
            if name in chances:
                entry["reported"] = chances[name]
                entry["epsilon_where_reported"] = entry["epsilon"]
                entry["epsilon"] *= chances[name]
            attributes.append(entry | reports[name].describe())
        described: dict[str, Any] = {"attributes": attributes}
        if self.sampled:
            described["reported_attributes"] = self.sampled
        if self.facts.target is not None:
            described["label"] = {
                "name": self.facts.target,
                "epsilon": self.label,
                **reports[self.facts.target].describe(),
            }
        return described

    # -- inside --------------------------------------------------------------------------------

    def _shares(self, weights: NDArray[np.float64]) -> dict[str, float]:
        """Each informative attribute's share of the attributes' budget."""
        kept = [
            (column.name, weight)
            for column, weight in zip(self.facts.features, weights, strict=True)
            if column.size > 1
        ]
        if not kept:
            return {}
        parts = allocation.shares(np.array([weight for _, weight in kept]), self.rule)
        return {name: float(part) for (name, _), part in zip(kept, parts, strict=True)}

    def _numbers(self, weights: NDArray[np.float64]) -> float:
        """The share of the attributes' budget that goes to ordered values alone."""
        return math.fsum(
            share * (1 - PRESENCE if self.facts[name].missing else 1)
            for name, share in self._shares(weights).items()
            if is_number(self.facts[name])
        )

    def _budgets(self, weights: NDArray[np.float64]) -> dict[str, tuple[float, ...]]:
        """Pure epsilons by column: of the presence bit, where there is one, and of the value.

        They sum to ``pure``, exactly up to the last digit of the smallest. A number under Gaussian
        noise has no epsilon of its own.
        """
        places: list[str] = []
        parts: list[float] = []
        for name, share in self._shares(weights).items():
            column = self.facts[name]
            for part in _parts(column, is_number(column) and self.delta > 0):
                places.append(name)
                parts.append(share * part)
        budgets: dict[str, tuple[float, ...]] = {}
        # The label's part is set aside, not scaled, so that it is the same under all weights.
        if self.label > 0 and self.facts.target is not None:
            target = self.facts[self.facts.target]
            budgets[target.name] = allocation.split(self.label, np.array(_parts(target, False)))
        rest = allocation.remainder(self.pure, self.label)
        if self.sampled:
            for name in self._shares(weights):
                of_value = np.array(_parts(self.facts[name], False))
                budgets[name] = allocation.split(self._part, of_value)
            return budgets
        if parts:
            for name, epsilon in zip(places, allocation.split(rest, np.array(parts)), strict=True):
                budgets[name] = (*budgets.get(name, ()), epsilon)
        return budgets

    @property
    def _part(self) -> float:
        """What one of the reported attributes may cost."""
        rest = allocation.remainder(self.pure, self.label)
        return allocation.part(rest, self.sampled)

    def _sampled(self, asked: int | str) -> int:
        """How many attributes to report; 0 where that is all of them."""
        if self.noise == "gaussian":
            raise InputError(
                "attributes are sampled under Gaussian noise",
                "Use another noise: the parts of a Gaussian row do not add up like that.",
            )
        there = sum(column.size > 1 for column in self.facts.features)
        rest = allocation.remainder(self.pure, self.label)
        count = sampling.automatic(rest, there) if isinstance(asked, str) else asked
        return count if count < there else 0

    def _stddevs(self, weights: NDArray[np.float64]) -> dict[str, float]:
        """Gaussian stddevs in grid steps: ``mu ** 2`` divided by importance."""
        if self.mu == 0:
            return {}
        numbers = [j for j, column in enumerate(self.facts.features) if is_number(column)]
        parts = allocation.shares(weights[numbers], self.rule, "gaussian")
        columns = [self.facts.features[j] for j in numbers]
        return {
            column.name: (column.cardinality - 1) / (self.mu * math.sqrt(part))
            for column, part in zip(columns, parts, strict=True)
        }

    def _rounded(self, weights: NDArray[np.float64], epsilon: float) -> Row:
        """The row, short of ``epsilon`` by rounding errors if the accountant's sum demands it."""
        from sfumato.privacy import accounting

        row, slack = self, 2.0**-51
        while accounting.epsilon(row.event(weights), 0.0, Neighbours.REPLACE_ONE) > epsilon:
            # Of a sampled row this lowers every report's part with the sum.
            row = replace(row, pure=epsilon * (1 - slack), label=self.label * (1 - slack))
            slack *= 2
        return row

    def _with_gaussian(
        self,
        weights: NDArray[np.float64],
        budget: Budget,
        beside: tuple[DpEvent, Budget] | None,
    ) -> Row:
        """The largest ``mu`` that the budget leaves beside all that is drawn otherwise."""
        from sfumato.privacy import events
        from sfumato.privacy.calibration import analytic_gaussian_mu, calibrate

        # By basic composition about this much is left; the accountant can find much more.
        left = analytic_gaussian_mu(Budget(budget.epsilon - self.pure, budget.delta))

        def event(spread: float) -> DpEvent:
            row = replace(self, mu=1 / spread)
            return row.event(weights) if beside is None else events.compose(beside[0], row.cost)

        total = budget if beside is None else beside[1]
        spread = calibrate(event, total, Neighbours.REPLACE_ONE, (0.01 / left, 2 / left))
        return replace(self, mu=1 / spread)


def _label_epsilon(facts: Schema, epsilon: float, share: float | None) -> float:
    """The label's part of a row's epsilon; all of it if no attribute has anything to tell."""
    if facts.target is None or facts[facts.target].size == 1:
        return 0.0
    if not any(column.size > 1 for column in facts.features):
        return epsilon
    if share is not None:
        return share * epsilon
    # Randomised response tells the truth this often at epsilon = ln(odds (k - 1)).
    odds = TRUTHFUL / (1 - TRUTHFUL)
    return min(epsilon / 2, math.log(odds * (facts[facts.target].size - 1)))


def _parts(column: Column, gaussian: bool) -> list[float]:
    """How a column's budget is spent by pure mechanisms: the presence bit, then the value."""
    if not (is_number(column) and column.missing):
        return [] if gaussian else [1.0]
    return [PRESENCE] if gaussian else [PRESENCE, 1 - PRESENCE]

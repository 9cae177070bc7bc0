"""One attribute's report: what a row's owner says about it instead of the truth.

Each report is a local mechanism, proven for replacing the row by any other of the declared domain,
so it pays for the diameter of that domain and not for its radius. Its shape and its noise follow
from public facts and the attribute's budget; the value is an argument.

Source: perturbation.md A.1, steps 4 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.mechanisms import (
    BoundedNumeric,
    LocalNumeric,
    RandomizedResponse,
    UnaryEncoding,
)
from sfumato.privacy.mechanisms.randomized_response import MAX_EPSILON
from sfumato.privacy.noise.gaussian import MIN_STDDEV

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.data import Column
    from sfumato.privacy.noise import NoiseSource

Codes = NDArray[np.int64]
Numeric = LocalNumeric | BoundedNumeric


class Report(Protocol):
    """A local mechanism on the codes of one attribute."""

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """What it draws from one row, part by part."""
        ...

    def randomise(self, codes: Codes, source: NoiseSource) -> Codes:
        """A report for each row, (n,), with noise of its own."""
        ...

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        ...


@dataclass(frozen=True)
class Constant:
    """An attribute with one declared level: there is nothing to tell, and it costs nothing."""

    events: tuple[DpEvent, ...] = ()

    def randomise(self, codes: Codes, source: NoiseSource) -> Codes:
        """The only level; the rows are not looked at."""
        return np.zeros(len(codes), np.int64)

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        return {"mechanism": "constant"}


@dataclass(frozen=True)
class Levels:
    """A level, missing being one of them: randomised response or unary encoding."""

    mechanism: RandomizedResponse | UnaryEncoding

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """One local report."""
        return (self.mechanism.event,)

    def randomise(self, codes: Codes, source: NoiseSource) -> Codes:
        """A level for each row."""
        return self.mechanism.randomise(codes, source)

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        if isinstance(self.mechanism, RandomizedResponse):
            truth = self.mechanism.truth_probability
            return {"mechanism": "randomised response", "truth_probability": truth}
        return {"mechanism": "unary encoding"}


@dataclass(frozen=True)
class Number:
    """A number (or an ordered level) reported on its public grid, clamped to its bounds."""

    mechanism: Numeric

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """One noisy number; clamping is post-processing."""
        return (self.mechanism.event,)

    def randomise(self, codes: Codes, source: NoiseSource) -> Codes:
        """A grid point for each row."""
        return self.mechanism.randomise(codes, source)

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        return {"mechanism": _called(self.mechanism), **_spread(self.mechanism)}


@dataclass(frozen=True)
class Sampled:
    """A report that is made of some rows only: the others' cells say nothing of the row.

    Which rows report the attribute is chosen beforehand, by coins that know nothing of the rows,
    and so is what the others' cells are released as (:mod:`sfumato.publish.tables.sampling`): code
    ``size + c`` stands for a cell that is not reported, and released as code ``c``.

    Args:
        report: Of the rows that report the attribute.
        size: How many codes the column has.
        otherwise: What a cell that is not reported is released as, in words.
    """

    report: Report
    size: int
    otherwise: str

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """Of a row that reports the attribute; any other row's cell says nothing of it."""
        return self.report.events

    def randomise(self, codes: Codes, source: NoiseSource) -> Codes:
        """A report for each row that makes one, (n,), and the stand-ins of the others."""
        made = codes < self.size
        released = codes - self.size
        released[made] = self.report.randomise(codes[made], source)
        return released

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        return {**self.report.describe(), "otherwise": self.otherwise}


@dataclass(frozen=True)
class OptionalNumber:
    """A number that may be missing: a randomised presence bit, then the number.

    Two reports on the same row: whether there is a number, and the number (for a row without one,
    the public middle of the grid). Both are local mechanisms on the whole domain, so the pair
    costs their composition; hiding the number where the reported bit says "missing" is
    post-processing.
    """

    presence: RandomizedResponse
    number: Numeric

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """The bit and the number."""
        return (self.presence.event, self.number.event)

    def randomise(self, codes: Codes, source: NoiseSource) -> Codes:
        """A grid point, or missing, for each row."""
        grid = self.number.cardinality
        missing = codes >= grid
        reported = self.presence.randomise(missing.astype(np.int64), source)
        number = self.number.randomise(np.where(missing, grid // 2, codes), source)
        return np.where(reported == 1, grid, number).astype(np.int64)

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        return {
            "mechanism": f"randomised presence, {_called(self.number)}",
            "presence_truth_probability": self.presence.truth_probability,
            **_spread(self.number),
        }


def is_number(column: Column) -> bool:
    """Whether a column's values are ordered and differ, so that noise on the grid suits them."""
    return column.ordered and column.cardinality > 1


def levels_report(column: Column, epsilon: float, wide: str) -> Report:
    """The report of an unordered column with at least two codes.

    Args:
        column: Its public facts.
        epsilon: Its budget.
        wide: ``"k-rr"``, or ``"oue"`` for unary encoding where there are more than
            ``3 e^epsilon + 2`` levels.
    """
    epsilon = min(epsilon, MAX_EPSILON)
    if wide == "oue" and column.size > 3 * np.exp(epsilon) + 2:
        return Levels(UnaryEncoding(column.size, epsilon))
    return Levels(RandomizedResponse(column.size, epsilon))


def number_report(
    column: Column, *epsilons: float, stddev: float | None = None, noise: str = "laplace"
) -> Report:
    """The report of a number: a column for which :func:`is_number` holds.

    Args:
        column: Its public facts.
        epsilons: Of the presence bit, if a value may be missing, and of the value unless its
            noise is Gaussian.
        stddev: Of Gaussian noise in grid steps, in place of the value's epsilon.
        noise: As in ``Adaptive``.
    """
    if column.missing:
        presence = RandomizedResponse(2, min(epsilons[0], MAX_EPSILON))
        return OptionalNumber(presence, _number(column, epsilons[1:], stddev, noise))
    return Number(_number(column, epsilons, stddev, noise))


def _number(
    column: Column, epsilons: tuple[float, ...], stddev: float | None, noise: str
) -> Numeric:
    if stddev is not None:
        return LocalNumeric(column.cardinality, stddev=max(stddev, MIN_STDDEV), noise="gaussian")
    for shape in ("duchi", "piecewise"):
        if noise == shape:
            return BoundedNumeric(column.cardinality, min(epsilons[0], MAX_EPSILON), shape)
    return LocalNumeric(column.cardinality, epsilon=epsilons[0])


def _called(number: Numeric) -> str:
    return f"{number.noise} {'noise' if isinstance(number, LocalNumeric) else 'report'}"


def _spread(number: Numeric) -> dict[str, Any]:
    """What its report is spread by: noise relative to the declared range, or probabilities."""
    if isinstance(number, LocalNumeric):
        return {"noise_over_range": number.scale / number.diameter}
    if number.shape == "duchi":
        return {"end_truth_probability": number.end_probability}
    return {
        "cells": number.cells,
        "window": number.window,
        "window_probability": number.window_probability,
    }

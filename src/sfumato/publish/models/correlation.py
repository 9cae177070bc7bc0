"""Correlated noise for the methods of this room: the bands that fit an optimiser and a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from sfumato.learn.clipping import Clipping
    from sfumato.learn.correlated import CorrelatedDpSgd
    from sfumato.learn.toeplitz import Workload
    from sfumato.privacy.budget import Budget
    from sfumato.publish.models.training import Optimisation

_MOST_RATES = 2000  # beyond, the best bands take minutes to find


def check(neighbours: str) -> None:
    """Refuses a relation under which correlated noise has no guarantee.

    Raises:
        InputError: If it is add-remove.
    """
    if neighbours == Neighbours.ADD_REMOVE:
        raise InputError(
            "correlated noise has no guarantee under add-remove",
            "Set neighbours to zero-out, which costs the same, or replace-one; or bands to 1.",
        )


def workload(optimisation: Optimisation, steps: int) -> Workload:
    """The sums of gradients that the weights are, as far as they are sums.

    Momentum and the schedule of the learning rate are known; what Adam does is taken for SGD.
    """
    from sfumato.learn.toeplitz import Workload

    momentum = optimisation.momentum if optimisation.optimizer == "sgd" else 0.0
    factor = optimisation.factor(steps)
    rates = tuple(map(factor, range(steps))) if factor and steps <= _MOST_RATES else None
    return Workload(momentum, rates)


def mechanism(
    budget: Budget,
    *,
    records: int,
    expected_batch_size: float,
    steps: int,
    clipping: Clipping,
    neighbours: Neighbours,
    bands: int | None,
    optimisation: Optimisation,
) -> CorrelatedDpSgd:
    """DP-SGD with noise correlated over so many steps; None for the number that is best.

    Raises:
        InputError: If the records do not make as many groups of a batch as there are bands.
    """
    from sfumato.learn import correlated
    from sfumato.learn.grouped import GroupedSampling

    sums = workload(optimisation, steps)
    if bands is None:
        return correlated.best(
            budget,
            records=records,
            expected_batch_size=expected_batch_size,
            steps=steps,
            clipping=clipping,
            workload=sums,
            neighbours=neighbours,
        )
    return correlated.CorrelatedDpSgd.calibrate(
        budget,
        GroupedSampling.of_batches(records, expected_batch_size, bands),
        steps=steps,
        clipping=clipping,
        workload=sums,
        neighbours=neighbours,
    )

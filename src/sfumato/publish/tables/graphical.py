"""A distribution with measured tables of pairs that close cycles, estimated by the library mbi.

Among all distributions the one that is nearest to the tables and else as random as can be: a
Markov random field, whose potentials mirror descent fits to them by belief propagation. Summing
the features out one by one then leaves each given those that are summed out later, from which rows
are drawn without the library. Everything here is post-processing of noisy counts.

Source: McKenna, Sheldon, Miklau, ICML 2019 (graphical-model based estimation).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import MissingExtraError
from sfumato.publish.tables.bayesian_network import BayesianNetwork, Step
from sfumato.publish.tables.elimination import eliminate
from sfumato.publish.tables.forest import consistent, grouped
from sfumato.publish.tables.marginals import Floats
from sfumato.publish.tables.pairs import Pair

Names = tuple[int, ...]

_STEPS = 1000  # of mirror descent, at most
_ENOUGH = 1e-3  # a gain of the loss over 50 steps, as a share of it, that ends it
_LEAST = 1e-12  # a share of rows that stands for none, whose logarithm is finite
_CLASS = "class"


def library() -> Any:
    """The package.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Said of its floats and its cache: the first are set below, the second is jax's own.
            warnings.simplefilter("ignore", UserWarning)
            import mbi
    except ImportError:
        raise MissingExtraError("mbi", "graph", "cycles of pairs") from None
    return mbi


def graph(
    tree: BayesianNetwork,
    measured: Mapping[Pair, NDArray[np.integer]],
    variance: float,
    first_variance: float,
) -> BayesianNetwork:
    """The distribution with the measured pairs.

    Args:
        tree: The one with those of the pairs that form a forest: where the descent begins.
        measured: Noisy (groups, groups, classes) counts of all pairs.
        variance: Of the noise on each of their cells.
        first_variance: Of the noise on a cell of a feature by class.

    Raises:
        MissingExtraError: If the library is not installed.
    """
    one_way = grouped(tree.cells, tree.groups)
    tables: dict[Names, tuple[Floats, float]] = {
        (i,): (table, first_variance) for i, table in enumerate(one_way.conditionals)
    }
    # Shrunk as far as they are noise: the library would fit the noise as well.
    for pair, noisy in measured.items():
        tables[pair] = (consistent(noisy, one_way, pair, variance), variance)
    sizes = [len(table) for table in one_way.conditionals]
    potentials = _potentials(sizes, one_way.classes, tables, _logarithms(tree))
    return replace(tree, steps=tuple(_steps(sizes, measured, potentials)))


def _logarithms(tree: BayesianNetwork) -> dict[Names, Floats]:
    """A forest's potentials: of each feature given its parent, and of the classes."""
    found: dict[Names, Floats] = {(): np.log(np.maximum(tree.cells.classes, _LEAST))}
    for step in tree.steps:
        shares = step.table / np.maximum(step.table.sum(axis=-2, keepdims=True), _LEAST)
        found[(*step.parents, step.feature)] = np.log(np.maximum(shares, _LEAST))
    return found


def _potentials(
    sizes: Sequence[int],
    classes: Floats,
    tables: Mapping[Names, tuple[Floats, float]],
    start: Mapping[Names, Floats],
) -> dict[Names, Floats]:
    """Those of the field that is fitted to the tables, (groups, ..., classes) each."""
    mbi = library()
    import jax

    with jax.enable_x64(True):
        features = [str(i) for i in range(len(sizes))]
        domain = mbi.Domain((*features, _CLASS), (*sizes, len(classes)))

        def clique(names: Names) -> tuple[str, ...]:
            return (*map(str, names), _CLASS)

        factors = {
            clique(names): mbi.Factor(domain.project(clique(names)), jax.numpy.asarray(values))
            for names, values in start.items()
        }
        model = mbi.estimation.MirrorDescent().estimate(
            domain,
            [
                mbi.LinearMeasurement(table.ravel(), clique(names), stddev=variance**0.5)
                for names, (table, variance) in tables.items()
            ],
            known_total=float(classes.sum()),
            iters=_STEPS,
            tol=_ENOUGH,
            warm_start=mbi.CliqueVector(domain, list(factors), factors),
        )
        fitted = model.potentials
        return {
            names: np.asarray(fitted[clique(names)].values, np.float64)
            for names in tables
            if clique(names) in fitted.cliques
        }


def _steps(
    sizes: Sequence[int],
    pairs: Mapping[Pair, Any],
    potentials: Mapping[Names, Floats],
) -> list[Step]:
    """Every feature given those that are summed out after it, parents first."""
    factors = dict(enumerate(potentials.items()))
    steps = []
    for out in eliminate(sizes, pairs):
        axes = (*out.rest, out.feature)
        joint = np.zeros((1,) * len(axes) + (1,))
        for key in [key for key, (names, _) in factors.items() if out.feature in names]:
            joint = joint + _spread(*factors.pop(key), axes)
        joint = np.broadcast_to(joint, (*(sizes[i] for i in axes), joint.shape[-1]))
        highest = joint.max(axis=-2, keepdims=True)
        shares = np.exp(joint - highest)
        total = shares.sum(axis=-2, keepdims=True)
        steps.append(Step(out.feature, out.rest, shares / total))
        factors[len(potentials) + len(steps)] = (out.rest, (highest + np.log(total)).squeeze(-2))
    return steps[::-1]


def _spread(names: Names, values: Floats, axes: Names) -> Floats:
    """A factor's values with an axis for each of ``axes``, in their order, classes last."""
    order = sorted(range(len(names)), key=lambda at: axes.index(names[at]))
    values = values.transpose((*order, len(names)))
    shape = [1] * len(axes)
    for at in order:
        shape[axes.index(names[at])] = values.shape[order.index(at)]
    return values.reshape((*shape, values.shape[-1]))

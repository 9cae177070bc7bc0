"""Public tables for `benchmarks/adaptive.py`, each cut into proxy, private, held-out and test rows.

Bounds are those of public documentation, never of the rows: the data dictionaries of census-income
and German credit, the ranges that scikit-learn prints of the Wisconsin breast cancer data, and what
laboratories report of the measurements in the diabetes data (Efron et al. 2004), whose target is
whether the disease had progressed beyond 150.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.data import Categorical, Numeric, Schema, Table, datasets

PROXY, PRIVATE, HELD_OUT = 0.15, 0.45, 0.15
"""Shares of a small table; the rest is for tests."""
CENSUS = {"proxy": 2000, "private": 4000, "held_out": 4000, "test": 6000}

_BREAST_TOPS = {
    "radius": (30, 3, 40),
    "texture": (40, 5, 50),
    "perimeter": (200, 25, 260),
    "area": (2600, 600, 4500),
    "smoothness": (0.2, 0.04, 0.3),
    "compactness": (0.4, 0.2, 1.2),
    "concavity": (0.5, 0.4, 1.4),
    "concave points": (0.25, 0.06, 0.3),
    "symmetry": (0.35, 0.08, 0.7),
    "fractal dimension": (0.1, 0.04, 0.25),
}
_DIABETES = {
    "age": (15, 95, 1),
    "bmi": (15, 50, 0.5),
    "bp": (50, 150, 1),
    "s1": (80, 320, 2),
    "s2": (30, 260, 2),
    "s3": (10, 110, 1),
    "s4": (1, 11, 0.1),
    "s5": (3, 7, 0.05),
    "s6": (50, 140, 1),
}


@dataclass(frozen=True)
class Parts:
    """Rows of one population, apart from each other.

    Args:
        proxy: Taken as public: where public importance comes from.
        private: What is released under a guarantee.
        held_out: Non-members, for attacks.
        test: What models are judged on.
    """

    proxy: Table
    private: Table
    held_out: Table
    test: Table


def names() -> tuple[str, ...]:
    """The data sets."""
    return ("diabetes", "breast-cancer", "german-credit", "census-income")


def parts(name: str, seed: int) -> Parts:
    """The parts of a data set, drawn by the seed."""
    whole = _TABLES[name]()
    rng = np.random.default_rng(1000 + seed)
    if name == "census-income":
        sizes = CENSUS
    else:
        n = len(whole)
        sizes = {"proxy": round(PROXY * n), "private": round(PRIVATE * n)}
        sizes["held_out"] = round(HELD_OUT * n)
        sizes["test"] = n - sum(sizes.values())
    order = rng.permutation(len(whole))
    codes = whole.codes()
    cut, made = 0, {}
    for part, size in sizes.items():
        rows = order[cut : cut + size]
        cut += size
        schema = whole.schema.with_records(size if part == "private" else None)
        made[part] = Table.from_codes({n: c[rows] for n, c in codes.items()}, schema)
    return Parts(**made)


def _census() -> Table:
    return datasets.load("census-income", "train")


def _german() -> Table:
    both = [datasets.load("german-credit", split) for split in ("train", "test")]
    codes = [table.codes() for table in both]
    schema = both[0].schema.with_records(None)
    joined = {n: np.concatenate([c[n] for c in codes]) for n in schema.names}
    return Table.from_codes(joined, schema)


def _breast() -> Table:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True)
    columns: list[Any] = []
    for feature in found.feature_names:
        stem = feature.removeprefix("mean ").removeprefix("worst ").removesuffix(" error")
        place = 1 if feature.endswith("error") else 2 if feature.startswith("worst") else 0
        top = float(_BREAST_TOPS[stem][place])
        columns.append(Numeric(str(feature), 0.0, top, top / 100, outside="clamp"))
    columns.append(Categorical("diagnosis", ("malignant", "benign")))
    frame = found.data.assign(diagnosis=[str(found.target_names[t]) for t in found.target])
    return Table.from_pandas(frame, Schema(tuple(columns), target="diagnosis"))


def _diabetes() -> Table:
    from sklearn.datasets import load_diabetes

    found = load_diabetes(as_frame=True, scaled=False)
    columns: list[Any] = [
        Numeric(name, float(low), float(top), float(step), outside="clamp")
        for name, (low, top, step) in _DIABETES.items()
    ]
    columns += [Categorical("sex", ("1", "2")), Categorical("progressed", ("no", "yes"))]
    frame = found.data.assign(
        sex=found.data["sex"].astype(int).astype(str),
        progressed=np.where(found.target > 150, "yes", "no"),
    )
    return Table.from_pandas(frame, Schema(tuple(columns), target="progressed"))


_TABLES = {
    "diabetes": _diabetes,
    "breast-cancer": _breast,
    "german-credit": _german,
    "census-income": _census,
}

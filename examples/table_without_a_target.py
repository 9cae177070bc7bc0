"""Publish a table when no column is to be predicted: every row under its own noise.

The facts of a table of one's own are declared, never taken from its rows. A column that is public
for every row is passed through as it is; what cannot be is declared impossible. Run as it stands.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import sfumato
from sfumato.data import Categorical, Date, Numeric, Schema

SCHEMA = Schema(
    (
        Numeric("age", 0, 99, 1, integer=True),
        Categorical("ward", ("surgery", "maternity", "geriatrics")),
        Categorical("year", ("2022", "2023"), dtype="int64"),
        Date("admitted", "2022-01-01", "2023-12-31"),
    ),
    pass_through=("year",),
    impossible=({"age": "..11", "ward": "geriatrics"},),
)


def patients(rows: int = 2000) -> pd.DataFrame:
    """Made-up patients; nobody is real."""
    rng = np.random.default_rng(0)
    admitted = pd.to_datetime("2022-01-01") + pd.to_timedelta(rng.integers(730, size=rows), "D")
    age = rng.integers(100, size=rows)
    wards = np.where(age < 12, "surgery", rng.choice(["maternity", "geriatrics"], rows))
    return pd.DataFrame({"age": age, "ward": wards, "year": admitted.year, "admitted": admitted})


def main(folder: Path) -> None:
    """Publishes into ``folder/release`` and shows the first rows."""
    release = sfumato.publish(
        patients(),
        schema=SCHEMA,
        epsilon=4.0,
        method="tables.adaptive",
        out=folder / "release",
        ledger=folder / "ledger.db",
    )
    print(release.card.proven.describe())
    for caveat in release.card.caveats:
        print("-", caveat)
    print(release.data.to_pandas().head())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sfumato-")))

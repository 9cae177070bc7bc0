"""Publish a table in which a person has several rows, with a guarantee for the person.

The column of the person's id is named as the unit. It is never released; at most so many rows of
each person are used, drawn at random; members and held-out rows are parted by person. Run as it
stands.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import sfumato
from sfumato.data import Categorical, Numeric, Schema

SCHEMA = Schema(
    (
        Numeric("age", 18, 99, 1, integer=True),
        Numeric("pressure", 60, 220, 5, integer=True, outside="clamp"),
        Categorical("treated", ("no", "yes")),
    ),
    target="treated",
)


def visits(rows: int = 4000, patients: int = 1000) -> pd.DataFrame:
    """Made-up visits; nobody is real."""
    rng = np.random.default_rng(0)
    who = rng.integers(patients, size=rows)
    age = rng.integers(18, 100, size=patients)[who]
    pressure = np.round(90 + age / 2 + rng.normal(0, 15, rows))
    treated = np.where(pressure + rng.normal(0, 5, rows) > 130, "yes", "no")
    return pd.DataFrame({"patient_id": who, "age": age, "pressure": pressure, "treated": treated})


def main(folder: Path) -> None:
    """Publishes with one row of each patient, then with three."""
    for rows in (1, 3):
        release = sfumato.publish(
            visits(),
            schema=SCHEMA,
            unit="patient_id",
            rows_per_unit=rows,
            epsilon=1.0,
            delta=1e-6,
            method="tables.independent",
            out=folder / f"release-{rows}",
            ledger=folder / "ledger.db",
        )
        print(f"At most {rows} of each patient's rows:", release.card.proven.describe())
        print(release.evaluation.utility.summary)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sfumato-")))

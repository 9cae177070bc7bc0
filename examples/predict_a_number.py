"""Publish a table so that others can learn to predict a number from it.

A numeric target is cut into public bins while the table is made, and released as a number. Here:
the age in a census sample, from five other columns. Run as it stands.
"""

import sys
import tempfile
from pathlib import Path

import sfumato
from sfumato.data import load_data

COLUMNS = ("age", "education", "marital_status", "weeks_worked", "sex", "income")


def main(folder: Path) -> None:
    """Publishes into ``folder/release`` and says how well ages are predicted."""
    people = load_data("dataset:census-sample").select(*COLUMNS).with_target("age")
    release = sfumato.publish(
        people,
        epsilon=1.0,
        method="tables.independent",
        settings={"target_bins": 12},
        out=folder / "release",
        ledger=folder / "ledger.db",
    )
    print(release.card.proven.describe())
    print(release.evaluation.utility.summary)
    print(release.data.to_pandas().head())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sfumato-")))

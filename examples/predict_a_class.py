"""Publish a table so that others can learn to predict a class from it.

Some columns of a census sample that comes with sfumato; the task is whether somebody earns more
than 50,000. Run as it stands: ``python examples/predict_a_class.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import sfumato
from sfumato.data import load_data

COLUMNS = (
    "age",
    "education",
    "marital_status",
    "major_occupation",
    "sex",
    "capital_gains",
    "dividends",
    "weeks_worked",
    "income",
)


def main(folder: Path) -> None:
    """Publishes into ``folder/release`` and says what came of it."""
    people = load_data("dataset:census-sample", target="income").select(*COLUMNS)
    release = sfumato.publish(
        people,
        epsilon=1.0,
        delta=1e-6,
        out=folder / "release",
        ledger=folder / "ledger.db",
    )
    print(release.card.proven.describe())
    print(release.evaluation.utility.summary)
    for finding in release.evaluation.findings:
        print(finding.summary)
    print(f"Hand over {release.path}; keep {release.path}.evaluation.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sfumato-")))

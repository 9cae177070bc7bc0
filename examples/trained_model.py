"""Publish a model instead of data: trained by noisy gradients, then used on new rows.

A census sample that comes with sfumato. If it is interrupted, the same call goes on from the
checkpoint and pays nothing anew. Run as it stands.
"""

import sys
import tempfile
from pathlib import Path

import sfumato
from sfumato.data import load_data
from sfumato.release.release import Release


def main(folder: Path) -> None:
    """Trains into ``folder/release``, loads the model and predicts."""
    sfumato.train(
        "dataset:census-sample",
        target="income",
        epsilon=2.0,
        delta=1e-5,
        method="learn.dpsgd",
        settings={"epochs": 3, "seed": 0},
        evaluate=False,
        out=folder / "release",
        ledger=folder / "ledger.db",
        checkpoint=folder / "checkpoint",
    )
    release = Release.load(folder / "release")  # as whoever is given the folder does
    print(release.card.proven.describe())
    new = load_data("dataset:census-sample/test").head(5)
    print(release.predict(new.to_pandas()))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sfumato-")))

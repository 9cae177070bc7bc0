"""Publish labelled pictures: a generator is fitted to one noisy mean, and drawn from.

8×8 digits that come with sfumato, with a short training; real sets want the defaults. Run as it
stands.
"""

import sys
import tempfile
from pathlib import Path

import sfumato

QUICK = {"steps": 60, "features": 1000, "samples": 400}


def main(folder: Path) -> None:
    """Publishes into ``folder/release`` and says what came of it."""
    release = sfumato.publish(
        "dataset:digits",
        epsilon=4.0,
        delta=1e-5,
        method="generators.merf",
        settings=QUICK,
        evaluate=False,
        out=folder / "release",
        ledger=folder / "ledger.db",
    )
    print(release.card.proven.describe())
    images, labels = next(release.data.batches(400))
    print(f"{len(images)} images of shape {images.shape[1:]}, {len(set(labels.tolist()))} classes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sfumato-")))

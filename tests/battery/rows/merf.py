"""Rows of ``generators.merf``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PICTURES
from battery.recorder import Recorder
from battery.row import Array, MethodRow, Row
from battery.rows.common import AUDITED, BUDGET, noise_of
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.generators.merf import Merf
from sfumato.publish.method import Calibrated, silent

_PICTURES = 30
SMALL: dict[str, Any] = {
    "features": 40,
    "steps": 2,
    "batch": 6,
    "frequencies_per_step": 10,
    "latent": 2,
    "hidden": 4,
    "width": 4,
    "samples": 6,
    "bandwidth": 0.2,  # left out, it would follow the noise
    "seed": 1,
    "device": "cpu",
}


def merf(name: str, **settings: Any) -> MethodRow:
    """``generators.merf``: one noisy mean of random features."""
    settings = SMALL | settings
    facts = PICTURES.with_records(_PICTURES)

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = facts, **more: Any) -> Calibrated:
        return Merf(**settings | more).calibrate(budget, facts)

    def sums(made: Calibrated, private: ImageSet, source: NoiseSource) -> tuple[Array, Array]:
        """The exact and the noisy sums; the run ends there, before the generator is trained."""
        with Recorder(enough=1) as recorder:
            made.run(private, source, silent)
        return recorder.draws[0].values, recorder.draws[0].output

    base = data.pictures(0, _PICTURES)
    one, other = _extreme_pictures(base)

    def samples(made: Calibrated, private: ImageSet, runs: int, source: NoiseSource) -> Array:
        quiet = SeededSource(0)
        along = sums(made, other, quiet)[0] - sums(made, one, quiet)[0]
        return np.array([np.sum(sums(made, private, source)[1] * along) for _ in range(runs)])

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        # Each canary is one of two pictures; many features keep the canaries apart.
        m = len(included)
        rng = np.random.default_rng(9)
        images = rng.integers(0, 2, (2, m, 1, 4, 4)).astype(np.float32)
        labels = rng.integers(0, 3, (2, m))
        chosen = (included.astype(np.int64), np.arange(m))
        private = ImageSet.from_arrays(images[chosen], labels[chosen], PICTURES.classes)
        made = row.make(row.audit_budget, private.schema.with_records(m), features=2000)
        noisy = sums(made, private, source)[1]

        def alone(which: int, i: int) -> Array:
            one = images[which, i : i + 1], labels[which, i : i + 1]
            return sums(made, ImageSet.from_arrays(*one, PICTURES.classes), SeededSource(0))[0]

        return np.array([np.sum(noisy * (alone(1, i) - alone(0, i))) for i in range(m)])

    def norms(made: Calibrated) -> tuple[Array, float]:
        rng = np.random.default_rng(3)
        images = [rng.random((1, 1, 4, 4)) ** power for power in np.geomspace(0.01, 100, 20)]
        images += [np.full((1, 1, 4, 4), value) for value in (0.0, 0.5, 1.0)]
        alone = [ImageSet.from_arrays(x, np.array([i % 3]), "abc") for i, x in enumerate(images)]
        lengths = [np.linalg.norm(sums(made, one, SeededSource(0))[0]) for one in alone]
        return np.array(lengths), made.plan["contribution"]

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        truth, noisy = sums(made, base, source)
        return noisy, truth

    return MethodRow(
        name=name,
        subject=Merf,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=Neighbours.REPLACE_ONE,
        budget=BUDGET,
        audit_budget=AUDITED,
        extremes=(one, other),
        data=lambda seed: data.pictures(seed, _PICTURES),
        neighbour=data.replace_picture,
        numbers=lambda artefact: {
            **artefact.tensors,
            "images": artefact.data.images,
            "labels": artefact.data.labels,
        },
        parts=lambda plan, facts: Parts().gaussian(plan["mean_sensitivity"], plan["mean_stddev"]),
        paid_for=frozenset({"class_prior"}),
        alternatives={
            "features": 60,
            "bandwidth": 0.3,
            "smoothing": 9.0,
            "count_share": 0.2,
            "class_prior": {"a": 0.8, "b": 0.1, "c": 0.1},
            "samples": 7,
            "steps": 3,
            "batch": 9,
            "learning_rate": 0.1,
            "frequencies_per_step": 5,
            "latent": 3,
            "hidden": 5,
            "width": 6,
            "seed": 2,
            "device": "cuda",
        },
        samples=samples,
        runs=500,
        slow_runs=5000,
        error=lambda made, source: float(np.abs(noise_of(base, 1, 1)(made, source)).mean()),
        reach=lambda made: (
            sums(made, other, SeededSource(7))[1] - sums(made, one, SeededSource(7))[1]
        ),
        noise=noise_of(base, 400, 1),
        norms=norms,
        identity=identity,
        huge=Budget(5e3, 0.03),
        tolerance=0.03,
        one_run=one_run,
        canaries=120,
    )


def _extreme_pictures(base: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Neighbours whose first picture is of one class or another."""
    both = []
    for label in (0, 1):
        images, labels = base.images, base.labels.copy()
        images[0], labels[0] = float(label), label
        both.append(ImageSet.from_arrays(images, labels, PICTURES.classes))
    return both[0], both[1]

"""Rows of methods that publish one image for each private one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PICTURES
from battery.row import Array, MethodRow, Row
from battery.rows.common import noise_of
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.images.gaussian import GaussianNoise
from sfumato.publish.images.pixelate import Pixelate
from sfumato.publish.method import Calibrated, silent
from sfumato.release.release import Artefact

PURE, ROUGH = Budget(1.0), Budget(1.0, 1e-6)
RECORDS = 30


def pixelate(name: str, **settings: Any) -> MethodRow:
    """Blocks of 3 x 3 pixels in images of 4 x 4: most are cut by the border."""
    return _images(
        name,
        Pixelate,
        {"block": 3, "pixels": 4, **settings},
        {"block": 2, "pixels": 3, "label_share": 0.3},
        pure=True,
    )


def gaussian(name: str, **settings: Any) -> MethodRow:
    """Noise on pixels, for whole images or some of their pixels."""
    other = {"pixels": 9 if settings.get("pixels") else 3, "contrast": 0.2, "label_share": 0.3}
    return _images(name, GaussianNoise, settings, other, pure=False)


def _images(
    name: str,
    subject: type,
    settings: Mapping[str, Any],
    alternatives: Mapping[str, Any],
    *,
    pure: bool,
) -> MethodRow:
    labelled = bool(settings.get("label_share"))
    pixels = settings.get("pixels") or 16

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = PICTURES, **changed: Any) -> Calibrated:
        budget = Budget(budget.epsilon) if pure else budget
        return subject(**{**settings, **changed}).calibrate(budget, facts)

    base = data.pictures(0, RECORDS)
    one, other = (_extreme(base, pixels, value) for value in (0.0, 1.0))

    def released(made: Calibrated, private: ImageSet, source: NoiseSource) -> Array:
        found: Any = made.run(private, source, silent).data
        return np.asarray(found.images, np.float64)

    def changed(made: Calibrated) -> Array:
        """What is transformed of the extremes, noise aside: how far they are apart."""
        transform = made.run.transform  # type: ignore[attr-defined]
        shown = transform.sums if isinstance(made.method, Pixelate) else transform.clipped
        return np.ravel(shown(other.images[:1]) - shown(one.images[:1]))

    def samples(made: Calibrated, private: ImageSet, runs: int, source: NoiseSource) -> Array:
        copies = private.select(np.zeros(runs, np.int64))
        return released(made, copies, source).reshape(runs, -1) @ _corner(pixels).ravel()

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        made = row.make(row.audit_budget)
        images = np.where(included[:, None, None, None], other.images[:1], one.images[:1])
        private = ImageSet.from_arrays(images, np.zeros(len(included), np.int64), PICTURES.classes)
        return released(made, private, source).reshape(len(included), -1) @ _corner(pixels).ravel()

    def reports(made: Calibrated, records: Array, source: NoiseSource) -> Array:
        private = ImageSet.from_arrays(
            records.astype(np.float32), np.zeros(len(records), np.int64), PICTURES.classes
        )
        return released(made, private, source)

    def stretch(records: Array, i: int) -> Array:
        changed = records.copy()
        changed[i] = 1.0
        return changed

    def exact(made: Calibrated, private: ImageSet) -> Array:
        """What would be released without noise."""
        images = private.images.astype(np.float64)
        if not isinstance(made.method, Pixelate):
            return images
        block, found = made.method.block, np.empty_like(images)
        for y in range(0, 4, block):
            for x in range(0, 4, block):
                cell = (slice(None), slice(None), slice(y, y + block), slice(x, x + block))
                found[cell] = images[cell].mean(axis=(2, 3), keepdims=True)
        return found

    def error(made: Calibrated, source: NoiseSource) -> float:
        return float(np.abs(released(made, base, source) - exact(made, base)).mean())

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        return released(made, base, source), exact(made, base)

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        if pure:
            found = Parts().laplace(plan["distance"], plan["scale"])
        else:
            found = Parts().gaussian(plan["distance"], plan["stddev"])
        if "label_noise_probability" in plan:
            found = found.response(plan["label_noise_probability"], len(facts.classes))
        return found

    def numbers(artefact: Artefact) -> dict[str, Array]:
        published: Any = artefact.data
        found = {"images": published.images}
        # Labels that are declared public are no secret to keep.
        return found | {"labels": published.labels} if labelled else found

    def neighbour(private: ImageSet, rng: np.random.Generator) -> ImageSet:
        images, labels = private.images, private.labels.copy()
        at = int(rng.integers(len(labels)))
        flat = images[at].reshape(-1)
        where = rng.choice(16, pixels, replace=False)
        flat[where] = rng.random(pixels) if rng.random() < 0.5 else float(rng.integers(2))
        if labelled:
            labels[at] = rng.integers(3)
        return ImageSet.from_arrays(images, labels, PICTURES.classes)

    return MethodRow(
        name=name,
        subject=subject,
        settings=settings,
        make=make,
        facts=PICTURES,
        neighbours=Neighbours.REPLACE_ONE,
        budget=PURE if pure else ROUGH,
        audit_budget=Budget(4.0) if pure else Budget(4.0, 1e-6),
        pure=pure,
        extremes=(one, other),
        data=lambda seed: data.pictures(seed, RECORDS),
        neighbour=neighbour,
        numbers=numbers,
        parts=parts,
        alternatives=alternatives,
        samples=samples,
        runs=20_000,
        error=error if not labelled else None,
        reach=changed,
        noise=None if labelled else noise_of(base.select(np.arange(3)), 300),
        norms=lambda made: _norms(made, changed(made), pure),
        reports=reports,
        records=base.images,
        stretch=stretch,
        identity=identity if not labelled else None,
        huge=Budget(2000.0) if pure else Budget(3e5, 0.02),
        tolerance=0.05,
        one_run=one_run,
    )


def _norms(made: Calibrated, apart: Array, pure: bool) -> tuple[Array, float]:
    """How far the extremes are apart, and how far any two may be."""
    order = 1 if pure else 2
    return np.array([np.linalg.norm(apart, order)]), made.plan["distance"] * (1 + 1e-6)


def _corner(pixels: int) -> Array:
    """(4, 4) of as many ones, row by row."""
    return (np.arange(16) < pixels).astype(np.float64).reshape(4, 4)


def _extreme(base: ImageSet, pixels: int, value: float) -> ImageSet:
    """The pictures, of the first of which so many pixels have this value and the others none."""
    images = base.images
    corner = _corner(pixels).astype(bool)
    images[0, 0] = np.where(corner, value, 0.0)
    labels = base.labels.copy()
    labels[0] = int(value)
    return ImageSet.from_arrays(images, labels, PICTURES.classes)

"""Likeness of images: distances with known values, and sets that are alike or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import linalg

from sfumato.data import ImageSet
from sfumato.errors import InputError, MissingExtraError
from sfumato.measure import extractors
from sfumato.measure.evaluation import Evaluation
from sfumato.measure.extractors import Extractor, extractor
from sfumato.measure.fidelity import Fidelity, fidelity, frechet, precision_recall
from sfumato.vision import pretrained


def test_the_frechet_distance_is_that_of_the_textbook() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 1
    first, second = (np.cov(x, rowvar=False, bias=True) for x in (a, b))
    shift = a.mean(axis=0) - b.mean(axis=0)
    expected = shift @ shift + np.trace(first + second - 2 * linalg.sqrtm(first @ second).real)
    assert frechet(a, b) == pytest.approx(expected)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a + 2) == pytest.approx(24)  # six coordinates, each moved by 2


def test_precision_and_recall_see_lost_modes_and_made_up_ones() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(200, 4)), rng.normal(size=(200, 4)) + 50
    both = np.concatenate([left, right])
    precision, recall = precision_recall(rng.normal(size=(200, 4)), both, 3)
    assert precision > 0.8
    assert 0.4 < recall < 0.55  # nothing of the right half
    precision, recall = precision_recall(both, left, 3)
    assert 0.4 < precision < 0.55
    assert recall > 0.95
    # Planted defect: counting a point as its own neighbour would make every radius smaller.
    grid = np.arange(8.0)[:, None]
    assert precision_recall(grid + 0.9, grid, 1) == (1.0, 1.0)


@pytest.mark.parametrize("which", [extractors.SCATTERING, None])
def test_like_images_are_nearer_than_unlike_ones(make_pictures: Any, which: str | None) -> None:
    members, others, release = (make_pictures(120, seed) for seed in (1, 2, 3))
    alike = fidelity(release, members, others, which=which)
    noise = np.random.default_rng(0).integers(0, 256, release.images.shape, np.uint8)
    unlike = fidelity(
        ImageSet.from_arrays(noise, release.labels, release.schema.classes),
        members,
        others,
        which=which,
    )
    assert alike.images == 120
    assert unlike.frechet > 4 * alike.frechet
    assert unlike.frechet_floor == alike.frechet_floor
    assert unlike.precision < 0.2 < alike.precision
    assert Fidelity.from_dict(alike.to_dict()) == alike


def test_any_shape_of_image_has_features() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 8, 8), (3, 16, 20), (2, 5, 4)):
        found = extractor(extractors.SCATTERING).compute(rng.random((5, *shape), np.float32))
        assert found.shape == (5, shape[0] * 81 * 4)
        assert np.isfinite(found).all()


def test_the_imagenet_network_gives_its_pooled_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    network = pretrained.load(64, "random")
    monkeypatch.setattr(extractors, "_imagenet", lambda: network.eval())
    found = extractor(extractors.IMAGENET)
    pictures = np.random.default_rng(0).random((3, 1, 12, 12), np.float32)
    assert found.compute(pictures).shape == (3, 1280)
    assert found.compute(np.repeat(pictures, 2, axis=1)) == pytest.approx(found.compute(pictures))
    assert "ImageNet" in found.name


def test_unknown_missing_and_few_are_refused(
    make_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="unknown extractor 'inception'"):
        extractor("inception")
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package")
    extractors._imagenet.cache_clear()
    with pytest.raises(MissingExtraError):
        extractor(extractors.IMAGENET)
    assert isinstance(extractor(), Extractor)
    with pytest.raises(InputError, match="12 images of each set to compare"):
        fidelity(make_pictures(12, 1), make_pictures(40, 2), make_pictures(40, 3))
    with pytest.raises(InputError, match="cannot be read"):
        Fidelity.from_dict({"frechet": 1.0})


def test_evaluations_from_before_it_was_measured_can_be_read() -> None:
    values = Evaluation().to_dict()
    del values["fidelity"]
    import json

    assert Evaluation.from_json(json.dumps(values)).fidelity is None

"""Drawing from a released generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.publish.generators.networks import Architecture, weights
from sfumato.publish.generators.sampling import PRIOR, apportion, sample
from sfumato.release.release import Artefact, Release

PLAN = Architecture((1, 8, 8), 3, latent=4, hidden=10, width=8)
ARCHITECTURE = {**PLAN.to_dict(), PRIOR: [0.5, 0.3, 0.2]}


def release(architecture: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Release:
    data = ImageSet.from_arrays(np.zeros((1, 8, 8), np.uint8), np.zeros(1, int), ("a", "b", "c"))
    return Release(card=None, artefact=Artefact(data, tensors, architecture))  # type: ignore[arg-type]


GOOD = release(ARCHITECTURE, weights(PLAN.build()))


@pytest.mark.parametrize("n", [1, 7, 501, 1000])
def test_classes_have_the_prior_s_proportions(n: int) -> None:
    drawn = sample(GOOD, n)
    counts = np.bincount(drawn.labels, minlength=3)
    assert counts.sum() == len(drawn.images) == n
    assert np.abs(counts - n * np.array([0.5, 0.3, 0.2])).max() < 1


def test_classes_come_in_random_order() -> None:
    labels = sample(GOOD, 300).labels
    assert (np.diff(labels) != 0).sum() > 100


@pytest.mark.parametrize("prior", [[1.0], [0.25] * 4, [0.7, 0.2, 0.1], [0.0, 1.0]])
@pytest.mark.parametrize("n", [0, 1, 2, 13])
def test_apportioned_numbers_sum_to_what_was_asked(prior: list[float], n: int) -> None:
    counts = apportion(np.array(prior), n)
    assert counts.sum() == n
    assert np.abs(counts - n * np.array(prior)).max() < 1


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (1.5, 0), (True, 0), (1, -1), (1, None)])
def test_numbers_out_of_range_are_refused(n: Any, seed: Any) -> None:
    with pytest.raises(InputError):
        sample(GOOD, n, seed)


def test_a_release_without_a_generator_is_refused() -> None:
    with pytest.raises(InputError, match="no generator"):
        sample(release({}, {}), 1)


def test_a_damaged_release_is_refused() -> None:
    with pytest.raises(InputError, match="class prior"):
        sample(release(PLAN.to_dict(), GOOD.artefact.tensors), 1)
    with pytest.raises(InputError, match="weights"):
        sample(release(ARCHITECTURE, {}), 1)

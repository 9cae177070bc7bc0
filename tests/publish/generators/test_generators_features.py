"""The feature map: bounded beyond doubt, additive over records, and the kernel it claims to be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import InputError
from sfumato.publish.generators.features import STEP, FourierFeatures

UNIT = 1 << 30
SHAPE, CLASSES = (1, 3, 4), 3
Records = tuple[np.ndarray, np.ndarray]
Sums = Callable[[Iterable[Records]], Any]


def feature_map(**changes: Any) -> FourierFeatures:
    public = {
        "shape": SHAPE,
        "classes": CLASSES,
        "bandwidths": (0.4,),
        "smoothing": 0.5,
        "pairs": 7,
        "count_share": 0.04,
        "seed": 3,
    }
    return FourierFeatures(**{**public, **changes})


FEATURES = feature_map()


def records(seed: int, n: int) -> Records:
    """Images that include the corners of the domain, and labels."""
    rng = np.random.default_rng(seed)
    images = rng.random((n, *SHAPE), dtype=np.float32)
    images[rng.random(n) < 0.3] = rng.integers(0, 2)
    return images, rng.integers(0, CLASSES, n)


def replaced(data: Records, row: int, seed: int) -> Records:
    images, labels = data[0].copy(), data[1].copy()
    image, label = records(seed, 1)
    images[row], labels[row] = image[0], label[0]
    return images, labels


def moved(sums: Sums, data: Records, other: Records) -> float:
    """Squared distance of two data sets' sums, in exact arithmetic where they are integers."""
    apart = np.asarray(sums([data]) - sums([other])).ravel()
    if apart.dtype.kind == "i":
        return float(sum(int(x) ** 2 for x in apart))
    return math.fsum(float(x) ** 2 for x in apart)


def check_sensitivity(sums: Sums, data: Records, row: int, seed: int) -> None:
    """Replacing a record moves the sum by at most 2, so the mean by at most 2 / n."""
    assert moved(sums, data, replaced(data, row, seed)) <= (2 * UNIT) ** 2


def check_additive(sums: Sums, data: Records, cut: int) -> None:
    """What a record contributes does not depend on which others are in its batch."""
    images, labels = data
    parts = [(images[:cut], labels[:cut]), (images[cut:], labels[cut:])]
    apart = np.abs(np.asarray(sums([data]) - sums(parts)))
    assert apart.max() == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.data(), st.integers(0, 2**32))
def test_replacing_a_record_moves_the_sum_by_at_most_two(
    seed: int, n: int, data: st.DataObject, other: int
) -> None:
    check_sensitivity(FEATURES.sums, records(seed, n), data.draw(st.integers(0, n - 1)), other)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 9), st.data())
def test_sums_are_the_same_in_any_batches(seed: int, n: int, data: st.DataObject) -> None:
    check_additive(FEATURES.sums, records(seed, n), data.draw(st.integers(1, n - 1)))


def by_realised_count(batches: Iterable[Records]) -> np.ndarray:
    """Planted: means of each class, scaled by the public n as if each class had its n / K."""
    batches = list(batches)
    labels = np.concatenate([batch[1] for batch in batches])
    counts = np.maximum(np.bincount(labels, minlength=CLASSES), 1)
    return FEATURES.sums(batches) / counts[:, np.newaxis] * (len(labels) / CLASSES)


def by_batch_maximum(batches: Iterable[Records]) -> np.ndarray:
    """Planted: pixels divided by the largest of their batch."""
    return FEATURES.sums((images / images.max(), labels) for images, labels in batches)


def float32_without_room(batches: Iterable[Records]) -> np.ndarray:
    """Planted: unscaled cosines and sines, of norm sqrt(m)."""
    total = np.zeros(FEATURES.coordinates)
    for images, labels in batches:
        encoded = FEATURES.encode(images) * math.sqrt(FEATURES.pairs)
        np.add.at(total, labels, encoded)
    return total


@pytest.mark.parametrize("planted", [by_realised_count, float32_without_room])
def test_a_planted_sensitivity_is_found(planted: Sums) -> None:
    found = 0
    for seed in range(40):
        data = records(seed, 30)
        data[1][1:] = np.minimum(data[1][1:], 1)
        data[1][0] = 2  # one record of a rare class
        try:
            check_sensitivity(planted, data, 0, seed + 1000)
            check_sensitivity(FEATURES.sums, data, 0, seed + 1000)
        except AssertionError:
            found += 1
            check_sensitivity(FEATURES.sums, data, 0, seed + 1000)
    assert found > 0


def test_a_planted_normalisation_by_the_batch_is_found() -> None:
    rng = np.random.default_rng(0)
    data = (rng.random((6, *SHAPE), dtype=np.float32) * 0.8, np.arange(6) % CLASSES)
    check_additive(FEATURES.sums, data, 3)
    with pytest.raises(AssertionError):
        check_additive(by_batch_maximum, data, 3)


@pytest.mark.parametrize("pairs", [1, 3, 500, 5000])
@pytest.mark.parametrize("share", [1e-6, 0.04, 0.5])
def test_no_record_can_be_longer_than_one(pairs: int, share: float) -> None:
    """By the tables, for every phase that any image could have."""
    features = feature_map(pairs=pairs, count_share=share)
    count, _ = features.amplitudes
    cosine, sine = features.tables
    longest = max(int(c) ** 2 + int(s) ** 2 for c, s in zip(cosine, sine, strict=True))
    squared = count**2 + pairs * longest
    assert squared <= UNIT**2
    assert squared > 0.999 * UNIT**2  # and hardly anything is given away


def test_the_diameter_is_reached() -> None:
    """Two images with opposite features exist, so the bound of 2 is not slack."""
    features = feature_map(pairs=1, smoothing=0.0, bandwidths=(0.2,), count_share=1e-6)
    wave = features.angular[:, 0]
    far = np.where(wave > 0, math.pi / np.abs(wave).sum() * 1.0, 0.0)
    near = np.where(wave < 0, math.pi / np.abs(wave).sum() * 1.0, 0.0)
    assert max(far.max(), near.max()) <= 1
    images = np.stack([far, near]).reshape(2, *SHAPE).astype(np.float32)
    labels = np.zeros(1, np.int64)
    distance = math.sqrt(moved(features.sums, (images[:1], labels), (images[1:], labels)))
    assert 1.99 * UNIT < distance <= 2 * UNIT


def test_a_record_stays_in_its_own_class() -> None:
    images, _ = records(1, 1)
    sums = FEATURES.sums([(images, np.array([1]))])
    assert not sums[0].any()
    assert not sums[2].any()
    assert sums[1, 0] == FEATURES.amplitudes[0]


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_inner_products_are_the_gaussian_kernel_of_smoothed_images(smoothing: float) -> None:
    """Random features err by a standard deviation of at most 1/sqrt(m); 6 of them are allowed."""
    from scipy.ndimage import gaussian_filter

    pairs, bandwidth, shape = 4000, 0.8, (1, 6, 6)
    features = feature_map(
        shape=shape, pairs=pairs, bandwidths=(bandwidth,), smoothing=smoothing, count_share=0.25
    )
    images = np.random.default_rng(5).random((8, *shape), dtype=np.float32)
    encoded = features.encode(images) * STEP
    seen = np.rint(images * 255) / 255
    if smoothing:
        seen = gaussian_filter(seen, (0, 0, smoothing, smoothing), mode="constant", truncate=6.0)
    apart = ((seen[:, np.newaxis] - seen[np.newaxis]) ** 2).sum(axis=(2, 3, 4))
    kernel = 0.25 + 0.75 * np.exp(-apart / (2 * bandwidth**2))
    assert np.abs(encoded @ encoded.T - kernel).max() < 6 / math.sqrt(pairs)
    assert np.ptp(kernel) > 20 / math.sqrt(pairs)  # the kernel is far from constant


def test_training_sees_the_frequencies_that_were_measured() -> None:
    images, _ = records(2, 5)
    images = np.rint(images * 255) / 255
    phase = images.reshape(5, -1) @ FEATURES.angular
    wave = FEATURES.amplitudes[1]
    expected = np.hstack([np.cos(phase), np.sin(phase)]) * wave
    assert np.abs(FEATURES.encode(images)[:, 1:] - expected).max() < 3e-4 * wave


def test_several_bandwidths_share_the_frequencies() -> None:
    features = feature_map(pairs=3000, bandwidths=(0.5, 2.0), smoothing=0.0)
    spread = features.angular.std(axis=0)
    narrow, wide = (spread[features.length_scales == scale].mean() for scale in (0.5, 2.0))
    assert narrow == pytest.approx(2.0, rel=0.1)
    assert wide == pytest.approx(0.5, rel=0.1)


def test_the_map_is_a_function_of_public_choices_alone() -> None:
    assert np.array_equal(feature_map().waves, feature_map().waves)
    assert not np.array_equal(feature_map(seed=4).waves, feature_map().waves)


def test_maps_that_cannot_be_computed_exactly_are_refused() -> None:
    with pytest.raises(InputError, match="too many"):
        feature_map(shape=(3, 1000, 1000), pairs=5000)
    with pytest.raises(InputError, match="too small"):
        _ = feature_map(bandwidths=(1e-9,), smoothing=0.0).waves

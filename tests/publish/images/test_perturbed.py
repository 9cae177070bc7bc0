"""Images changed one by one: what is proven of each, and that nothing else is touched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import InputError
from sfumato.privacy import accounting, events
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.images.blur import Blur
from sfumato.publish.images.gaussian import GaussianNoise
from sfumato.publish.images.pixelate import Cells, Pixelate
from sfumato.publish.method import silent

REPLACE = Neighbours.REPLACE_ONE
PURE, ROUGH = Budget(1.0), Budget(1.0, 1e-5)
SHAPES = pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 7, 11)])


def images(shape: tuple[int, int, int], n: int = 20) -> ImageSet:
    rng = np.random.default_rng(1)
    pixels = rng.random((n, *shape), dtype=np.float32)
    return ImageSet.from_arrays(pixels, rng.integers(0, 2, n), ("no", "yes"))


def published(method: Any, budget: Budget, private: ImageSet, seed: int = 0) -> Any:
    made = method.calibrate(budget, private.schema)
    return made.run(private, SeededSource(seed), silent).data


def cells(block: int) -> Cells:
    facts = ImageSchema(1, 28, 28, ("a",))
    made: Any = Pixelate(block=block).calibrate(PURE, facts)
    found: Cells = made.run.transform
    return found


@SHAPES
def test_no_m_pixels_move_the_cells_further_than_is_paid_for(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    channels, height, width = shape
    facts = ImageSchema(*shape, ("no", "yes"))
    made: Any = Pixelate(block=3, pixels=5).calibrate(PURE, facts)
    transform: Cells = made.run.transform
    worst = 0.0
    for _ in range(300):
        image = rng.integers(0, 2, (1, *shape)).astype(np.float32)
        other = image.copy()
        if rng.random() < 0.5:  # the last ones, where cells are cut
            at = np.arange(height * width - 5, height * width)
        else:
            at = rng.choice(height * width, 5, replace=False)
        other.reshape(1, channels, -1)[:, :, at] = 1 - image.reshape(1, channels, -1)[:, :, at]
        worst = max(worst, float(np.abs(transform.sums(image) - transform.sums(other)).sum()))
    assert worst <= made.plan["distance"] * (1 + 1e-12)
    assert made.plan["distance"] <= transform.sensitivity(REPLACE)
    assert worst > 0.99 * made.plan["distance"]


def test_a_whole_image_costs_what_group_privacy_says() -> None:
    facts = ImageSchema(1, 32, 32, ("no", "yes"))
    made = Pixelate(block=4, pixels=16).calibrate(Budget(0.5), facts)
    assert made.plan["whole_image_epsilon"] == pytest.approx(32)
    assert "For two whole images it is 32 " in made.caveats[0]
    assert made.guarantee.epsilon() == pytest.approx(0.5)
    assert made.guarantee.describe().count("16-pixel part") == 2
    # 8-bit grey levels of the published scale, 255 m / (b^2 epsilon)
    assert 255 * made.plan["scale"] == pytest.approx(510, rel=1e-3)


def test_cells_are_averages_also_where_the_border_cuts_them() -> None:
    private = images((1, 7, 7))
    shown = published(Pixelate(block=3, pixels=1), Budget(1e5), private).images
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        for columns in (slice(0, 3), slice(3, 6), slice(6, 7)):
            cell = private.images[:, :, rows, columns].mean(axis=(2, 3), keepdims=True)
            assert np.abs(shown[:, :, rows, columns] - cell).max() < 0.01


@SHAPES
def test_gaussian_noise_is_for_the_diameter_of_all_images(shape: tuple[int, int, int]) -> None:
    made = GaussianNoise().calibrate(ROUGH, ImageSchema(*shape, ("no", "yes")))
    diameter = math.sqrt(math.prod(shape))
    assert made.plan["distance"] == pytest.approx(diameter)
    assert made.plan["stddev"] == pytest.approx(3.73 * diameter, rel=0.01)
    assert made.plan["whole_image_epsilon"] == pytest.approx(1.0, rel=1e-3)
    half = GaussianNoise(contrast=0.25).calibrate(ROUGH, ImageSchema(*shape, ("no", "yes")))
    assert half.plan["stddev"] == pytest.approx(made.plan["stddev"] / 2)


def test_a_few_pixels_say_what_a_whole_image_costs() -> None:
    facts = ImageSchema(3, 8, 8, ("no", "yes"))
    made = GaussianNoise(pixels=4).calibrate(ROUGH, facts)
    assert made.plan["distance"] == pytest.approx(math.sqrt(12))
    whole = events.GaussianDpEvent(made.plan["stddev"] / (math.sqrt(192) / 2))
    assert made.plan["whole_image_epsilon"] == pytest.approx(
        accounting.epsilon(whole, 1e-5, REPLACE)
    )
    assert made.plan["whole_image_epsilon"] > 4
    assert any("who is shown is not hidden" in line for line in made.caveats)


def test_contrast_is_lowered_image_by_image() -> None:
    made: Any = GaussianNoise(contrast=0.1).calibrate(ROUGH, ImageSchema(1, 4, 4, ("a",)))
    pixels = np.stack([np.full((1, 4, 4), value, np.float32) for value in (0.0, 0.45, 0.55, 1.0)])
    clipped = made.run.transform.clipped(pixels)
    norms = np.sqrt((clipped**2).sum(axis=(1, 2, 3)))
    assert norms.tolist() == pytest.approx([0.4, 0.2, 0.2, 0.4], rel=1e-5)
    assert norms.max() <= made.plan["clip_norm"]
    assert np.array_equal(made.run.transform.clipped(pixels[:1])[0], clipped[0])


@pytest.mark.parametrize("method", [Pixelate(block=2), GaussianNoise(pixels=2), Blur()])
def test_records_keep_their_order_and_labels(method: Any) -> None:
    private = images((1, 8, 8))
    made = method.calibrate(ROUGH, private.schema)
    release = made(private, ledger=Ledger.in_memory())
    assert np.array_equal(release.data.labels, private.labels)
    assert release.data.images.shape == private.images.shape
    assert release.card.plan["aligned"] is True
    assert any("Labels are published as they are" in line for line in made.caveats)
    assert any("in the order of the records" in line for line in made.caveats)
    assert "label of every image" in [fact.name for fact in release.card.facts]


@pytest.mark.parametrize("cls", [Pixelate, GaussianNoise])
def test_labels_can_be_protected_too(cls: Any) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.random((4000, 1, 4, 4), dtype=np.float32)
    private = ImageSet.from_arrays(pixels, np.zeros(4000, np.int64), ("no", "yes"))
    method = cls(label_share=0.5, pixels=2)
    made = method.calibrate(Budget(2.0, 1e-5), private.schema)
    labels = published(method, Budget(2.0, 1e-5), private).labels
    assert (labels == 0).mean() == pytest.approx(math.e / (1 + math.e), abs=0.04)
    assert 1.2 < made.guarantee.epsilon() <= 2.0
    assert "labelled 2-pixel part" in made.guarantee.describe()
    assert not any("published as they are" in line for line in made.caveats)
    assert not any("in the order of the records" in line for line in made.caveats)
    assert not made.public


def test_blur_proves_nothing_and_says_so() -> None:
    private = images((3, 8, 8))
    made = Blur(radius=1.0).calibrate(PURE, private.schema)
    assert math.isinf(made.guarantee.epsilon())
    assert "Nothing is proven" in made.caveats[0]
    shown = published(Blur(radius=1.0), PURE, private).images
    assert np.array_equal(shown, published(Blur(radius=1.0), PURE, private, seed=1).images)
    assert shown.std() < 0.6 * private.images.std()
    assert shown.mean() == pytest.approx(private.images.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda: Pixelate(block=0), "block is 0"),
        (lambda: Pixelate(pixels=0), "pixels is 0"),
        (lambda: Pixelate(label_share=1.0), "label_share is 1.0"),
        (lambda: GaussianNoise(contrast=0.6), "contrast is 0.6"),
        (lambda: GaussianNoise(pixels=-1), "pixels is -1"),
        (lambda: Blur(radius=0), "radius is 0"),
        (lambda: Pixelate(block=9).calibrate(PURE, ImageSchema(1, 8, 8, ("a",))), "block is 9"),
        (lambda: Pixelate(pixels=65).calibrate(PURE, ImageSchema(1, 8, 8, ("a",))), "is 65"),
        (lambda: GaussianNoise(pixels=65).calibrate(ROUGH, ImageSchema(1, 8, 8, ("a",))), "65"),
        (lambda: GaussianNoise().calibrate(PURE, ImageSchema(1, 8, 8, ("a",))), "delta"),
    ],
)
def test_what_cannot_be_is_refused(method: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        method()


@pytest.mark.parametrize("method", [Pixelate(block=4, pixels=4), GaussianNoise(pixels=4)])
def test_pixels_that_left_their_range_since_they_were_checked_reach_no_further(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.full((3, 8, 8), 0.5, np.float32)
    private = ImageSet.from_arrays(pixels, np.zeros(3, np.int64), ("no", "yes"))
    pixels[0, 0, 0], pixels[1, 0, 0], pixels[2, 0, 0] = 1000, -1000, np.nan
    made: Any = method.calibrate(ROUGH, private.schema)
    given: list[np.ndarray] = []
    name = "sums" if isinstance(method, Pixelate) else "clipped"
    original = getattr(type(made.run.transform), name)

    def watched(transform: Any, images: np.ndarray) -> np.ndarray:
        given.append(original(transform, images))
        return given[-1]

    monkeypatch.setattr(type(made.run.transform), name, watched)
    assert len(made.run(private, SeededSource(0), silent).data) == 3
    high, low, none = given[0].reshape(3, -1)
    order = 1 if isinstance(method, Pixelate) else 2
    for one, other in ((high, low), (high, none), (low, none)):
        distance = np.linalg.norm(one - other, order)
        assert distance <= made.run.transform.sensitivity(REPLACE)


@pytest.mark.parametrize("classes", [None, ("no", "yes")])
def test_the_place_of_a_picture_in_a_folder_does_not_tell_a_label_that_is_paid_for(
    tmp_path: Path, classes: tuple[str, str] | None
) -> None:
    """At this epsilon pictures are hardly changed: bright ones are those of the second class."""
    for name, grey in (("no", 0), ("yes", 255)):
        (tmp_path / name).mkdir()
        for number in range(60):
            pixels = np.full((2, 2), grey, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    private = ImageSet.from_folder(tmp_path, classes)

    def bright(label_share: float, of: ImageSet) -> np.ndarray:
        method = Pixelate(block=1, pixels=1, label_share=label_share)
        made = published(method, Budget(100.0), of)
        found: np.ndarray = made.images.mean(axis=(1, 2, 3)) > 0.5
        assert abs(int(found.sum()) - 60) < 10
        return found[60:]

    assert bright(0.0, private).mean() > 0.9  # a label that is public may be told
    for some in (private, private.with_schema(private.schema), private.select(np.arange(120))):
        assert 5 <= bright(0.5, some).sum() <= 55  # outside of it once in 10**18
    mixed = private.shuffled()
    assert np.array_equal(bright(0.5, mixed), mixed.labels[60:] == 1)  # and is not mixed again

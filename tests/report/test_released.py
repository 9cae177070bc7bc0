"""What a release shows of itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sfumato.data import ImageSet
from sfumato.report import compared, released

Make = Callable[..., Any]


def pixels_of(uri: str) -> np.ndarray:
    from PIL import Image

    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_each_column_is_drawn_once_and_the_target_first(make_release: Make) -> None:
    data = make_release().data
    found = released.distributions(data)
    assert [one.name for one in found] == ["ill", "age", "ward", "stage", "score"]
    assert [one.target for one in found] == [True, False, False, False, False]
    codes = data.codes()
    missing = (codes["age"] == data.schema["age"].cardinality).mean()
    assert found[1].note == f"{100 * missing:.1f}".removesuffix(".0") + "\xa0% missing"
    yes = 100 * (codes["ill"] == 1).mean()
    assert f"yes {yes:.1f}".removesuffix(".0") in found[0].drawing


def test_many_ordered_levels_become_a_histogram_and_many_unordered_ones_are_summed_up(
    make_release: Make,
) -> None:
    drawn = {one.name: str(one.drawing) for one in released.distributions(make_release().data)}
    assert "From grade 0 to grade 11" in drawn["score"]
    assert "From 0 to 99" in drawn["age"]
    assert "6 others" in drawn["ward"]
    assert drawn["stage"].index("early") < drawn["stage"].index("middle")


def test_an_other_level_stays_with_the_others() -> None:
    names, shares, real = released._largest(
        ["a", released.OTHER, "b"], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], ordered=False
    )
    assert names == ["b", "a", "others"]
    assert shares == [0.3, 0.1, 0.6]
    assert real == [0.3, 0.2, 0.5]
    many = [f"l{i}" for i in range(14)] + [released.OTHER]
    names, shares, _ = released._largest(many, [1 / 15] * 15, None, ordered=False)
    assert names[-1] == "others"
    assert sum(shares) == pytest.approx(1)
    assert len(names) == released.LEVELS


def test_pictures_are_the_released_pixels(make_release: Make) -> None:
    data = make_release("images").data
    rows = released.pictures(data)
    assert [row.label for row in rows] == ["none", "mild", "severe"]
    assert [row.note for row in rows] == ["80 pictures"] * 3
    sheet = pixels_of(rows[1].uri)
    assert sheet.shape[:2] == (rows[1].height, rows[1].width)
    zoom = sheet.shape[0] // 6
    first = data.images[data.labels == 1][0, 0]
    assert np.array_equal(sheet[::zoom, ::zoom][:6, :5, 0], np.rint(first * 255).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_of_any_number_of_channels_can_be_shown(channels: int) -> None:
    images = np.full((2, channels, 30, 40), 0.5, np.float32)
    sheet = released.contact_sheet(images, 3)
    assert sheet.shape == (30, 3 * 43 - 3, 4)
    assert set(np.unique(sheet[:, :40, :3])) == {128}
    assert sheet[:, 43 + 40 :, 3].max() == 0  # the third place is blank


def test_classes_without_pictures_are_left_out_and_one_is_no_plural() -> None:
    data = ImageSet.from_arrays(np.zeros((1, 1, 4, 4), np.float32), np.array([1]), ("a", "b"))
    rows = released.pictures(data)
    assert [row.label for row in rows] == ["b"]
    assert rows[0].alt == "1 released picture of class b"
    assert rows[0].note == "1 picture"


def test_soft_labels_say_how_sure_they_are_on_average() -> None:
    soft = np.array([[0.75, 0.25], [0.2, 0.8], [0.4, 0.6]], np.float32)
    data = ImageSet.from_arrays(
        np.zeros((3, 1, 4, 4), np.float32), np.array([0, 1, 1]), ("a", "b"), soft_labels=soft
    )
    assert [row.note.replace("\xa0", " ") for row in released.pictures(data)] == [
        "1 picture, soft labels of 75 % on average",
        "2 pictures, soft labels of 70 % on average",
    ]


def test_an_empty_release_is_drawn_without_dividing_by_nothing() -> None:
    assert released._shares([0, 0]) == [0.0, 0.0]


def test_real_and_released_stand_beside_each_other(
    make_release: Make, make_evaluation: Make
) -> None:
    release = make_release()
    view = compared.compared(make_evaluation(release).distributions, "ill")
    drawn = {one.name: one for one in view["distributions"]}
    assert next(iter(drawn)) == "ill"
    assert "real-tick" in drawn["ward"].drawing
    assert "real-outline" in drawn["age"].drawing
    assert "missing" in drawn["age"].note
    assert drawn["stage"].note.startswith("TVD 0.")
    assert "From 0 to 99" in drawn["age"].drawing


def test_means_of_classes_are_cut_out_of_their_sheet(
    make_release: Make, make_evaluation: Make
) -> None:
    release = make_release("images")
    view = compared.compared(make_evaluation(release).distributions, None)
    assert [row["label"] for row in view["means"]] == ["none", "mild", "severe"]
    made = view["means"][2]["images"][1]
    mean = release.data.images[release.data.labels == 2].mean(axis=0)[0]
    sheet = pixels_of(made.uri)
    zoom = sheet.shape[0] // 6
    assert np.array_equal(sheet[::zoom, ::zoom, 0], np.rint(mean * 255).astype(np.uint8))
    assert view["distributions"][0].name == "classes"


def test_colour_means_keep_their_colours(make_evaluation: Make, make_release: Make) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((60, 3, 6, 5)).astype(np.float32)
    data = ImageSet.from_arrays(pixels, np.arange(60) % 2, ("a", "b"))
    release = make_release("images", data=data)
    view = compared.compared(make_evaluation(release, real=data).distributions, None)
    sheet = pixels_of(view["means"][0]["images"][0].uri)
    mean = pixels[::2].mean(axis=0)
    zoom = sheet.shape[0] // 6
    assert np.array_equal(
        sheet[::zoom, ::zoom, :3], np.rint(mean * 255).astype(np.uint8).transpose(1, 2, 0)
    )


def test_nothing_compared_is_nothing_drawn() -> None:
    assert compared.compared({}, None)["distributions"] == []

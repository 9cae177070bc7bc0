from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.data import Categorical, ImageSet, Numeric, Ordinal, Schema, Table
from sfumato.errors import InputError
from sfumato.measure.distributions import MISSING, OTHER, distributions


def test_histograms_of_every_kind_of_column() -> None:
    schema = Schema(
        (
            Numeric("few", 0, 4, 2),
            Numeric("many", 0, 99, 1, missing=True, integer=True),
            Numeric("huge", 0, 2_000_000_000, 1),
            Categorical("plain", ("a", "b")),
            Categorical("wide", tuple(f"w{i}" for i in range(30)), missing=True),
            Ordinal("rank", tuple(f"r{i}" for i in range(25))),
        )
    )
    rng = np.random.default_rng(0)

    def rows(seed: int) -> Table:
        rng = np.random.default_rng(seed)
        codes = {c.name: rng.integers(0, c.size, 400) for c in schema}
        return Table.from_codes({**codes, "wide": rng.geometric(0.2, 400) % 31}, schema)

    real, released = rows(1), rows(2)
    drawn = distributions(released, real)
    assert drawn["kind"] == "table"
    columns = {column["name"]: column for column in drawn["columns"]}
    assert tuple(columns) == schema.names
    for column in columns.values():
        assert len(column["labels"]) == len(column["real"]) == len(column["released"]) <= 21
        assert sum(column["real"]) == pytest.approx(1)
        assert sum(column["released"]) == pytest.approx(1)
        assert 0 <= column["tvd"] <= 1
    assert columns["few"]["labels"] == ["0", "2", "4"]
    assert columns["plain"]["real"] == [np.mean(real.codes()["plain"] == c) for c in (0, 1)]
    many = columns["many"]
    assert many["labels"][0] == "0 to 4"
    assert many["labels"][-2:] == ["95 to 99", MISSING]
    codes = real.codes()["many"]
    for label, share in zip(many["labels"][:-1], many["real"], strict=False):
        low, high = label.split(" to ")
        assert share == pytest.approx(np.mean((codes >= int(low)) & (codes <= int(high))))
    assert columns["rank"]["labels"][:2] == ["r0 to r1", "r2"]
    assert columns["wide"]["labels"][-1] == OTHER
    assert columns["wide"]["real"][:-1] == sorted(columns["wide"]["real"][:-1], reverse=True)
    assert len(columns["huge"]["labels"]) == 20
    assert json.dumps(drawn, allow_nan=False)
    assert rng is not None


def decoded(picture: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["png"]))))


def test_images_are_shown_as_released_and_real_ones_only_as_means(make_pictures: Any) -> None:
    real, released = make_pictures(200, 1), make_pictures(40, 2)
    drawn = distributions(released, real)
    assert drawn["kind"] == "images"
    assert drawn["classes"] == ["left", "middle", "right"]
    assert sum(drawn["real"]) == pytest.approx(1)
    grid = decoded(drawn["grid"])
    assert grid.shape == (3 * 9 + 1, 8 * 9 + 1)
    assert (drawn["grid"]["rows"], drawn["grid"]["columns"]) == (3, 8)
    tiles = {
        grid[1 + 9 * r : 9 + 9 * r, 1 + 9 * c : 9 + 9 * c].tobytes()
        for r in range(3)
        for c in range(8)
    }
    as_bytes = {
        np.rint(np.clip(i[0], 0, 1) * 255).astype(np.uint8).tobytes() for i in released.images
    }
    private = {np.rint(np.clip(i[0], 0, 1) * 255).astype(np.uint8).tobytes() for i in real.images}
    assert len(tiles & as_bytes) == 24
    means = decoded(drawn["real_means"])
    shown = {means[1 + 9 * r : 9 + 9 * r, 1:9].tobytes() for r in range(3)}
    assert not private & (tiles | shown)
    expected = real.images[real.labels == 0].mean(axis=0)[0] * 255
    np.testing.assert_allclose(means[1:9, 1:9], expected, atol=0.6)
    assert json.dumps(drawn, allow_nan=False)


def test_the_mean_of_few_real_images_is_not_shown() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((42, 3, 4, 4), dtype=np.float32) * 0.5
    labels = np.repeat([0, 1, 2], [20, 19, 3])
    data = ImageSet.from_arrays(images, labels, ("a", "b", "c", "never"))
    drawn = distributions(data, data)
    means = decoded(drawn["real_means"])
    assert means.shape == (4 * 5 + 1, 6, 3)
    assert means[1:5, 1:5].max() < 200
    for row in (1, 2, 3):
        assert (means[1 + 5 * row : 5 + 5 * row, 1:5] == 255).all()


def test_unlike_data_is_refused(make_people: Any, make_pictures: Any) -> None:
    with pytest.raises(InputError, match="the real records are images"):
        distributions(make_people(20, 0), make_pictures(20, 0))

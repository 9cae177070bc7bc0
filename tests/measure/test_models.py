from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.measure import features, models

FAMILIES = (models.LINEAR, models.FOREST, models.BOOSTING)
EACH = pytest.mark.parametrize("family", FAMILIES)


def parts(table: Any, target: str) -> tuple[tuple[Any, ...], np.ndarray, np.ndarray]:
    at = table.schema.names.index(target)
    codes = features.codes(table)
    columns = tuple(c for c in table.schema if c.name != target)
    return columns, np.delete(codes, at, axis=1), codes[:, at].astype(np.int64)


@EACH
def test_learns_levels(family: str, make_people: Any) -> None:
    columns, x, y = parts(make_people(2000, 0), "owner")
    _, new, truth = parts(make_people(1000, 1), "owner")
    predict = models.classifier(family, columns, x, y, 2, 0).predict
    probabilities = predict(new)
    assert probabilities.shape == (1000, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.mean(probabilities.argmax(axis=1) == truth) > 0.75 > max(np.mean(truth), 0.6)


@EACH
def test_learns_numbers(family: str, make_people: Any) -> None:
    columns, x, y = parts(make_people(2000, 0), "age")
    _, new, truth = parts(make_people(1000, 1), "age")
    guess = models.regressor(family, columns, x, y.astype(float), 0).predict(new)
    assert np.mean((guess - truth) ** 2) < 0.75 * np.var(truth)


@EACH
def test_a_class_that_was_not_seen_gets_nothing(family: str, make_people: Any) -> None:
    columns, x, y = parts(make_people(500, 0), "town")
    kept = ~np.isin(y, [0, 5])
    probabilities = models.classifier(family, columns, x[kept], y[kept], 12, 0).predict(x)
    assert probabilities.shape == (500, 12)
    assert not probabilities[:, [0, 5]].any()


@EACH
def test_one_class_or_one_number_is_predicted_always(family: str, make_people: Any) -> None:
    columns, x, y = parts(make_people(50, 0), "owner")
    fitted = models.classifier(family, columns, x, np.ones_like(y), 3, 0)
    assert fitted.constant
    np.testing.assert_array_equal(fitted.predict(x), np.tile([0, 1, 0], (50, 1)))
    number = models.regressor(family, columns, x, np.full(50, 7.5), 0)
    assert number.constant
    np.testing.assert_array_equal(number.predict(x), np.full(50, 7.5))


@EACH
def test_the_same_seed_gives_the_same_model(family: str, make_people: Any) -> None:
    columns, x, y = parts(make_people(300, 0), "owner")
    one, again = (models.classifier(family, columns, x, y, 2, 3).predict(x) for _ in range(2))
    np.testing.assert_array_equal(one, again)

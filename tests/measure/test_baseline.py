"""Models of real records, fitted once for many releases."""

from __future__ import annotations

from typing import Any

import pytest

from sfumato.errors import InputError
from sfumato.measure.baseline import Baseline
from sfumato.measure.task import Limits
from sfumato.measure.utility import utility

SMALL = Limits(train_rows=300, test_rows=200)


def test_a_baseline_of_its_own_or_one_fitted_before_give_the_same_matrix(make_people: Any) -> None:
    train, test, release = (make_people(400, seed) for seed in (1, 2, 3))
    fitted = Baseline.fit(release.schema, train, test, seed=4, limits=SMALL)
    assert utility(release, train, test, baseline=fitted) == utility(
        release, train, test, seed=4, limits=SMALL
    )


def test_real_models_are_trained_once_for_all_releases(
    make_people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.measure import models

    trained: list[int] = []
    classifier = models.classifier

    def counted(*args: Any) -> Any:
        trained.append(len(args[2]))
        return classifier(*args)

    monkeypatch.setattr(models, "classifier", counted)
    train, test = make_people(120, 1), make_people(100, 2)
    fitted = Baseline.fit(train.schema, train, test)
    for size in (200, 300):
        utility(make_people(size, 3), train, test, baseline=fitted)
    assert trained == 3 * [120] + 3 * [160] + 3 * [240]


def test_a_baseline_of_another_task_is_refused(make_people: Any, make_pictures: Any) -> None:
    train, test = make_people(60, 1), make_people(60, 2)
    other = Baseline.fit(train.schema.with_target("job"), train, test)
    with pytest.raises(InputError, match="another task"):
        utility(train, train, test, baseline=other)
    pictures = make_pictures(60, 1)
    with pytest.raises(InputError, match="another task"):
        utility(pictures, pictures, pictures, baseline=other)


def test_too_few_real_records_are_named(make_people: Any) -> None:
    train = make_people(60, 1)
    with pytest.raises(InputError, match=r"4 usable records to measure with \(real test records"):
        Baseline.fit(train.schema, train, train.head(4))

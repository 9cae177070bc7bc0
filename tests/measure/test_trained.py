"""What a released model is worth on real records, beside models trained without privacy."""

from __future__ import annotations

from typing import Any

import pytest

from sfumato.errors import InputError
from sfumato.learn.architectures import build, weights
from sfumato.measure import cnn
from sfumato.measure.task import Limits
from sfumato.measure.trained import RELEASED, model_utility
from sfumato.publish.models.network import architecture
from sfumato.release.model import Model


def untrained(schema: Any) -> Model:
    made = architecture(schema)
    return Model(schema, made, weights(build(made, seed=0)))


def constant(schema: Any, favourite: int) -> Model:
    """A model that always gives one answer."""
    model = untrained(schema)
    tensors = {name: 0 * tensor for name, tensor in model.tensors.items()}
    (bias,) = (name for name in tensors if name.endswith("bias"))
    tensors[bias][favourite] = 5.0
    return Model(schema, model.architecture, tensors)


def test_a_model_of_rows_is_judged_beside_baselines_without_privacy(make_people: Any) -> None:
    train, test = make_people(300, 1), make_people(200, 2)
    told: list[tuple[int, int, str]] = []
    found = model_utility(
        constant(train.schema, 0), train, test, progress=lambda *said: told.append(said)
    )
    assert found.of == "model"
    assert found.target == "owner"
    assert dict(found.records) == {"train": 300, "test": 200}
    share = float((test.codes()["owner"] == 0).mean())
    assert found.score(RELEASED, "p2", "accuracy").value == pytest.approx(share)
    assert found.score(RELEASED, "p1", "accuracy").value is None
    for model in ("logistic regression", "random forest"):
        score = found.score(model, "p1", "accuracy")
        assert score.value is not None
        assert score.value > 0.7
        assert found.score(model, "p2", "accuracy").value is None
    assert "the released model reaches" in found.summary
    assert "without privacy" in found.summary
    assert told[-1][0] == told[-1][1]


def test_a_model_of_images_is_judged_too(
    make_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 20)
    train, test = make_pictures(120, 1), make_pictures(60, 2)
    found = model_utility(constant(train.schema, 1), train, test, limits=Limits(epochs=1))
    value = found.score(RELEASED, "p2", "accuracy").value
    assert value == pytest.approx(float((test.labels == 1).mean()))
    assert len(found.models) == 4


def test_limits_bound_the_records_that_are_used(make_people: Any) -> None:
    train, test = make_people(200, 1), make_people(150, 2)
    limits = Limits(train_rows=60, test_rows=40)
    found = model_utility(untrained(train.schema), train, test, limits=limits)
    assert dict(found.records) == {"train": 60, "test": 40}


def test_the_seed_fixes_the_figures(make_people: Any) -> None:
    train, test = make_people(120, 1), make_people(80, 2)
    limits = Limits(train_rows=50, test_rows=30)
    model = untrained(train.schema)
    one, again, other = (
        model_utility(model, train, test, seed=seed, limits=limits) for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other


def test_records_of_another_kind_or_too_few_are_refused(
    make_people: Any, make_pictures: Any
) -> None:
    train, test = make_people(60, 1), make_people(40, 2)
    model = untrained(train.schema)
    with pytest.raises(InputError, match="training records"):
        model_utility(model, make_pictures(60, 1), test)
    with pytest.raises(InputError, match="test records"):
        model_utility(model, train, make_pictures(60, 1))
    with pytest.raises(InputError, match=r"4 usable records to measure with \(real test records"):
        model_utility(model, train, make_people(4, 3))

"""Perturbation points side by side: what is refused, resumed, and left at no budget at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sfumato
from sfumato.api import point_runs
from sfumato.api.points import POINTS, PointsComparison
from sfumato.attack.finding import Finding
from sfumato.data import ImageSet, Table
from sfumato.errors import InputError
from sfumato.privacy import noise
from sfumato.publish.models.output import OutputMethod

RECORDS = 900
SMALL = {
    "gradient": "epochs=3,expected_batch_size=100,learning_rate=1.0",
    "input": "epochs=20,learning_rate=0.01",
    "prediction": "teachers=20,queries=20,components=2",
}


def pictures(records: int, seed: int) -> ImageSet:
    """Three classes that anybody can tell apart, one of them commoner."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, records, p=(0.4, 0.3, 0.3))
    images = rng.random((records, 1, 6, 6)).astype(np.float32) * 0.3
    for label in range(3):
        images[labels == label, 0, 2 * label : 2 * label + 2] += 0.6
    return ImageSet.from_arrays(images, labels, ("a", "b", "c"))


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("public") / "public.npz"
    pool = pictures(300, 9)
    np.savez(file, images=pool.images, labels=pool.labels, classes=np.array(("a", "b", "c")))
    return str(file)


def compared(data: Any = None, **changed: Any) -> PointsComparison:
    given = {
        "mus": [2.0],
        "seeds": [0],
        "holdout": 1 / 3,
        "settings": SMALL,
        "device": "cpu",
        **changed,
    }
    return sfumato.compare_points(pictures(RECORDS, 1) if data is None else data, **given)


def test_every_point_learns_at_a_large_mu_and_says_how_it_is_compared(public: str) -> None:
    found = compared(mus=[6.0], public_data=public)
    assert not found.refused
    by_point = {row.point: row for row in found.rows}
    assert set(by_point) == {"none", *POINTS}
    assert by_point["none"].accuracy > 0.95
    for point in POINTS:
        assert by_point[point].accuracy > found.majority["0"] + 0.15, point
        loss = by_point["none"].accuracy - by_point[point].accuracy
        assert by_point[point].utility_loss == pytest.approx(loss)
    for point in POINTS:  # as the issue asks: none may leak more than another at any false alarm
        row = by_point[point]
        assert row.kind == ("local" if point == "input" else "central")
        assert row.compared_by == "mu", point
        assert row.own_mu is not None
        assert row.own_mu <= 6.0 * 1.001
        assert row.epsilon is not None
        assert row.own_epsilon is not None
        assert row.own_epsilon <= row.epsilon
    for point in ("objective", "input", "output"):
        assert by_point[point].own_mu == pytest.approx(6.0, rel=5e-3)
    assert (by_point["none"].own_mu, by_point["none"].own_epsilon) == (None, None)
    leak = by_point["output"].leakage
    assert leak["interval"][0] <= leak["advantage"] <= leak["interval"][1]
    assert leak["members"] == leak["others"] == 150  # the half that is judged
    assert leak["advantage"] == pytest.approx((leak["revealed"] - leak["accused"]) / 150)
    assert leak["fpr_target"] == 0.001


def test_an_equal_epsilon_is_another_comparison_and_says_what_mu_it_proves() -> None:
    """Noise that is not Gaussian then has more mu than it was asked for."""
    found = compared(mus=[2.0], points=["objective", "output"], equal="epsilon")
    by_point = {row.point: row for row in found.rows}
    tilted, gaussian = by_point["objective"], by_point["output"]
    assert tilted.compared_by == "epsilon and delta"
    assert tilted.own_mu is not None
    assert tilted.own_mu > 2.5
    assert gaussian.compared_by == "mu"
    assert gaussian.own_mu == pytest.approx(2.0, rel=1e-6)
    assert found.equal == "epsilon"


def bars(records: int, seed: int) -> ImageSet:
    """Twelve classes that anybody can tell apart: each row or column of a picture lit up."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(12, records, p=(0.12, *[0.08] * 11))
    images = rng.random((records, 1, 6, 6)).astype(np.float32) * 0.3
    for label in range(6):
        images[labels == label, 0, label] += 0.6
        images[labels == label + 6, 0, :, label] += 0.6
    return ImageSet.from_arrays(images, labels, tuple("abcdefghijkl"))


def test_at_next_to_no_budget_every_point_knows_no_more_than_the_majority(tmp_path: Path) -> None:
    """DP-UTIL's vote stayed at full accuracy here. False alarms below 1e-5: weights that are noise
    call each of twelve heaps by a name of twelve; nine or more are right with probability 1e-6."""
    pool = bars(300, 9)
    public = tmp_path / "public.npz"
    np.savez(public, images=pool.images, labels=pool.labels, classes=np.array(pool.schema.classes))
    tiny = {**SMALL, "input": "epochs=3,max_norm=3.0"}
    found = compared(
        bars(RECORDS, 1),
        mus=[1e-3],
        delta=1e-6,
        equal="epsilon",  # of the tilted objective no accountant resolves so small a mu
        public_data=str(public),
        settings=tiny,
        seeds=[0, 1],
    )
    assert not found.refused
    told = [row for row in found.rows if row.point != "none"]
    assert {row.point for row in told} == set(POINTS) - {"none"}
    assert all(row.accuracy < 0.7 for row in told)
    assert np.mean([row.accuracy for row in told]) < np.mean(list(found.majority.values())) + 0.25
    assert min(row.accuracy for row in found.rows if row.point == "none") > 0.95


def test_one_scalar_of_noise_for_all_weights_would_be_seen_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The defect of the published code, put into output perturbation: accuracy stays."""
    from sfumato.privacy.mechanisms import Gaussian

    def scalar(made: Any, values: Any, source: Any = noise.SECURE) -> Any:
        return values + noise.gaussian(made.stddev, 1, source)

    monkeypatch.setattr(Gaussian, "release", scalar)
    found = compared(mus=[1e-3], delta=1e-6, points=["output"])
    (row,) = [row for row in found.rows if row.point == "output"]
    assert row.accuracy > found.majority["0"] + 0.3


def test_networks_that_a_proof_does_not_cover_are_refused_with_the_reason() -> None:
    found = compared(network="dense:6:5")
    assert set(found.refused) == {"objective", "output", "prediction"}
    for point in ("objective", "output"):
        assert "convex" in found.refused[point]
    assert "public records" in found.refused["prediction"]
    assert {row.point for row in found.rows} == {"none", "input", "gradient"}


def test_an_interrupted_comparison_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, ran = tmp_path / "points", []
    calibrate = point_runs.constraints.calibrate

    def counted(method: Any, *rest: Any) -> Any:
        ran.append(method.name)
        if method.name == "learn.output" and ran.count("learn.output") == 1:
            raise KeyboardInterrupt
        return calibrate(method, *rest)

    monkeypatch.setattr(point_runs.constraints, "calibrate", counted)
    chosen = ["gradient", "output"]
    with pytest.raises(KeyboardInterrupt):
        compared(points=chosen, out=out)
    found = compared(points=chosen, out=out)
    assert dict.fromkeys(ran) == {"learn.dpsgd": None, "learn.output": None}
    assert ran.count("learn.output") == 2
    counted_once = len(ran)
    again = compared(points=chosen, out=out)
    assert len(ran) == counted_once
    assert again.to_json() == found.to_json() == (out / "points.json").read_text("utf-8")
    page = (out / "report.html").read_text("utf-8")
    assert "gradient" in page
    assert "Members revealed" in page
    assert out.stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="network"):
        compared(points=chosen, out=out, network="dense:3")
    with pytest.raises(InputError, match="equal"):
        compared(points=chosen, out=out, equal="epsilon")
    assert "Proven μ, ε" in page


def test_a_table_and_its_rows(people: Table) -> None:
    found = compared(people, points=["output", "input"], target="outcome", settings={})
    assert {row.point for row in found.rows} == {"none", "output", "input"}
    assert found.target == "outcome"
    assert json.loads(found.to_json())["rows"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"mus": []}, "nothing"),
        ({"mus": [-1.0]}, "mu is"),
        ({"mus": [1e-9]}, "smaller delta"),
        ({"points": ["middle"]}, "point is 'middle'"),
        ({"network": "dense:x"}, "network is"),
        ({"attack": "membership.none"}, "unknown attack"),
        ({"equal": "delta"}, "equal is 'delta'"),
        ({"attack": "linkage.nearest"}, "does not attack"),
        ({"settings": {"middle": "a=1"}}, "middle"),
        ({"settings": {"input": "no_such=1"}, "points": ["input"]}, "no_such"),
        ({"holdout": 0}, "held out"),
    ],
)
def test_nonsense_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        compared(pictures(60, 1), **changed)


def test_another_attack_without_a_best_threshold_is_read_from_its_curve() -> None:
    finding = Finding(
        "membership.other", "AUC", 0.6, (0.5, 0.7), 0.95, 0.5, roc=((0, 0), (0.2, 0.5), (1, 1))
    )
    found = point_runs.leakage(finding)
    assert found["advantage"] == pytest.approx(0.3)
    assert found["interval"] is None
    assert found["tpr"] is None


def test_settings_of_a_convex_method_name_what_is_wrong() -> None:
    with pytest.raises(InputError, match="convex"):
        OutputMethod(hidden=(3,))
    with pytest.raises(InputError, match="regularisation"):
        OutputMethod(regularisation=0.0)

"""``generators.merf`` end to end on small images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import ImageSchema, ImageSet, datasets
from sfumato.errors import InputError
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SECURE, SeededSource
from sfumato.publish.generators import sample
from sfumato.publish.generators.merf import PAPER_BANDWIDTH, Merf, default_bandwidth
from sfumato.publish.method import silent
from sfumato.release.release import Artefact, Release

FACTS = ImageSchema(1, 6, 5, ("cat", "dog", "eel"), records=60)
BUDGET = Budget(1.0, 1e-5)
QUICK = Merf(features=200, steps=4, batch=12, hidden=16, width=8, samples=30, seed=7, device="cpu")


def images(seed: int = 0, n: int = 60, classes: int = 3) -> ImageSet:
    rng = np.random.default_rng(seed)
    pixels = rng.random((n, 1, 6, 5), dtype=np.float32)
    return ImageSet.from_arrays(pixels, rng.integers(0, classes, n), FACTS.classes)


def publish(method: Merf = QUICK, data: ImageSet | None = None) -> Release:
    return method.calibrate(BUDGET, FACTS)(data or images(), ledger=Ledger.in_memory())


@pytest.fixture(scope="module")
def release() -> Release:
    return publish()


# -- the guarantee ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "delta", "sigma"),
    [
        (0.2, 1e-5, 16.30),
        (1.0, 1e-5, 3.73),
        (10.0, 1e-5, 0.50),
        (0.2, 1.67e-6, 18.42),
        (1.0, 1.67e-6, 4.12),
        (10.0, 1.67e-6, 0.532),
    ],
)
def test_the_noise_is_the_analytic_gaussian_s_at_the_diameter(
    epsilon: float, delta: float, sigma: float
) -> None:
    """The table of generative.md 2.2, within 2 %."""
    calibrated = QUICK.calibrate(Budget(epsilon, delta), FACTS)
    plan = calibrated.plan
    assert plan["mean_sensitivity"] == pytest.approx(2 / 60)
    assert plan["mean_stddev"] == pytest.approx(sigma * 2 / 60, rel=0.02)
    assert plan["noise_over_sensitivity"] == pytest.approx(sigma, rel=0.02)
    spent = calibrated.guarantee.epsilon()
    assert 0.99 * epsilon < spent <= epsilon


def test_the_event_is_the_noise_in_use_over_the_contribution() -> None:
    calibrated = QUICK.calibrate(BUDGET, FACTS)
    assert events.to_dict(calibrated.guarantee.event) == {
        "type": "GaussianDpEvent",
        "noise_multiplier": calibrated.plan["noise_multiplier"],
    }
    assert calibrated.guarantee.neighbours.value == "replace-one"
    assert calibrated.plan["mean_stddev"] * 60 == pytest.approx(calibrated.plan["noise_multiplier"])
    assert calibrated.guarantee.gdp_mu() == pytest.approx(
        2 / calibrated.plan["noise_multiplier"], rel=1e-6
    )


def test_the_card_is_the_same_whatever_the_private_images_are(release: Release) -> None:
    """But for what the noisy embedding says, the ledger, and the release's name and time."""
    cards = [release.card.to_dict(), publish(data=images(seed=9)).card.to_dict()]
    for card in cards:
        del card["release_id"], card["created"], card["ledger"]
        assert set(card["plan"].pop("class_prior")) == set(FACTS.classes)
    assert cards[0] == cards[1]
    json.dumps(cards[0], allow_nan=False)


def test_the_default_bandwidth_follows_the_public_noise() -> None:
    """More noise, a wider kernel; whatever is chosen is in the plan and among the public facts."""
    widths = []
    for epsilon in (0.01, 1.0, 10.0):
        calibrated = QUICK.calibrate(Budget(epsilon, 1e-5), FACTS.with_records(6000))
        (width,) = calibrated.plan["bandwidths"]
        assert width == default_bandwidth(3 * calibrated.plan["mean_stddev"])
        assert [width] == next(f.value for f in calibrated.public if f.name == "kernel bandwidth")
        widths.append(width)
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3
    assert Merf(bandwidth=[0.1, 0.2]).calibrate(BUDGET, FACTS).plan["bandwidths"] == [0.1, 0.2]


def test_the_plan_is_json_and_knows_no_images() -> None:
    calibrated = QUICK.calibrate(BUDGET, FACTS)
    assert json.loads(json.dumps(calibrated.plan)) == calibrated.plan
    assert calibrated.plan == QUICK.calibrate(BUDGET, FACTS).plan


class Tripwire:
    """A private image set that may be read once in batches, and then never touched again."""

    def __init__(self, inner: ImageSet) -> None:
        self._inner, self._done = inner, False

    def batches(self, size: int) -> Iterator[Any]:
        assert not self._done, "the private images were read twice"
        yield from self._inner.batches(size)
        self._done = True

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the private images were asked for {name}")

    def __len__(self) -> int:
        raise AssertionError("the private images were counted")


def _peeks_at_labels(artefact: Artefact, data: Any) -> Artefact:
    return Artefact(artefact.data, notes={"classes": sorted(set(data.labels))})


def _counts(artefact: Artefact, data: Any) -> Artefact:
    return Artefact(artefact.data, notes={"images": len(data)})


def _second_pass(artefact: Artefact, data: Any) -> Artefact:
    return Artefact(artefact.data, notes={"mean": sum(x.mean() for x, _ in data.batches(9))})


def test_the_private_images_are_read_once_and_then_never_touched() -> None:
    run = QUICK.calibrate(BUDGET, FACTS).run
    artefact = run(Tripwire(images()), SECURE, silent)
    assert len(artefact.data) == 30


@pytest.mark.parametrize("planted", [_peeks_at_labels, _counts, _second_pass])
def test_a_planted_second_look_is_found(planted: Callable[..., Artefact]) -> None:
    run = QUICK.calibrate(BUDGET, FACTS).run
    data = Tripwire(images())
    artefact = run(data, SECURE, silent)
    with pytest.raises(AssertionError, match="private images"):
        planted(artefact, data)


def test_the_same_noisy_embedding_gives_the_same_release() -> None:
    run = QUICK.calibrate(BUDGET, FACTS).run
    first, again, other = (run(images(), SeededSource(seed), silent) for seed in (1, 1, 2))
    assert np.array_equal(first.data.images, again.data.images)
    assert not np.array_equal(first.data.images, other.data.images)


def test_the_noise_comes_from_the_source_that_was_given(release: Release) -> None:
    assert release.card.noise == {"source": "os-entropy", "secure": True}
    again = publish()  # the same public seed, new noise
    assert release.card.seeds == again.card.seeds
    assert not np.array_equal(release.data.images, again.data.images)


# -- the release -----------------------------------------------------------------------------


def test_a_release_is_saved_loaded_and_drawn_from(release: Release, tmp_path: Path) -> None:
    saved = release.save(tmp_path / "out")
    loaded = Release.load(tmp_path / "out")
    assert np.array_equal(loaded.data.images, release.data.images)
    assert np.array_equal(loaded.data.labels, release.data.labels)
    drawn, again, other = sample(loaded, 50, seed=3), sample(saved, 50, seed=3), sample(loaded, 50)
    assert len(drawn) == 50
    assert drawn.schema.looks_like(FACTS)
    assert np.array_equal(drawn.images, again.images)
    assert np.array_equal(drawn.labels, again.labels)
    assert not np.array_equal(drawn.images, other.images)


def test_drawing_more_asks_no_ledger() -> None:
    ledger = Ledger.in_memory()
    release = QUICK.calibrate(BUDGET, FACTS)(images(), ledger=ledger)
    before = len(ledger.entries())
    sample(release, 5)
    assert len(ledger.entries()) == before == 1


def test_as_many_images_are_published_as_there_are_records() -> None:
    method = Merf(features=20, steps=1, batch=6, hidden=4, width=4, device="cpu")
    release = publish(method)
    assert len(release.data) == 60
    assert set(release.card.seeds) == {"base", "features", "training", "drawing"}


def test_a_public_class_prior_is_used_exactly() -> None:
    prior = {"cat": 2, "dog": 1, "eel": 0}
    release = publish(Merf(**{**vars(QUICK), "class_prior": prior}))
    assert np.bincount(release.data.labels, minlength=3).tolist() == [20, 10, 0]
    assert np.bincount(sample(release, 9).labels, minlength=3).tolist() == [6, 3, 0]
    assert any(fact.name == "class prior" for fact in release.card.facts)


def test_uniform_classes() -> None:
    release = publish(Merf(**{**vars(QUICK), "class_prior": "uniform"}))
    assert np.bincount(release.data.labels, minlength=3).tolist() == [10, 10, 10]


def test_estimated_shares_follow_unequal_classes_where_there_are_records_enough() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [4200, 1500, 300])
    data = ImageSet.from_arrays(
        rng.random((6000, 1, 6, 5), dtype=np.float32), labels, FACTS.classes
    )
    run = QUICK.calibrate(BUDGET, FACTS.with_records(6000)).run
    shares = run(data, SeededSource(0), silent).notes["class_prior"]
    # the noise in a share is 7.46 / (6000 * 0.2) = 0.006
    assert list(shares.values()) == pytest.approx([0.7, 0.25, 0.05], abs=0.03)


def test_one_class_is_enough() -> None:
    facts = ImageSchema(1, 6, 5, ("cat",), records=20)
    pixels = np.random.default_rng(0).random((20, 1, 6, 5), dtype=np.float32)
    data = ImageSet.from_arrays(pixels, np.zeros(20, np.int64), facts.classes)
    release = QUICK.calibrate(BUDGET, facts)(data, ledger=Ledger.in_memory())
    assert set(release.data.labels.tolist()) == {0}


def test_a_class_without_records_is_drawn_all_the_same() -> None:
    release = publish(data=images(classes=2))
    assert 2 in release.data.labels


def test_colour_images_of_odd_size() -> None:
    facts = ImageSchema(3, 11, 9, ("a", "b"), records=20)
    rng = np.random.default_rng(0)
    data = ImageSet.from_arrays(
        rng.integers(0, 256, (20, 3, 11, 9), dtype=np.uint8), rng.integers(0, 2, 20), facts.classes
    )
    release = QUICK.calibrate(BUDGET, facts)(data, ledger=Ledger.in_memory())
    assert release.data.schema.shape == (3, 11, 9)


def test_a_classifier_learns_the_digits_from_a_release_alone() -> None:
    """Not a benchmark: at a large epsilon the release must carry most of the task."""
    from sklearn.linear_model import LogisticRegression

    train, test = (datasets.load("digits", split=split) for split in ("train", "test"))
    assert isinstance(train, ImageSet)
    assert isinstance(test, ImageSet)
    method = Merf(features=2000, steps=200, batch=200, seed=1, device="cpu", samples=1000)
    facts = train.schema.with_records(len(train))
    released = method.calibrate(Budget(20.0, 1e-5), facts).run(train, SeededSource(3), silent).data
    model = LogisticRegression(max_iter=300)
    model.fit(released.images.reshape(len(released), -1), released.labels)
    assert model.score(test.images.reshape(len(test), -1), test.labels) > 0.75


def test_progress_is_told_in_order() -> None:
    told: list[tuple[int, int, str]] = []
    QUICK.calibrate(BUDGET, FACTS).run(
        images(), SECURE, lambda done, total, label: told.append((done, total, label))
    )
    assert told[0] == (60, 60, "measuring the images")
    assert told[-1] == (4, 4, "training the generator")


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"features": 0},
        {"features": 101},
        {"features": 10.0},
        {"bandwidth": 0},
        {"bandwidth": float("nan")},
        {"bandwidth": []},
        {"bandwidth": "median"},
        {"bandwidth": [0.1, "wide"]},
        {"bandwidth": [0.1] * 200},
        {"smoothing": -1},
        {"count_share": 0},
        {"count_share": 0.9},
        {"class_prior": "real"},
        {"class_prior": {"cat": -1}},
        {"samples": 0},
        {"steps": 0},
        {"batch": True},
        {"learning_rate": 0},
        {"frequencies_per_step": 0},
        {"latent": 0},
        {"seed": -1},
        {"device": "tpu"},
    ],
)
def test_a_setting_out_of_its_range_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Merf(**{"features": 200, **settings})


@pytest.mark.parametrize(("epsilon", "remedy"), [(1e9, "smaller"), (1e-8, "larger")])
def test_an_epsilon_that_no_embedding_suits_is_named(epsilon: float, remedy: str) -> None:
    facts = ImageSchema(1, 8, 8, ("a", "b"), records=100)
    with pytest.raises(InputError, match=f"Give a {remedy} epsilon") as refused:
        Merf().calibrate(Budget(epsilon, 1e-6), facts)
    assert f"epsilon is {epsilon:g}, " in str(refused.value)


def test_unknown_settings_are_refused_and_the_method_is_listed() -> None:
    assert registry.find("method", "generators.merf") is Merf
    with pytest.raises(InputError, match="has no setting"):
        registry.build("method", "generators.merf", {"bandwith": 1})


def test_facts_that_do_not_fit_are_refused() -> None:
    from sfumato.data import Categorical, Schema

    with pytest.raises(InputError, match="number of records"):
        QUICK.calibrate(BUDGET, FACTS.with_records(None))
    with pytest.raises(InputError, match="delta"):
        QUICK.calibrate(Budget(1.0), FACTS)
    with pytest.raises(InputError, match="1/records"):
        QUICK.calibrate(Budget(1.0, 0.1), FACTS)
    with pytest.raises(InputError, match="class_prior names"):
        Merf(class_prior={"cat": 1, "cow": 1}).calibrate(BUDGET, FACTS)
    with pytest.raises(InputError, match="sum to 0"):
        Merf(class_prior={"cat": 0, "dog": 0, "eel": 0}).calibrate(BUDGET, FACTS)
    with pytest.raises(InputError, match="too many"):
        Merf().calibrate(BUDGET, ImageSchema(3, 500, 500, ("a", "b"), records=60))
    table = Schema((Categorical("a", ("x", "y")),), target=None, records=60)
    with pytest.raises(InputError, match="table"):
        QUICK.calibrate(BUDGET, table)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        images(n=59),
        ImageSet.from_arrays(np.zeros((60, 6, 6), np.uint8), np.zeros(60, int), FACTS.classes),
        ImageSet.from_arrays(np.zeros((60, 6, 5), np.uint8), np.zeros(60, int), ("a", "b", "c")),
    ],
)
def test_images_that_contradict_the_facts_spend_nothing(data: ImageSet) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(InputError):
        QUICK.calibrate(BUDGET, FACTS)(data, ledger=ledger)
    assert ledger.entries() == []


def test_cuda_is_refused_where_there_is_none() -> None:
    import torch

    if torch.cuda.is_available():
        assert Merf(device="cuda").calibrate(BUDGET, FACTS)
    else:
        with pytest.raises(InputError, match="cuda"):
            Merf(device="cuda").calibrate(BUDGET, FACTS)


def test_the_paper_s_settings() -> None:
    paper = Merf.paper(samples=10)
    assert paper.bandwidth == PAPER_BANDWIDTH
    # 105 is the squared length scale for 784 pixels
    scales = paper.feature_map(ImageSchema(1, 28, 28, ("0",), records=9), 0.1, 0).length_scales
    assert scales[0] ** 2 == pytest.approx(105)
    assert (paper.samples, paper.smoothing, paper.latent) == (10, 0.0, 5)

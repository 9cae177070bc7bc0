"""Generators by transport and diffusion, end to end on small images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.publish.generators.small import (
    BUDGET,
    FACTS,
    calibrated,
    drawn_from_again,
    images,
    interrupted,
)

from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import InputError, MissingExtraError
from sfumato.learn.loop import PrivateLoop
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import rehearsal
from sfumato.publish.generators import lessons
from sfumato.publish.generators.denoiser import SPREAD, Denoiser, schedule
from sfumato.publish.generators.diffusion import Diffusion
from sfumato.publish.generators.sinkhorn import Sinkhorn

SMALL: dict[str, Any] = {"epochs": 2.0, "expected_batch_size": 20, "samples": 30, "seed": 7}
SINKHORN = Sinkhorn(**SMALL, images_per_class=2, width=4, hidden=6, latent=3)
DIFFUSION = Diffusion(
    **SMALL, width=4, levels=2, features=40, warm_steps=2, warm_pictures=9, generator_steps=2
)
COLD = Diffusion(**SMALL, width=4, levels=2, centre_share=0.0, embedding_share=0.0)
BOTH = pytest.mark.parametrize("method", [SINKHORN, DIFFUSION], ids=lambda method: method.name)


@pytest.fixture(autouse=True)
def _extra() -> None:
    pytest.importorskip("geomloss")


@BOTH
def test_a_release_can_be_drawn_from_again(method: Any, tmp_path: Path) -> None:
    drawn_from_again(method, tmp_path)


@BOTH
def test_an_interrupted_training_goes_on_and_pays_once(method: Any, tmp_path: Path) -> None:
    made = calibrated(method)
    backward = (PrivateLoop, "backward")
    taken, _ = interrupted(made, tmp_path, backward, lambda loop: loop.run.taken, after=3)
    assert taken == list(range(1, made.plan["steps"] + 1))


@BOTH
def test_time_bounds_the_steps(method: Any) -> None:
    release = calibrated(method, max_minutes=1e-9)(images(), ledger=Ledger.in_memory())
    assert release.card.plan["steps_taken"] == 1 < release.card.plan["steps"]


def test_a_warm_up_that_takes_all_the_time_is_told_of() -> None:
    late = calibrated(DIFFUSION, max_minutes=1e-9)(images(), ledger=Ledger.in_memory())
    assert "one private step was taken" in late.card.plan["out_of_time"]
    for minutes in (None, 60):
        made = calibrated(DIFFUSION, max_minutes=minutes)(images(), ledger=Ledger.in_memory())
        assert "out_of_time" not in made.card.plan


def test_a_warm_up_is_shortened_to_what_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of ten minutes one is for drawing, and nine would be a third of the warm-up."""
    taken: list[int] = []
    monkeypatch.setattr(lessons, "learn", lambda *given: taken.append(given[2].steps))
    monkeypatch.setattr(Diffusion, "beside", lambda self, work: (1620.0, 60.0))
    settings = {"warm_steps": 120, "generator_steps": 1, "samples": 2}
    whole = calibrated(DIFFUSION, **settings)(images(), ledger=Ledger.in_memory())
    assert taken == [30, 120]
    assert "warm_up_part" not in whole.card.plan
    taken.clear()
    made = calibrated(DIFFUSION, **settings, max_minutes=10.0)
    release = made(images(), ledger=Ledger.in_memory())
    # The rehearsal and a few steps are of this machine, and far below a minute.
    assert 0.3 < release.card.plan["warm_up_part"] <= 1 / 3
    assert 36 <= taken[1] <= 40
    assert taken[0] == -(-taken[1] // 4)
    assert "out_of_time" not in release.card.plan


def test_warm_up_and_drawing_are_rehearsed_on_made_up_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def taken(work: Callable[[], object]) -> float:
        work()
        return 4.0

    monkeypatch.setattr(rehearsal, "taken", taken)
    settings: dict[str, Any] = {"warm_steps": 12, "generator_steps": 5, "samples": 200}
    for method, steps in ((DIFFUSION, 3 + 12 + 5), (COLD, 0)):
        made = replace(method, **(settings if method is DIFFUSION else {"samples": 200}))
        run = made.calibrate(BUDGET, FACTS).run
        seeds = {"weights": 1, "training": 2, "drawing": 3}
        empty = run._made_up(seeds, None, run.steps.mechanism, 1)
        assert made.beside(empty) == (steps, 8.0)


def test_all_draws_of_a_diffusion_model_are_one_event() -> None:
    made = calibrated(DIFFUSION)
    plan = made.plan
    event: Any = made.guarantee.event  # type: ignore[union-attr]
    step = events.PoissonSampledDpEvent(
        plan["sampling"]["rate"], events.GaussianDpEvent(plan["noise_multiplier"])
    )
    assert events.repeat(step, plan["steps"]) in event.events
    assert 0.98 < made.guarantee.epsilon() <= 1.0
    dear = calibrated(DIFFUSION, embedding_share=0.9)
    assert dear.plan["noise_multiplier"] > plan["noise_multiplier"]
    assert dear.plan["embedding_noise_multiplier"] < plan["embedding_noise_multiplier"]
    none = COLD.calibrate(BUDGET, FACTS)
    assert "embedding_noise_multiplier" not in none.plan
    none(images(), ledger=Ledger.in_memory())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (1, 28, 28), (1, 3, 2)])
def test_the_denoiser_mixes_no_examples_and_fits_any_shape(shape: tuple[int, int, int]) -> None:
    denoiser = Denoiser(shape, 3, 4, sampling_steps=3, churn=0.1, guidance=0.5)
    torch.manual_seed(0)
    module = denoiser.build()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    some = torch.rand(5, *shape)
    other = torch.cat([some[:2], torch.rand(3, *shape)])
    level, classes = torch.linspace(-1, 1, 5), torch.eye(3)[torch.tensor([0, 1, 2, 0, 1])]
    one, two = module(some, level, classes), module(other, level, classes)
    assert one.shape == some.shape
    assert torch.allclose(one[:2], two[:2], atol=1e-5)
    drawn = denoiser.images(module, torch.tensor([0, 1, 2]), torch.Generator().manual_seed(0))
    assert drawn.shape == (3, *shape)
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    assert Denoiser.from_dict(denoiser.to_dict()) == denoiser


def test_a_perfect_denoiser_draws_its_data() -> None:
    """Of pixels that are normal with mean 0.6 and a known spread, by the exact answer."""
    mean, spread = 0.2, 0.1  # in [-1, 1]

    class Exact(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def forward(self, noisy: torch.Tensor, told: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            level = torch.exp(4 * told).view(-1, 1, 1, 1)
            whole = level**2 + SPREAD**2
            at = noisy * whole.sqrt()
            clean = (at * spread**2 + mean * level**2) / (spread**2 + level**2)
            return (clean - SPREAD**2 / whole * at) / (level * SPREAD / whole.sqrt())

    for steps, churn in ((20, 0.0), (40, 0.1)):
        denoiser = Denoiser((1, 8, 8), 2, 4, steps, churn)
        labels = torch.zeros(200, dtype=torch.int64)
        drawn = denoiser.images(Exact(), labels, torch.Generator().manual_seed(0)).detach()
        assert float(drawn.mean()) == pytest.approx(0.6, abs=0.005)
        assert float(drawn.std()) == pytest.approx(spread / 2, rel=0.15)


def test_a_class_is_drawn_where_it_lies_after_a_short_lesson() -> None:
    """Bright squares in one of four corners: classes that differ in nothing but the place."""
    pictures = torch.zeros(4, 1, 16, 16)
    for label, (top, left) in enumerate(((2, 2), (2, 9), (9, 2), (9, 9))):
        pictures[label, 0, top : top + 5, left : left + 5] = 1
    denoiser = Denoiser((1, 16, 16), 4, 8)
    torch.manual_seed(0)
    module = denoiser.build()
    lesson = lessons.Lesson(pictures, torch.arange(4), 120, 32, 3e-3, 0.1, 0.9, 0)
    lessons.learn(module, denoiser, lesson, lambda done, total: None)
    labels = torch.arange(4).repeat_interleave(10)
    with torch.no_grad():
        drawn = denoiser.images(module, labels, torch.Generator().manual_seed(1))
    nearest = torch.cdist(drawn.flatten(1), pictures.flatten(1)).argmin(dim=1)
    assert float((nearest == labels).float().mean()) > 0.8


def test_noise_levels_fall() -> None:
    levels = schedule(12)
    assert levels[0] == pytest.approx(20)
    assert levels[-1] == pytest.approx(0.02)
    assert (np.diff(levels) < 0).all()


def test_transport_draws_a_generator_to_the_images() -> None:
    pixels = np.zeros((300, 1, 8, 8), np.float32)
    labels = np.arange(300) % 2
    pixels[labels == 0, :, :4] = 0.9
    pixels[labels == 1, :, 4:] = 0.9
    private = ImageSet.from_arrays(pixels, labels, ("up", "down"))
    method = Sinkhorn(
        epochs=40,
        expected_batch_size=20,
        samples=20,
        learning_rate=0.01,
        coefficients=16,
        averaging=0.9,
        class_prior="uniform",
        seed=3,
    )
    facts = ImageSchema(1, 8, 8, ("up", "down"), records=300)
    made: Any = method.calibrate(Budget(60.0, 1e-5), facts)(private, ledger=Ledger.in_memory()).data
    for label in (0, 1):
        halves = made.images[made.labels == label].mean(axis=(0, 1, 3)).reshape(2, 4).mean(axis=1)
        assert halves[label] > halves[1 - label] + 0.3


def test_what_cannot_be_is_refused_before_anything_is_spent() -> None:
    for method, changes, message in (
        (SINKHORN, {"blur": 0}, "blur is 0"),
        (SINKHORN, {"coefficients": 0}, "coefficients is 0"),
        (SINKHORN, {"debias": -1}, "debias is -1"),
        (DIFFUSION, {"levels": 0}, "levels is 0"),
        (DIFFUSION, {"features": 41}, "features is 41"),
        (DIFFUSION, {"embedding_share": 1.0}, "embedding_share is 1.0"),
        (DIFFUSION, {"embedding_share": 0.95, "centre_share": 0.5}, "nothing is left"),
        (DIFFUSION, {"guidance": 1.0, "label_dropout": 0.0}, "guidance needs"),
        (DIFFUSION, {"warm_steps": 0}, "warm_steps is 0"),
        (DIFFUSION, {"centre_share": 0.0, "parts": 3}, "parts is 3, and there are no central"),
        (DIFFUSION, {"embedding_share": 0.0}, "features is 40, and there is no embedding"),
        (COLD, {"warm_steps": 7}, "warm_steps is 7, and there is nothing to warm up on"),
        (COLD, {"warm_batch": 7}, "warm_batch is 7"),
        (COLD, {"warm_rate": 0.1}, "warm_rate is 0.1"),
        (COLD, {"warm_pictures": 7}, "warm_pictures is 7"),
        (COLD, {"generator_steps": 7}, "generator_steps is 7"),
    ):
        with pytest.raises(InputError, match=message):
            calibrated(method, **changes)
    with pytest.raises(InputError, match="diffusion model"):
        Denoiser.from_dict({**Denoiser((1, 8, 8), 2, 4).to_dict(), "width": 0})


def test_settings_of_a_preset_are_not_called_given() -> None:
    Diffusion(**{**Diffusion.presets["quick"], "centre_share": 0.0, "embedding_share": 0.0})
    Diffusion(warm_steps=0, centre_share=0.0, embedding_share=0.0)


def test_central_images_are_learnt_from_in_however_short_a_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = []
    monkeypatch.setattr(lessons, "learn", lambda _, __, lesson, *___: steps.append(lesson.steps))
    calibrated(DIFFUSION)(images(), ledger=Ledger.in_memory())
    assert steps == [1, 2]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "geomloss", None)
    ledger = Ledger.in_memory()
    with pytest.raises(MissingExtraError, match=r"sfumato\[transport\]"):
        calibrated(SINKHORN)(images(), ledger=ledger)
    assert not [entry for entry in ledger.entries() if entry.kind == "debit"]

"""Generators trained by noisy clipped gradients, end to end on small images."""

from __future__ import annotations

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

from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.learn.loop import PrivateLoop
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import rehearsal
from sfumato.publish.generators import codes, critics, reconstruct, sample, sampling, variational
from sfumato.publish.generators.augm import Augm
from sfumato.publish.generators.cvae import Cvae
from sfumato.publish.generators.dp2vae import Dp2Vae
from sfumato.publish.generators.dpgan import DpGan
from sfumato.publish.generators.dpmi import Dpmi
from sfumato.publish.generators.networks import Architecture
from sfumato.publish.generators.per_class import Encoder as OfOneClass
from sfumato.publish.generators.priors import Counted
from sfumato.publish.generators.vaegm import VaeGm
from sfumato.publish.seeds import seeds_of
from sfumato.release.release import Release

SMALL: dict[str, Any] = {
    "epochs": 2.0,
    "expected_batch_size": 20,
    "samples": 30,
    "latent": 3,
    "hidden": 6,
    "width": 4,
    "seed": 7,
}
CVAE = Cvae(**SMALL, encoder_width=2, encoder_hidden=5)
DPGAN = DpGan(**SMALL, critic_steps=2, batch=6, critic_width=2, critic_hidden=4)
NAMES = ("weights", "training", "drawing")
DPMI = Dpmi(**SMALL, public_images=50, public_epochs=1, code=4, critic_steps=2, batch=6)
AUGM = Augm(**SMALL, encoder_width=2, encoder_hidden=5)
VAEGM = VaeGm(**{**SMALL, "width": 16}, encoder_hidden=4)
DP2VAE = Dp2Vae(**SMALL, encoder_width=2, encoder_hidden=5)
BOTH = pytest.mark.parametrize(
    "method", [CVAE, DPGAN, DPMI, AUGM, VAEGM, DP2VAE], ids=lambda method: method.name
)


@BOTH
def test_a_release_can_be_drawn_from_again(method: Any, tmp_path: Path) -> None:
    release = drawn_from_again(method, tmp_path)
    shares = np.bincount(sample(release, 300).labels, minlength=3) / 300
    declared = [release.card.plan["class_prior"][name] for name in FACTS.classes]
    assert shares == pytest.approx(declared, abs=0.01)


@BOTH
def test_counts_and_steps_are_one_event(method: Any) -> None:
    made = calibrated(method)
    plan = made.plan
    step = events.PoissonSampledDpEvent(
        plan["sampling"]["rate"], events.GaussianDpEvent(plan["noise_multiplier"])
    )
    counted = Counted(3, plan["class_counts_stddev"]).event
    assert made.guarantee.event == events.compose(counted, events.repeat(step, plan["steps"]))
    assert 0.98 < made.guarantee.epsilon() <= 1.0
    declared = calibrated(method, class_prior="uniform")
    assert "class_counts_stddev" not in declared.plan
    assert declared.plan["noise_multiplier"] < plan["noise_multiplier"]


@BOTH
def test_an_interrupted_training_goes_on_and_pays_once(method: Any, tmp_path: Path) -> None:
    made = calibrated(method)
    backward = (PrivateLoop, "backward")
    taken, release = interrupted(made, tmp_path, backward, lambda loop: loop.run.taken, after=3)
    first = made.plan.get("encoder_steps", 0)  # of dp2vae's two trainings
    assert taken == [*range(1, first + 1), *range(1, made.plan["steps"] - first + 1)]
    assert release.card.seeds["base"] == 7


@BOTH
def test_time_is_turned_into_steps_before_a_private_image_is_looked_at(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, seen = images(), []
    step = PrivateLoop.backward
    first = torch.from_numpy(private.images[:1])
    if method.name == "generators.dpmi":  # its critic sees codes
        coder = method._autoencoder(FACTS.shape, seeds_of(7, *NAMES)["weights"])
        steps, rate = method.inversion_steps, method.inversion_rate
        first = codes.invert(coder, first, steps, rate, codes.usual_radius(4))

    def watched(loop: PrivateLoop) -> None:
        found, _ = loop._records.fetch(np.arange(1), torch.device("cpu"))
        seen.append(bool(torch.allclose(found[0], first, atol=1e-5)))
        step(loop)

    monkeypatch.setattr(PrivateLoop, "backward", watched)
    made = calibrated(method, max_minutes=1e-9)
    release = made(private, ledger=Ledger.in_memory())
    # The rehearsal's steps see no private image; then there is time for a single step.
    assert seen == [False] * (len(seen) - 1) + [True]
    assert len(seen) > 1
    assert len(release.data) == 30
    assert release.card.plan["steps_taken"] == 1 < release.card.plan["steps"]
    assert release.card.figures["epsilon"] == pytest.approx(made.guarantee.epsilon())
    seen.clear()
    release = calibrated(method, max_minutes=60)(private, ledger=Ledger.in_memory())
    assert sum(seen) == release.card.plan["steps_taken"] == made.plan["steps"]


@BOTH
def test_what_cannot_be_is_refused_before_anything_is_spent(method: Any) -> None:
    for changes, message in (
        ({"epochs": 0}, "epochs is 0"),
        ({"latent": 0}, "latent is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"max_minutes": -1}, "max_minutes is -1"),
        ({"averaging": 1.0}, "averaging is 1.0"),
        ({"class_prior": "real"}, "class_prior is 'real'"),
        ({"class_prior": {"cat": 1.0}}, "class_prior names"),
        ({"expected_batch_size": 61}, "61 of 60 records"),
    ):
        with pytest.raises(InputError, match=message):
            calibrated(method, **changes)
    with pytest.raises(InputError, match="number of records is not declared"):
        method.calibrate(BUDGET, FACTS.with_records(None))
    with pytest.raises(InputError, match="delta"):
        method.calibrate(Budget(1.0), FACTS)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (1, 28, 28), (1, 3, 2)])
def test_neither_critic_nor_encoder_mixes_examples(shape: tuple[int, int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    some = torch.rand(5, *shape, generator=rng)
    other = torch.cat([some[:2], torch.rand(3, *shape, generator=rng)])
    labels = torch.tensor([0, 1, 2, 0, 1])
    critic = critics.build(shape, 3, 4, 6, seed=0)
    assert torch.equal(critic(some, labels)[:2], critic(other, labels)[:2])
    assert critic(some, labels).shape == (5,)
    coder = variational.build(Architecture(shape, 3, 4, 8, 4, "group"), 4, 6, seed=0)
    classes = torch.eye(3)[labels]
    noise = torch.randn(5, 4, generator=rng)
    first, second = coder(some, classes, noise), coder(other, classes, noise)
    assert torch.allclose(first.images[:2], second.images[:2], atol=1e-6)
    assert torch.allclose(first.mean[:2], second.mean[:2], atol=1e-6)
    assert first.images.shape == some.shape


def test_the_critic_tells_classes_apart() -> None:
    critic = critics.build((1, 8, 8), 3, 4, 6, seed=0)
    image = torch.rand(1, 1, 8, 8).expand(3, -1, -1, -1)
    assert len(set(critic(image, torch.arange(3)).tolist())) == 3


def test_the_critic_sees_brightness_and_contrast() -> None:
    """One that does not lets grey pictures pass, on which no model of black and white learns."""
    critic = critics.build((1, 28, 28), 3, 8, 64, seed=0)
    images = (torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    labels = torch.zeros(40, dtype=torch.long)
    with torch.no_grad():
        found = critic.features(2 * images)
        for grey in (0.3 + 0.4 * images, 0.4 * images):
            moved = (critic.features(2 * grey) - found).norm() / found.norm()
            assert moved > 0.3
        assert critic(images, labels).abs().mean() < 2  # saturated scores teach nothing


def spread(images: ImageSet) -> float:
    """Mean standard deviation of a pixel within a class."""
    by_class = [images.images[images.labels == label].std(axis=0) for label in range(3)]
    return float(np.mean(by_class))


def test_generated_images_of_a_class_are_kept_apart() -> None:
    settings: dict[str, Any] = {"generator_rate": 0.05, "generator_steps": 20, "averaging": 0.5}
    settings["class_prior"] = "uniform"  # a noisy one may leave a class without pictures
    made = {
        weight: calibrated(DPGAN, diversity=weight, **settings)(images(), ledger=Ledger.in_memory())
        for weight in (0.0, 30.0)
    }
    assert spread(made[30.0].data) > 1.5 * spread(made[0.0].data)
    with pytest.raises(InputError, match="diversity is -1"):
        calibrated(DPGAN, diversity=-1)


def test_a_distance_is_that_of_the_two_of_a_pair() -> None:
    from sfumato.publish.generators.adversarial import _apart

    first, second = torch.zeros(2, 1, 2, 2), torch.tensor([0.04, 0.9]).reshape(2, 1, 1, 1)
    pairs = torch.cat([first, second.expand(2, 1, 2, 2)])
    assert _apart(pairs) == pytest.approx((0.04 + 0.1) / 2)  # far enough is enough
    odd = torch.cat([first, torch.ones(1, 1, 2, 2), second.expand(2, 1, 2, 2)])
    assert _apart(odd) == pytest.approx((0.04 + 0.1) / 2)


def test_noisy_counts_become_shares_that_leave_no_class_out() -> None:
    from sfumato.privacy.noise import SeededSource

    labels = np.repeat([0, 1], [900, 100])
    shares = Counted(3, 5.0).release(labels, SeededSource(0))
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(0.9 / 1.03, abs=0.03)
    assert shares[2] == pytest.approx((0.1 / 3) / 1.03, abs=0.01)


def test_no_weight_of_a_class_is_moved_by_an_image_of_another() -> None:
    """What makes one training's guarantee that of every class's."""
    made = Architecture((1, 4, 4), 3, 2, 5, 1, form="one a class")
    coder = variational.Autoencoder(OfOneClass((1, 4, 4), 3, 2, 5), made.build(), made)
    generator = torch.Generator().manual_seed(0)

    def moved(label: int) -> torch.Tensor:
        coder.zero_grad()
        image = torch.rand(1, 1, 4, 4, generator=generator)
        found = coder(image, torch.eye(3)[[label]], torch.randn(1, 2, generator=generator))
        variational.loss_of(1.0)(found, image).sum().backward()
        return torch.cat([p.grad.flatten() for p in coder.parameters()]) != 0

    one, two = (sum(moved(label).int() for _ in range(20)) > 0 for label in (0, 2))
    assert one.any()
    assert two.any()
    assert not (one & two).any()
    assert VaeGm().architecture(FACTS).form == "one a class"
    with pytest.raises(InputError, match="width was given"):
        VaeGm(width=8)


def test_both_stages_are_steps_of_one_mechanism_and_the_encoder_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = []
    original = Dp2Vae._stage

    def watched(method: Any, coder: Any, work: Any) -> None:
        before = [p.clone() for p in coder.encoder.parameters()]
        trainable = {name.split(".")[0] for name, p in coder.named_parameters() if p.requires_grad}
        original(method, coder, work)
        still = all(map(torch.equal, before, coder.encoder.parameters()))
        stages.append((work.steps.mechanism.steps, trainable, still))

    monkeypatch.setattr(Dp2Vae, "_stage", watched)
    made = calibrated(DP2VAE, encoder_share=0.5)
    made(images(), ledger=Ledger.in_memory())
    assert stages == [(3, {"encoder", "decoder"}, False), (3, {"decoder"}, True)]
    assert made.plan["steps"] == 6
    assert made.plan["encoder_steps"] == 3
    with pytest.raises(InputError, match="one step, and two stages"):
        calibrated(DP2VAE, epochs=0.1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 2), (3, 1, 2)])
def test_a_frozen_encoder_takes_a_sample_of_one_however_small_the_image(
    shape: tuple[int, int, int],
) -> None:
    """A run that failed there would be paid for, and tell how many images were sampled."""
    encoder = variational.build(
        Architecture(shape, classes=2, latent=2, hidden=4, width=4, norm="group"), 8, 5, seed=0
    ).encoder.requires_grad_(False)
    one = torch.full((1, *shape), 0.25), torch.tensor([[1.0, 0.0]])
    other = torch.full((1, *shape), 0.75), torch.tensor([[1.0, 0.0]])
    assert not torch.equal(encoder(*one)[0], encoder(*other)[0])


def test_an_encoder_may_learn_from_public_images(tmp_path: Path) -> None:
    file = public(tmp_path)
    made = calibrated(DP2VAE, public_data=file, public_epochs=1)
    assert made.plan["encoder_steps"] == 0
    assert any("public records are not protected" in caveat for caveat in made.caveats)
    assert len(made(images(), ledger=Ledger.in_memory()).data) == 30
    with pytest.raises(InputError, match="encoder_share was given"):
        calibrated(DP2VAE, public_data=file, encoder_share=0.5)
    with pytest.raises(InputError, match="public_epochs was given"):
        calibrated(DP2VAE, public_epochs=1)


def test_a_card_does_not_say_in_which_folder_public_images_lie(tmp_path: Path) -> None:
    file = public(tmp_path)
    made = calibrated(DPMI, public=file)
    card = made(images(), ledger=Ledger.in_memory()).card
    assert any(Path(file).name in caveat for caveat in card.caveats)
    assert str(tmp_path) not in card.to_json()


def test_the_rate_of_no_inversion_is_refused() -> None:
    with pytest.raises(InputError, match=r"inversion_rate is 0\.2, and inversion_steps is 0"):
        calibrated(DPMI, inversion_steps=0, inversion_rate=0.2)
    calibrated(DPMI, inversion_steps=0)


def test_a_public_encoder_takes_no_time_from_the_private_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is trained once, before the rehearsal; planted: a clock that only it moves."""
    clock, trained = [0.0], variational.train_in_public

    def slow(*given: Any) -> None:
        clock[0] += 3600
        trained(*given)

    monkeypatch.setattr(variational, "train_in_public", slow)
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: clock[0] + 1e-6)
    monkeypatch.setattr(
        rehearsal, "within", lambda minutes, seconds, most: most if not seconds else 1
    )
    made = calibrated(DP2VAE, public_data=public(tmp_path), public_epochs=1, max_minutes=1)
    release = made(images(), ledger=Ledger.in_memory())
    assert clock[0] == 3600
    assert release.card.plan["steps_taken"] == made.plan["steps"]


def test_no_sample_is_drawn_and_thrown_away_where_public_images_are_sent_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, draw = [], sampling.draw

    def counted(*given: Any) -> ImageSet:
        made = draw(*given)
        drawn.append(len(made))
        return made

    monkeypatch.setattr(sampling, "draw", counted)
    made = calibrated(AUGM, public_data=public(tmp_path), samples=None)
    made(images(), ledger=Ledger.in_memory())
    assert sum(drawn) <= 1


def test_an_autoencoder_is_shared_and_images_of_others_go_through_it(tmp_path: Path) -> None:
    file = public(tmp_path)
    made = calibrated(AUGM, public_data=file, samples=None)
    assert made.plan["samples"] == 12
    release = made(images(), ledger=Ledger.in_memory())
    release.save(tmp_path / "release")
    assert str(tmp_path) not in (tmp_path / "release" / "card.json").read_text()
    again = Release.load(tmp_path / "release")
    data: Any = release.data
    own = images(4, 12)
    assert np.array_equal(reconstruct(again, own).images, data.images)
    assert np.array_equal(data.labels, own.labels)
    with pytest.raises(InputError, match="no autoencoder"):
        reconstruct(calibrated(CVAE)(images(), ledger=Ledger.in_memory()), own)
    other = ImageSet.from_arrays(own.images, own.labels, ("x", "y", "z"))
    with pytest.raises(InputError, match="of the classes"):
        reconstruct(again, other)
    with pytest.raises(InputError, match="samples and public_data"):
        calibrated(AUGM, public_data=file)


def public(folder: Path) -> str:
    """A file of twelve images that nobody protects."""
    own = images(4, 12)
    file = folder / "public.npz"
    np.savez(file, images=own.images, labels=own.labels, classes=np.array(FACTS.classes))
    return str(file)


def test_a_card_says_on_which_public_sets_defaults_were_chosen() -> None:
    said = {
        type(method): " ".join(method.calibrate(BUDGET, FACTS).caveats)
        for method in (DpGan(), Cvae(), Augm())
    }
    assert "training parts of MNIST and Fashion-MNIST, all public" in said[DpGan]
    assert "training part of MNIST, which is public" in said[Cvae]
    assert "held out" not in said[Augm]  # of which nothing was chosen so

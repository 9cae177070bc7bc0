"""Generator feedback: copies are found, releases of others are not, and the loop only loosens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import digits, unproven

from sfumato import registry
from sfumato.attack import Evidence, dcgan
from sfumato.attack.feedback import Generator, public_loop
from sfumato.data import ImageSet
from sfumato.errors import InputError


def few_copies() -> tuple[Any, Evidence]:
    """A release of few members' own pictures, which a generator learns by heart."""
    members = digits("train", 0, 20)
    return members, Evidence(members, digits("train", 500, 200))


def attack(release: Any, evidence: Evidence, **settings: Any) -> Any:
    quick = {"steps": 500, "generated": 500, **settings}
    return registry.build("attack", "feedback.generator", quick)(release, evidence)


def test_a_generator_of_members_pictures_comes_near_to_them() -> None:
    members, evidence = few_copies()
    finding = attack(unproven(members), evidence)
    assert finding.value > 0.7
    assert finding.details["members_minus_others"][1] > 0


def test_likeness_may_be_structural() -> None:
    """1 for whoever was made again, less for others, and of each record by itself."""
    from sfumato.attack import feedback, targets

    members, others = digits("train", 0, 60), targets.read(digits("train", 800, 300))
    made = np.concatenate([digits("train", 500, 60).images, members.images])
    same = feedback._similarity(targets.read(members), made, "ssim")
    assert same == pytest.approx(np.ones(60))
    found = feedback._similarity(others, made, "ssim")
    assert 0 <= found.min() < found.max() < 1
    assert found.mean() < 0.95
    alone = feedback._similarity(others[np.arange(3)], made, "ssim")
    assert alone == pytest.approx(found[:3], abs=1e-12)
    evidence = Evidence(members, digits("train", 500, 60))
    finding = attack(unproven(members), evidence, steps=2, likeness="ssim")
    assert finding.details["likeness"] == "ssim"
    with pytest.raises(InputError, match="likeness is 'lpips'"):
        Generator(likeness="lpips")


@pytest.mark.slow
def test_a_generator_of_others_pictures_does_not() -> None:
    _, evidence = few_copies()
    finding = attack(unproven(digits("train", 900, 200)), evidence)
    assert not finding.better_than_chance


def test_a_gan_makes_pictures_of_the_shape_it_learnt() -> None:
    images = np.random.default_rng(0).random((40, 3, 9, 11)).astype(np.float32)
    made = dcgan.fit(images, steps=2)(300)
    assert made.shape == (300, 3, 9, 11)
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.slow
def test_the_public_loop_takes_the_loosest_that_passes() -> None:
    members, evidence = few_copies()

    def noisy(strength: float) -> Any:
        noise = np.random.default_rng(0).standard_normal(members.images.shape)
        images = np.clip(members.images + strength * noise, 0, 1).astype(np.float32)
        return unproven(ImageSet.from_arrays(images, members.labels, members.schema.classes))

    judge = Generator(steps=400, generated=300)
    chosen = public_loop([30.0, 0.0], noisy, evidence, 0.8, attack=judge)
    assert chosen.candidate == 30.0
    assert len(chosen.findings) == 2
    refused = public_loop([0.0, 30.0], noisy, evidence, 0.8, attack=judge)
    assert refused.candidate is None
    assert len(refused.findings) == 1


def test_a_loop_without_candidates_or_limit_is_refused() -> None:
    _, evidence = few_copies()
    with pytest.raises(InputError, match="no candidates"):
        public_loop([], unproven, evidence, 0.8)
    with pytest.raises(InputError, match=r"limit is 0\.5"):
        public_loop([1], unproven, evidence, 0.5)

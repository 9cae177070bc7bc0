"""Stacks of gradients at generated points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.bounds import check_joint
from sfumato.learn.class_stacks import Points, StackEngine, engine_of
from sfumato.learn.clipping import Stacked
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.own_noise import keys_of
from sfumato.learn.ranks import Alone
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.neighbours import Neighbours

CLIP = Stacked(0.5)


def engine(room: int = 3) -> StackEngine:
    points = Points(3, 2, 4)
    with torch.no_grad():
        points.points.copy_(torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0)))

    def pull(generated: torch.Tensor, real: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return generated - (weights[:, :, None] * real).sum(dim=1, keepdim=True)

    return StackEngine(points, pull, CLIP, room)


def keyed(records: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return records, keys_of(records)


def test_a_stack_is_noised_for_its_diameter() -> None:
    assert CLIP.sensitivity(Neighbours.ADD_REMOVE) == 1.0
    assert CLIP.sensitivity(Neighbours.REPLACE_ONE) == pytest.approx(2**0.5)
    assert CLIP.noise_stddevs(3.0) == [3.0]
    check_joint(CLIP, 3.0)
    with pytest.raises(InputError, match="max_grad_norm is -1"):
        Stacked(-1)


def test_a_class_sees_its_own_records_alone() -> None:
    rng = torch.Generator().manual_seed(1)
    records = torch.randn(6, 4, generator=rng)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    made = engine().clipped_sum(keyed(records), labels)
    fewer = engine().clipped_sum(keyed(records[:5]), labels[:5])
    assert torch.equal(made.gradients["points"][1:], fewer.gradients["points"][1:])
    assert not torch.equal(made.gradients["points"][0], fewer.gradients["points"][0])
    assert made.gradients["points"].flatten(1).norm(dim=1)[:2].max() <= 0.5
    assert made.norms.shape == (1, 6)


def test_what_is_not_there_or_not_finite_pulls_at_nothing() -> None:
    records, labels = torch.ones(2, 4), torch.tensor([0, 1])
    records[1, 0] = torch.nan
    made = engine().clipped_sum(keyed(records), labels).gradients["points"]
    assert made[0].norm() > 0
    assert torch.equal(made[1:], torch.zeros(2, 2, 4))
    none = engine().clipped_sum(keyed(records[:0]), labels[:0])
    assert torch.equal(none.gradients["points"], torch.zeros(3, 2, 4))


def test_only_so_many_records_of_a_class_are_looked_at() -> None:
    records = torch.arange(20.0).view(5, 4) / 20
    labels = torch.zeros(5, dtype=torch.int64)
    first = keys_of(records).argsort()[:3]
    some = engine(room=3).clipped_sum(keyed(records[first]), labels[first])
    every = engine(room=3).clipped_sum(keyed(records), labels)
    assert torch.equal(some.gradients["points"], every.gradients["points"])


def test_which_records_are_looked_at_is_no_matter_of_their_places() -> None:
    records, labels = torch.arange(40.0).view(10, 4) / 40, torch.arange(10) % 2
    made = engine(room=3).clipped_sum(keyed(records), labels).gradients["points"]
    for seed in range(5):
        order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
        other = engine(room=3).clipped_sum(keyed(records[order]), labels[order]).gradients["points"]
        assert torch.equal(other, made)


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 25, 25), (1, 27, 31), (3, 25, 25)])
def test_an_overfull_class_is_the_same_where_a_record_of_another_is_gone(
    shape: tuple[int, int, int],
) -> None:
    """Sizes at which a product of floating-point matrices changes in its last bits."""
    from sfumato.publish.generators.transporting import Frequencies

    seen = Frequencies(shape, 100)
    images = torch.rand(200, *shape, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(200) % 3
    points = Points(3, 2, seen.width)
    found: list[torch.Tensor] = []

    def pull(generated: torch.Tensor, real: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        found.append(real)
        return generated - (weights[:, :, None] * real).sum(dim=1, keepdim=True)

    def made(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        inputs = seen.of_records(images), keys_of(images)
        return StackEngine(points, pull, CLIP, 20).clipped_sum(inputs, labels).gradients["points"]

    within, without = made(images, labels), made(images[1:].clone(), labels[1:])
    assert torch.equal(found[0][1:], found[1][1:])
    assert torch.equal(within[1:], without[1:])


def loop(ranks: Any = None, **settings: Any) -> PrivateLoop:
    points = Points(2, 2, 1)
    mechanism = DpSgd(PoissonSampling(8, 1.0), CLIP, 1.0, 1, 1e-5)

    def pull(generated: torch.Tensor, real: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return generated - (weights[:, :, None] * real).sum(dim=1, keepdim=True)

    return PrivateLoop(
        points,
        torch.optim.SGD(points.parameters(), 0.0),
        lambda *_: torch.zeros(0),
        (keyed(torch.ones(8, 1)), torch.zeros(8, dtype=torch.int64)),
        mechanism,
        engine=engine_of(pull, 8),
        ranks=ranks,
        **settings,
    )


def test_a_sample_is_never_taken_in_parts() -> None:
    """Four parts of two records would each have a stack of the whole bound: 4 C in all."""
    made = loop(physical_batch_size=2)._clipped_sum(np.arange(8))
    assert torch.equal(
        made.gradients["points"], loop()._clipped_sum(np.arange(8)).gradients["points"]
    )
    assert made.gradients["points"].norm() <= CLIP.max_grad_norm
    assert not loop(physical_batch_size=2)._clipped_sum(np.arange(0)).gradients["points"].any()


def test_several_processes_may_not_share_a_sample() -> None:
    class Team:
        leads = True
        run = Alone.run
        align = Alone.align

    assert loop(Alone())
    with pytest.raises(InputError, match="takes a sample as a whole"):
        loop(Team())


def test_the_transport_of_one_class_does_not_hear_of_another() -> None:
    pytest.importorskip("geomloss")
    from sfumato.publish.generators.transporting import divergence

    distance = divergence(0.05)
    rng = torch.Generator().manual_seed(2)
    generated, real = (torch.rand(3, m, 9, generator=rng) / 3 for m in (4, 5))
    weights = torch.full((3, 5), 0.2)
    equal = torch.full((3, 4), 0.25)

    def pulls(other: torch.Tensor) -> torch.Tensor:
        at = generated.clone().requires_grad_()
        (found,) = torch.autograd.grad(distance(equal, at, weights, other).sum(), [at])
        return found

    moved = real.clone()
    moved[1] = 1.0
    before, after = pulls(real), pulls(moved)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])
    # A far cloud pulls towards itself: half the squared distance of means, at least roughly.
    assert (after[1] < 0).all()

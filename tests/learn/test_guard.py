"""Gradients of the caller's own, in a loop whose gradients should all be noisy."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import guard
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.optimise import make_private
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.transcript import listening

pytestmark = pytest.mark.filterwarnings("ignore:no ledger was given")


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def data() -> tuple[Tensor, Tensor]:
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 0] > 0).long()


def private(optimizer: Any = None, module: nn.Module | None = None, **settings: Any) -> PrivateLoop:
    module = nn.Linear(3, 2) if module is None else module
    optimizer = optimizer or torch.optim.SGD(module.parameters(), 0.1)
    settings = {"expected_batch_size": 10, "steps": 3} | settings
    return make_private(module, optimizer, data(), Budget(3.0, 1e-5), loss=losses, **settings)


def plain(loop: PrivateLoop) -> Tensor:
    return losses(loop.module(data()[0]), data()[1]).mean()


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_backward_pass_of_ones_own_is_refused_before_the_weights_move(zeroed: bool) -> None:
    loop = private()
    before = [p.detach().clone() for p in loop.module.parameters()]
    loop.backward()
    if zeroed:
        loop.optimizer.zero_grad()
    plain(loop).backward()
    with pytest.raises(InputError, match=r"no noise is on them.*Leave loss.backward\(\)"):
        loop.optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, loop.module.parameters(), strict=True))
    loop.backward()  # sets the gradients anew
    loop.optimizer.step()


def test_gradients_that_are_taken_away_before_the_step_are_told_of() -> None:
    """Out of habit: the whole budget would be spent, and the weights stay where they are."""
    loop = private()
    for _ in loop:
        loop.optimizer.zero_grad()
        with pytest.raises(InputError, match=r"gradients of this step are gone.*zero_grad\(\)"):
            loop.optimizer.step()
        break
    loop.backward()
    loop.optimizer.step()
    loop.optimizer.zero_grad()
    loop.optimizer.step()  # with nothing, after a step with all of it


def test_parameters_that_are_unfrozen_later_are_watched_too() -> None:
    loop = private()
    loop.module.weight.requires_grad_(False)
    loop.backward()
    loop.module.weight.requires_grad_(True)
    loop.backward()
    (loop.module.weight.sum()).backward()
    with pytest.raises(InputError, match="no noise is on them"):
        loop.optimizer.step()


@pytest.mark.parametrize("by_name", [True, False])
def test_a_closure_is_refused(by_name: bool) -> None:
    loop = private()
    loop.backward()

    def closure() -> float:
        raise AssertionError("the closure was called")

    with pytest.raises(InputError, match="was given a closure"):
        loop.optimizer.step(closure=closure) if by_name else loop.optimizer.step(closure)


def test_what_is_public_still_goes_into_a_step() -> None:
    loop = private()
    for _ in loop:
        penalty = sum(p.square().sum() for p in loop.module.parameters())
        grown = torch.autograd.grad(penalty, list(loop.module.parameters()))
        for parameter, more in zip(loop.module.parameters(), grown, strict=True):
            assert parameter.grad is not None
            parameter.grad += more
        torch.nn.utils.clip_grad_norm_(loop.module.parameters(), 1.0)
        loop.optimizer.step()
    assert loop.run.left == 0


def test_another_optimiser_steps_with_noisy_gradients_and_with_nothing_else() -> None:
    loop = private()
    other = torch.optim.SGD(loop.module.parameters(), 0.1)
    for _ in range(3):
        before = torch.cat([p.detach().ravel() for p in loop.module.parameters()])
        with listening() as heard:
            loop.backward()
        gradient = torch.cat([p.grad.ravel() for p in loop.module.parameters()])
        # All that p.grad holds is what an adversary may see: what follows is post-processing.
        assert np.array_equal(heard[0].astype(np.float32), gradient.numpy())
        other.step()
        after = torch.cat([p.detach().ravel() for p in loop.module.parameters()])
        assert torch.allclose(after, before - 0.1 * gradient, atol=1e-7)
    loop.module(data()[0]).sum().backward()
    other.step()  # the training is over: it is the caller's


@pytest.mark.parametrize("how", ["backward", "closure", "made before the loop", "half"])
def test_another_optimiser_does_not_step_with_a_backward_pass_of_ones_own(how: str) -> None:
    module = nn.Linear(3, 2)
    early = torch.optim.AdamW(module.parameters(), 0.1)
    loop = private(module=module)
    loop.backward()
    held = [module.bias] if how == "half" else list(module.parameters())
    other = early if how == "made before the loop" else torch.optim.SGD(held, 0.1)
    before = [p.detach().clone() for p in module.parameters()]
    if how == "closure":
        with pytest.raises(InputError, match=r"another optimiser \(SGD\).*that a closure makes"):
            other.step(lambda: plain(loop))
    else:
        plain(loop).backward()
        with pytest.raises(InputError, match=r"another optimiser .*backward\(\) of your own put"):
            other.step()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    loop.backward()
    other.step()


def test_an_optimiser_of_other_parameters_is_none_of_the_loops_business() -> None:
    loop = private()
    loop.backward()
    public = nn.Linear(3, 3)
    other = torch.optim.SGD(public.parameters(), 0.1)
    loop.module(public(data()[0])).sum().backward()  # as a generator is trained through a critic
    other.step()
    gone = weakref.ref(loop._guard)
    del loop
    gc.collect()
    other.step()
    assert gone() is None
    assert guard._GUARDS or not guard._EVERYWHERE  # nothing is left on other optimisers


def test_a_scheduler_and_groups_of_parameters_are_no_closure() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    groups = [{"params": part.parameters(), "lr": 0.1} for part in module]
    optimizer = torch.optim.AdamW(groups)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=3)
    loop = private(optimizer, module)
    for _ in loop:
        optimizer.step()
        rates.step()
    assert loop.run.left == 0


@pytest.mark.parametrize("forgotten", [True, False])
def test_after_the_training_the_optimiser_is_the_callers_again(forgotten: bool) -> None:
    loop = private(steps=1 if not forgotten else 5)
    module, optimizer = loop.module, loop.optimizer
    loop.backward()
    optimizer.step()
    if forgotten:
        gone = weakref.ref(loop)
        del loop
        assert gone() is None, "something keeps the loop alive"
        gc.collect()
        assert not optimizer._optimizer_step_pre_hooks
    optimizer.zero_grad()
    module(data()[0]).sum().backward()
    optimizer.step()


def test_inference_mode_is_named_before_anything_is_paid() -> None:
    ledger = Ledger.in_memory()
    loop = private(ledger=ledger)
    with torch.inference_mode(), pytest.raises(InputError, match=r"torch.inference_mode is on"):
        loop.backward()
    assert not ledger.entries()
    assert loop.run.taken == 0


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_training_is_not_copied_with_its_budget(copied: Any) -> None:
    loop = private()
    loop.backward()
    whole = loop.run if copied is copy.copy else loop
    with pytest.raises(InputError, match="its copy would spend its budget once more"):
        copied(whole)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_training_takes_no_step(tmp_path: Path) -> None:
    loop = private()
    loop.backward()
    told = tmp_path / "told"
    if (child := os.fork()) == 0:
        try:
            loop.backward()
            told.write_text("it took a step")
        except InputError as error:
            told.write_text(str(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert "every process would spend its budget once more" in told.read_text()
    loop.backward()


def test_two_threads_take_no_step_at_once() -> None:
    told: list[str] = []

    def within(outputs: Tensor, targets: Tensor) -> Tensor:
        def step() -> None:
            with pytest.raises(InputError, match="while another is under way"):
                loop.backward()
            told.append("refused")

        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
        return losses(outputs, targets)

    loop = private()
    loop._settled = True
    loop._engine._loss = within
    loop.backward()
    assert told
    assert loop.run.taken == 1
    loop.backward()


def test_a_module_in_training_is_copied_and_pickled_without_the_guard() -> None:
    loop = private()
    loop.backward()
    for copied in (copy.deepcopy(loop.module), pickle.loads(pickle.dumps(loop.module))):
        optimizer = torch.optim.SGD(copied.parameters(), 0.1)
        copied(data()[0]).sum().backward()
        optimizer.step()
    loop.optimizer.step()


def test_parameters_of_others_that_the_optimiser_was_given_later_are_refused() -> None:
    # At the start the loop refuses them; nothing did afterwards.
    loop, other = private(), nn.Linear(2, 2)
    loop.optimizer.add_param_group({"params": list(other.parameters())})
    loop.backward()
    losses(other(loop.module(data()[0]).detach()), data()[1]).mean().backward()
    before = other.weight.detach().clone()
    with pytest.raises(InputError, match="not the module's, with gradients that no noise is on"):
        loop.optimizer.step()
    assert torch.equal(other.weight, before)


def test_a_layer_that_is_added_later_is_trained_like_the_others() -> None:
    module = nn.Sequential(nn.Linear(3, 2))
    loop = private(module=module)
    loop.backward()
    loop.optimizer.step()
    module.append(nn.Linear(2, 2))
    loop.optimizer.add_param_group({"params": list(module[1].parameters())})
    before = module[1].weight.detach().clone()
    loop.backward()
    loop.optimizer.step()
    assert not torch.equal(module[1].weight, before)

"""Keeps gradients that nobody noised out of the steps of a private training.

A loop sets ``p.grad`` itself. Whoever has trained otherwise before calls ``loss.backward()`` out of
habit, which puts the plain gradient of private records there, in place of the noisy one or on top
of it; nothing else would show it. Another optimiser of the same parameters may step with what the
loop has set, which is post-processing; with what a backward pass put there it may not, either: one
that was made anew in a notebook, after the loop, is as good as the loop's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sfumato.errors import InputError

_REMEDY = (
    "Leave loss.backward() and zero_grad() out: the loop has set p.grad. For gradients of public "
    "things take torch.autograd.grad and add to p.grad."
)
_EMPTY = "Leave zero_grad() out, or call it after the step: the loop sets p.grad anew for each."
_GUARDS: weakref.WeakSet[Guard] = weakref.WeakSet()
_EVERYWHERE: list[Any] = []
"""The hook on the steps of all optimisers, as long as there is a guard."""


class Guard:
    """Refuses steps for which a backward pass of others came to ``p.grad``.

    Those of the owner's optimiser, and of any other that holds one of its parameters. It refuses
    nothing more once the owner is gone, or its last step has been taken.

    Args:
        owner: The loop that sets ``p.grad``.
        optimizer: Of its parameters.
        last: Whether the owner has no further step to take.
    """

    def __init__(self, owner: object, optimizer: Optimizer, last: Callable[[], bool]) -> None:
        self._last = last
        self._came, self._over = False, False
        self._laid: set[int] = set()  # what has a gradient that no step was taken with
        self._watched: set[int] = set()  # the module's, as they were at some step
        self._handles: list[Any] = [optimizer.register_step_pre_hook(_asking(weakref.ref(self)))]
        self._optimizer = weakref.ref(optimizer)
        self._free: weakref.WeakSet[Optimizer] = weakref.WeakSet()  # others, after the last step
        _GUARDS.add(self)
        if not _EVERYWHERE:
            _EVERYWHERE.append(register_optimizer_step_pre_hook(_stepping))
        weakref.finalize(owner, _remove, self._handles)

    def laid(self, parameters: Iterable[Tensor]) -> None:
        """Notes that the owner has set the gradients of these parameters afresh."""
        self._laid.clear()
        for parameter in parameters:
            if parameter.requires_grad and id(parameter) not in self._watched:
                self._watched.add(id(parameter))
                watched: Any = parameter
                seen = _seeing(weakref.ref(self))
                self._handles.append(watched.register_post_accumulate_grad_hook(seen))
            if parameter.grad is not None:
                self._laid.add(id(parameter))
        self._came = False

    def saw(self) -> None:
        """Notes that a backward pass put a gradient into a parameter."""
        self._came = True

    def check(self, optimizer: Optimizer, closure: object) -> None:
        """Looks at what the optimiser is about to step with.

        Raises:
            InputError: If a backward pass of others came in between, or is about to; or if the
                gradients were taken away, and the step would have been paid for in vain.
        """
        if self._over:
            return
        if closure is not None:
            raise InputError(
                "optimizer.step was given a closure, and no noise is on the gradients it makes",
                _REMEDY,
            )
        if self._came:
            raise InputError(
                "a backward() of your own put gradients into the parameters of a private "
                "training, and no noise is on them",
                _REMEDY,
            )
        held = [p for group in optimizer.param_groups for p in group["params"]]
        if any(p.grad is not None and id(p) not in self._watched for p in held):
            raise InputError(
                "the optimiser holds parameters that are not the module's, with gradients that no "
                "noise is on",
                "Give them an optimiser of their own: add_param_group is for the module's.",
            )
        if self._laid and all(p.grad is None for p in held if id(p) in self._laid):
            raise InputError(
                "the private gradients of this step are gone, and the optimiser would not move",
                _EMPTY,
            )
        self._laid.clear()
        self._over = self._last()

    def check_other(self, optimizer: Optimizer, closure: object) -> None:
        """Looks at what an optimiser that is not the owner's is about to step with.

        Raises:
            InputError: As for :meth:`check`, if it holds a parameter that the owner trains.
        """
        if self._over or optimizer is self._optimizer() or optimizer in self._free:
            return
        if not any(id(p) in self._watched for g in optimizer.param_groups for p in g["params"]):
            return
        if self._came or closure is not None:
            whose = "a backward() of your own put there" if closure is None else "a closure makes"
            raise InputError(
                f"another optimiser ({type(optimizer).__name__}) is to step parameters of a "
                f"private training with gradients that {whose}, and no noise is on them",
                _REMEDY,
            )
        if self._last():
            self._free.add(optimizer)


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()


def _closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    return kwargs.get("closure", args[1] if len(args) > 1 else None)


def _stepping(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """The hook on all optimisers; it goes with the last guard."""
    for guard in list(_GUARDS):
        guard.check_other(optimizer, _closure(args, kwargs))
    if not _GUARDS:
        _remove(_EVERYWHERE)


def _seeing(guard: weakref.ref[Guard]) -> Callable[[Tensor], None]:
    """A hook that does not keep the guard, which knows its owner, alive."""

    def hook(parameter: Tensor) -> None:
        if (found := guard()) is not None:
            found.saw()

    return hook


def _asking(guard: weakref.ref[Guard]) -> Callable[..., None]:
    def hook(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (found := guard()) is not None:
            found.check(optimizer, _closure(args, kwargs))

    return hook

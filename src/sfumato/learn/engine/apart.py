"""Whether one example moves another: the same batch again, with one of its examples changed.

NaN (see ``probe``) goes wherever a float goes. What is looked at here are consequences: so integers
are seen, comparisons and sorting, a backward of one's own, and the loss. Of an example that stays
where it is nothing may change: not its output, its loss or the norm of its gradient; and no buffer
may hold what examples are, or how many there were.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils import _pytree as pytree

from sfumato.errors import InputError
from sfumato.learn.engine import replay
from sfumato.learn.engine.probe import buffer_refused, buffers_kept, is_wrapped

_SIZE = 3
_BY_SIZE = 0.05
"""Batches of other sizes are added up in another order; a division by 3 is far from one by 2."""


class Look(NamedTuple):
    """What a pass over n examples leaves to be compared.

    Attributes:
        outputs: What the module returned.
        losses: (n,).
        squares: (n,) squared norms of each parameter's gradients, by name; or nothing.
    """

    outputs: Any
    losses: Tensor
    squares: Mapping[str, Tensor]


class Passes(Protocol):
    """Runs the recorded module and the loss."""

    def __call__(self, part: Any, n: int, *, pull: bool) -> Look:
        """A pass over ``(inputs, targets)``, n examples; with gradients if ``pull``."""
        ...


class _Seen(NamedTuple):
    look: Look
    buffers: dict[str, Tensor | None]  # None: an example's own, which nobody can read
    random: replay.States  # the generators' states afterwards


def check_apart(
    module: nn.Module, loss: Callable[..., Any], passes: Passes, part: Any, kind: str
) -> bool:
    """Refuses a module or a loss in which one example moves another.

    What draws random numbers from a generator of its own, or more of them for some values, or keeps
    a state, is looked at in evaluation mode; where it does so there, too, nothing is seen. Where
    not even two equal passes agree, that is said in a warning.

    Args:
        module: Its buffers, its mode and the random state are left as they were.
        loss: ``loss(outputs, targets)``.
        passes: Runs both.
        part: ``(inputs, targets)``, two examples at least.
        kind: The type of device that random numbers are drawn on.

    Returns:
        Whether two of the examples differ: else there was nothing to see.

    Raises:
        InputError: Naming the layer, the loss or the buffer.
    """
    partners = partners_of(part)
    view = _View(module, loss, passes, part, kind)
    if partners and not view.compare(partners, pull=True) and module.training:
        with _evaluating(module):
            view.compare(partners, pull=False)
    return bool(partners)


class _View:
    """The passes of one check."""

    def __init__(
        self, module: nn.Module, loss: Callable[..., Any], passes: Passes, part: Any, kind: str
    ) -> None:
        self._module, self._loss, self._passes = module, loss, passes
        self._leaves, self._spec = pytree.tree_flatten(part)
        self._kind, self._random = kind, replay.states(kind)
        self._tolerance = _tolerance(module, self._leaves, kind)

    def compare(self, partners: list[int], *, pull: bool) -> bool:
        """Changes the first and the last of a batch, then its length; whether all could be seen."""
        same = [0] * _SIZE
        # The other size first: what has the length of the batch by chance is found out by it.
        fewer = self._run(same[1:], pull)
        base, again = self._run(same, pull), self._run(same, pull)
        if self._moved(base.look, again.look, slice(None)) is not None:
            if pull:
                warnings.warn(
                    f"two passes of {type(self._module).__name__} and the loss "
                    f"{name_of(self._loss)!r} over the same examples differ: they can be looked at "
                    "in evaluation mode only. If they keep a state of what they saw, or mix "
                    "examples in training mode, there is no guarantee",
                    stacklevel=2,
                )
            return False
        # Which is drawn or counted anew in every pass says nothing of the examples.
        for name, value in base.buffers.items():
            if value is None:
                raise buffer_refused(self._module, name)
        quiet = {k for k, value in base.buffers.items() if _equal(value, again.buffers.get(k))}
        moved: dict[str, tuple[list[int], list[int], slice]] = {}
        for other in partners:
            turned = [other] * _SIZE
            for rows, before, changed, stayed in (
                (same, base, [other, *same[1:]], slice(1, None)),
                (same, base, [0, *turned[1:]], slice(0, 1)),
                (turned, self._run(turned, pull), [*turned[1:], 0], slice(None, -1)),
            ):
                after = self._run(changed, pull)
                if not replay.same(before.random, after.random):
                    return False  # as many random numbers as the values ask for
                self._refuse_buffers(before, after, quiet)
                what = self._moved(before.look, after.look, stayed)
                if what is not None:
                    moved.setdefault(what, (rows, changed, stayed))
        for what in ("outputs", "losses", "gradients"):  # what mixes one way shows in all of them
            if what in moved:
                raise self._refusal(what, *moved[what])
        self._refuse_buffers(base, fewer, quiet)
        if not replay.same(base.random, self._random):
            return False
        short = base.look._replace(
            outputs=pytree.tree_map_only(Tensor, _without_last, base.look.outputs),
            losses=base.look.losses[:-1],
            squares={name: square[:-1] for name, square in base.look.squares.items()},
        )
        what = self._moved(short, fewer.look, slice(None), _BY_SIZE)
        if what is not None:
            raise self._refusal_of_size(what)
        self._refuse_beside_nan(base, pull)
        return True

    def _refuse_beside_nan(self, base: _Seen, pull: bool) -> None:
        """Refuses what changes for the others where the first of them is no number.

        As where all are left out because one is none.
        """
        inputs, targets = self._part([0] * _SIZE)
        try:
            after = self._run_part((pytree.tree_map_only(Tensor, _spoilt, inputs), targets), pull)
        except (InputError, ValueError, LookupError, ArithmeticError, RuntimeError):
            return  # it may refuse NaN
        if not replay.same(base.random, after.random):
            return
        what = self._moved(base.look, after.look, slice(1, None))
        if what is not None:
            subject = {
                "outputs": type(self._module).__name__,
                "losses": f"the loss {name_of(self._loss)!r}",
                "gradients": "the backward pass",
            }[what]
            raise InputError(
                f"{subject} mixes examples: where one of them is NaN, others change",
                "Leave an example that is no number as it is: it counts as zero, and no other does",
            )

    def _run(self, rows: list[int], pull: bool) -> _Seen:
        return self._run_part(self._part(rows), pull)

    def _run_part(self, part: Any, pull: bool) -> _Seen:
        n = len(rows_of(part)[0])
        replay.restore(self._kind, self._random)
        with buffers_kept(self._module), buffers_kept(self._loss):
            try:
                look = self._passes(part, n, pull=pull)
                return _Seen(look, self._buffers(), replay.states(self._kind))
            finally:
                replay.restore(self._kind, self._random)

    def _part(self, rows: list[int]) -> Any:
        return pytree.tree_unflatten(
            [
                torch.stack([leaf[row] for row in rows]).detach()
                if isinstance(leaf, Tensor)
                else leaf
                for leaf in self._leaves
            ],
            self._spec,
        )

    def _buffers(self) -> dict[str, Tensor | None]:
        found = dict(self._module.named_buffers())
        if isinstance(self._loss, nn.Module):
            found |= {f"{name_of(self._loss)}.{k}": b for k, b in self._loss.named_buffers()}
        return {name: None if is_wrapped(b) else b.detach().clone() for name, b in found.items()}

    def _refuse_buffers(self, before: _Seen, after: _Seen, quiet: set[str]) -> None:
        for name in sorted(quiet & set(after.buffers)):
            if not _equal(before.buffers[name], after.buffers[name]):
                raise buffer_refused(self._module, name)

    def _moved(
        self, before: Look, after: Look, rows: slice, tolerance: float | None = None
    ) -> str | None:
        """What of these examples is not the same."""
        limit = self._tolerance if tolerance is None else tolerance
        pairs = zip(rows_of(before.outputs), rows_of(after.outputs), strict=False)
        if any(x.shape == y.shape and differ(x, y, rows, limit) for x, y in pairs):
            return "outputs"
        if differ(before.losses, after.losses, rows, limit):
            return "losses"
        # One scale for all parameters: the gradient of some is nothing but rounding errors.
        norms = (_norms(before), _norms(after))
        return "gradients" if differ(*norms, rows, limit) else None

    def _refusal(self, what: str, rows: list[int], changed: list[int], stayed: slice) -> InputError:
        if what == "outputs":
            return InputError(
                f"{self._culprit(rows, changed, stayed)} mixes examples: one example's input "
                "reaches another's output",
                "Compute statistics within each example (GroupNorm, LayerNorm), not over the batch",
            )
        if what == "losses":
            return InputError(
                f"the loss {name_of(self._loss)!r} mixes examples: one example's loss changes with "
                "the others of its batch",
                "Make each loss of the example's own output and target alone; where a loss is of "
                "several examples, make them one record",
            )
        return InputError(
            "an example's gradient changes with the others of its batch, though its loss does not",
            "Let no hook and no backward of your own see several examples at once",
        )

    def _refusal_of_size(self, what: str) -> InputError:
        subject = {
            "outputs": f"the output of {type(self._module).__name__}",
            "losses": f"the loss {name_of(self._loss)!r} of an example",
            "gradients": "an example's gradient",
        }[what]
        return InputError(
            f"{subject} changes with the number of examples in the batch",
            "Divide by no batch size: the sum of clipped gradients is divided by the expected one",
        )

    def _culprit(self, rows: list[int], changed: list[int], stayed: slice) -> str:
        """The innermost part whose output changes, the first of them to return."""
        names = {id(part): place for place, part in self._module.named_modules()}
        runs: list[list[tuple[nn.Module, list[Tensor]]]] = []

        def note(part: nn.Module, args: Any, output: Any) -> None:
            runs[-1].append((part, [leaf for leaf in rows_of(output) if not is_wrapped(leaf)]))

        handle = register_module_forward_hook(note)
        try:
            for batch in (rows, changed):
                runs.append([])
                self._run(batch, False)
        finally:
            handle.remove()
        for (part, before), (_, after) in zip(*runs, strict=False):
            pairs = zip(before, after, strict=False)
            if names.get(id(part)) and any(
                x.shape == y.shape and differ(x, y, stayed, self._tolerance) for x, y in pairs
            ):
                return f"{type(part).__name__} {names[id(part)]!r}"
        return type(self._module).__name__


def partners_of(part: Any) -> list[int]:
    """Examples to change the first one for: another of the same target, and one of another."""
    inputs, targets = (
        [leaf for leaf in pytree.tree_leaves(side) if isinstance(leaf, Tensor)] for side in part
    )
    n = len((*inputs, *targets)[0])
    other, labelled = (
        [any(not bool(torch.equal(leaf[i], leaf[0])) for leaf in side) for i in range(n)]
        for side in (inputs, targets)
    )
    alike = next((i for i in range(n) if other[i] and not labelled[i]), None)
    apart = next((i for i in range(n) if other[i] and labelled[i]), None)
    found = [i for i in (alike, apart) if i is not None]
    return found or [i for i in range(n) if labelled[i]][:1]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Sets the parts' modes, without what a ``train`` of the user's may do besides."""
    before = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in before:
            part.training = False
        yield
    finally:
        for part, training in before:
            part.training = training


def differ(x: Tensor, y: Tensor, rows: slice, tolerance: float) -> bool:
    """Whether these rows differ by more than the tolerance times the largest number of all."""
    if not (x.is_floating_point() or x.is_complex()):
        return not torch.equal(x[rows], y[rows])
    size = x.abs().double()
    scale = size[size.isfinite()].max() if bool(size.isfinite().any()) else size.new_zeros(())
    own, others = x[rows], y[rows]
    off = (own - others).abs().double()
    alike = (own == others) | (own.isnan() & others.isnan()) | (off <= tolerance * scale)
    return not bool(alike.all())


def _norms(look: Look) -> Tensor:
    """(n, parameters) norms of gradients; those that are not finite contribute nothing."""
    if not look.squares:
        return look.losses.new_zeros(len(look.losses), 1)
    squares = torch.stack([square.double() for square in look.squares.values()], dim=1)
    return squares.sqrt().nan_to_num(nan=0.0, posinf=0.0)


def rows_of(outputs: Any) -> list[Tensor]:
    """The tensors of an output that have rows."""
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.ndim]


def _spoilt(values: Tensor) -> Tensor:
    if not values.is_floating_point():
        return values
    values = values.clone()
    values[0] = math.nan
    return values


def _without_last(values: Tensor) -> Tensor:
    return values[:-1] if values.ndim else values


def _equal(x: Tensor | None, y: Tensor | None) -> bool:
    if x is None or y is None or x.shape != y.shape or x.dtype != y.dtype:
        return False
    return bool(((x == y) | ((x != x) & (y != y))).all())


def _tolerance(module: nn.Module, leaves: list[Any], kind: str) -> float:
    """Half of the digits of the coarsest numbers at work."""
    tensors = [*module.parameters(), *(leaf for leaf in leaves if isinstance(leaf, Tensor))]
    kinds = {t.dtype for t in tensors if t.is_floating_point() or t.is_complex()}
    if torch.is_autocast_enabled(kind):
        kinds.add(torch.get_autocast_dtype(kind))
    return float(max(torch.finfo(dtype).eps for dtype in kinds) ** 0.5)


def name_of(loss: Callable[..., Any]) -> str:
    """What a function of the user's is called in messages."""
    return getattr(loss, "__name__", type(loss).__name__)

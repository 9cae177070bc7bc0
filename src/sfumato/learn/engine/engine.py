"""The clipped sum of per-example gradients, in one backward pass over each chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sfumato.errors import InputError
from sfumato.learn.clipping import Clipping
from sfumato.learn.engine.contributions import Contribution
from sfumato.learn.engine.plan import above, layers, recorded
from sfumato.learn.engine.pool import Pool
from sfumato.learn.engine.probe import probe, probe_size
from sfumato.learn.engine.refusals import refuse_mixing, refuse_parts
from sfumato.learn.engine.registry import Handler
from sfumato.learn.engine.tape import Tape

Loss = Callable[[Any, Any], Tensor]

# The automatic chunk: what is recorded of a chunk should stay in cache on a CPU, and fill a GPU.
_FIRST_CHUNK = 16
_CHUNK_BYTES = {"cpu": 64 << 20, "cuda": 2 << 30}
_LONGEST_CHUNK = 1024


class ClippedSum(NamedTuple):
    """What a step needs to know of a batch of n examples.

    Attributes:
        gradients: The sum over examples of factor times gradient, by parameter name, in float32
            at least.
        norms: (groups, n) L2 norms before clipping. Private.
        losses: (n,). Private.
    """

    gradients: dict[str, Tensor]
    norms: Tensor
    losses: Tensor


class Engine:
    """Sums clipped per-example gradients of a module that stays the user's.

    Nothing is wrapped: for the time of a call the layers' ``forward`` is stood in for by
    functions that keep the layer's input and its output's gradient; afterwards nothing is left
    on the module, also if the call fails. The module's and its parameters' names, hooks, modes
    and ``requires_grad`` are not touched.

    Guaranteed: the norm of each example's contribution in a group is that of the sum over all
    uses of all the group's parameters; an example with a loss, gradient or norm that is not
    finite contributes zero; no example changes another's contribution as long as the module
    does not mix examples. What torch offers to mix them is refused, and before the first step
    copies of one example are run to see whether one reaches another's output. (Mixing that a
    NaN does not show, and mixing in the loss, cannot be seen.)

    Args:
        module: Any module whose layers keep the examples in dimension 0.
        loss: ``loss(outputs, targets)``, the (n,) losses of n examples.
        clipping: Groups of parameters, and the factors of their norms.
        chunk: Examples taken at a time: memory grows with it. Chosen by what the first chunk
            needed if None.

    Raises:
        InputError: If a layer mixes examples.

    Source: Bu et al. 2023 (book-keeping); Lee & Kifer 2021, Li et al. 2022 (norms of layers).
    """

    def __init__(
        self, module: nn.Module, loss: Loss, clipping: Clipping, *, chunk: int | None = None
    ) -> None:
        if chunk is not None and chunk < 1:
            raise InputError(f"chunk is {chunk}", "Give a positive number of examples, or None")
        refuse_mixing(module)
        self._module, self._loss, self._clipping = module, loss, clipping
        self._chunk, self._automatic = chunk, _FIRST_CHUNK
        self._as_one: frozenset[str] = frozenset()
        self._tape: Tape | None = None
        self._pool = Pool()
        self._probed: object = None
        self._planned: tuple[object, dict[str, Handler | None]] | None = None

    def clipped_sum(self, inputs: Tensor | tuple[Tensor, ...], targets: Any) -> ClippedSum:
        """The clipped sum over a batch.

        Args:
            inputs: The module's argument or arguments, n examples in dimension 0 of each.
            targets: What the loss takes, likewise.

        Raises:
            InputError: If the loss is not one number an example, a layer's input does not keep the
                examples in dimension 0, or the module is sharded over processes.
        """
        refuse_mixing(self._module)
        refuse_parts(self._module)
        args = inputs if isinstance(inputs, tuple) else (inputs,)
        n = _count((args, targets))
        parameters = {k: p for k, p in self._module.named_parameters() if p.requires_grad}
        groups = self._clipping.groups(list(parameters))
        group_of = dict(zip(parameters, groups, strict=True))
        totals = {
            name: torch.zeros_like(p, dtype=_wide(p.dtype), requires_grad=False)
            for name, p in parameters.items()
        }
        norms, losses = [], []
        for part, size in self._parts(args, targets, n):
            chunk_norms, chunk_losses = self._add_chunk(part, size, group_of, totals)
            norms.append(chunk_norms)
            losses.append(chunk_losses)
        count = max(groups, default=0) + 1
        device = next(iter(parameters.values())).device if parameters else None
        return ClippedSum(
            totals,
            torch.cat(norms, 1) if norms else torch.zeros(count, 0, device=device),
            torch.cat(losses) if losses else torch.zeros(0, device=device),
        )

    def per_example(
        self, inputs: Tensor | tuple[Tensor, ...], targets: Any
    ) -> Iterator[dict[str, Tensor]]:
        """The gradient of each example, formed, a chunk at a time.

        For what needs every gradient by itself: clipped sums do without, and are far cheaper. Give
        the engine a ``chunk``, as these take the memory of the parameters for every example.

        Args:
            inputs: As for :meth:`clipped_sum`.
            targets: Likewise.

        Yields:
            (chunk, *shape) of every trainable parameter by name, in float32 at least, unclipped;
            not finite where an example's are not. The next chunk may overwrite them. Private.

        Raises:
            InputError: As for :meth:`clipped_sum`.
        """
        refuse_mixing(self._module)
        args = inputs if isinstance(inputs, tuple) else (inputs,)
        parameters = {k: p for k, p in self._module.named_parameters() if p.requires_grad}
        for part, size in self._parts(args, targets, _count((args, targets))):
            tape, losses = self._backward(part, size)
            with torch.no_grad(), torch.autocast(losses.device.type, enabled=False):
                found = tape.contributions()
                formed = {
                    name: found[name].per_example()
                    if name in found
                    else p.new_zeros(size, *p.shape, dtype=_wide(p.dtype), requires_grad=False)
                    for name, p in parameters.items()
                }
            yield formed
        self._pool.release()

    def _parts(self, args: Any, targets: Any, n: int) -> Iterator[tuple[Any, int]]:
        """Chunks of the batch with how many examples each has."""
        start = 0
        while start < n:
            stop = min(n, start + self._length(n - start))
            rows = partial(_rows, rows=slice(start, stop))
            yield pytree.tree_map_only(Tensor, rows, (args, targets)), stop - start
            start = stop

    def _length(self, left: int) -> int:
        """Examples of the next chunk: what is left, in equal parts no longer than allowed."""
        longest = self._chunk or self._automatic
        return -(-left // -(-left // longest))

    def _plan(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, Handler | None]:
        signature = (tuple(id(p) for p in parameters.values()), self._as_one)
        if self._planned is None or self._planned[0] != signature:
            self._planned = (signature, layers(self._module, self._as_one))
        return self._planned[1]

    def _add_chunk(
        self, part: Any, n: int, group_of: Mapping[str, int], totals: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Adds a chunk's clipped sum to the totals; returns its norms and losses."""
        tape, losses = self._backward(part, n)
        with torch.no_grad(), torch.autocast(losses.device.type, enabled=False):
            if self._chunk is None:
                self._adapt(tape)
            found = tape.contributions()
            norms = _group_norms(found, group_of, n, losses)
            finite = (norms.isfinite().all(0)) & losses.isfinite()
            factors = self._clipping.factors(norms)
            if not bool(finite.all()):
                factors = torch.where(finite, factors, factors.new_zeros(()))
                found = {name: c.kept(finite) for name, c in found.items()}
            for name, contribution in found.items():
                contribution.add_weighted(factors[group_of[name]], totals[name])
        self._pool.release()
        return norms, losses

    def _backward(self, part: Any, n: int) -> tuple[Tape, Tensor]:
        """One forward and backward pass over a chunk: its tape, and its losses (n,)."""
        while True:
            self._pool.release()
            trainable = {k: p for k, p in self._module.named_parameters() if p.requires_grad}
            names = {id(p): name for name, p in trainable.items()}
            places = {id(m): place for place, m in self._module.named_modules()}
            device = next(iter(trainable.values())).device if trainable else torch.device("cpu")
            plan = self._plan(trainable)
            try:
                with recorded(self._module, plan, self._current), torch.enable_grad():
                    args, targets = part
                    if self._probed is not plan:
                        self._tape = Tape(probe_size(n), names, places, device)
                        probe(self._module, args, probe_size(n))
                        self._probed = plan
                    tape = self._tape = Tape(n, names, places, device, self._pool)
                    losses = self._loss(self._module(*args), targets)
                    if not isinstance(losses, Tensor) or losses.shape != (n,):
                        shape = tuple(getattr(losses, "shape", ()))
                        raise InputError(
                            f"the loss returned shape {shape} for {n} examples",
                            "Return one loss an example (reduction='none')",
                        )
                    leaked = self._pull(losses, tape, list(trainable.values()))
            finally:
                self._tape = None
            used = [p for p, g in zip(trainable.values(), leaked, strict=True) if g is not None]
            if not used:
                return tape, losses.detach()
            # A parameter was read by other code than its layer's: the smallest module around
            # all of it becomes one layer, and the chunk is done again.
            place = above(self._module, id(used[0]), self._as_one)
            if place in self._as_one:
                name = names[id(used[0])]
                raise InputError(
                    f"the parameter {name!r} is used outside the module it belongs to",
                    "Use it in the module's forward",
                )
            self._as_one |= {place}

    @staticmethod
    def _pull(
        losses: Tensor, tape: Tape, parameters: list[nn.Parameter]
    ) -> tuple[Tensor | None, ...]:
        """Runs the backward pass; the gradients of parameters used outside their layers."""
        if not losses.requires_grad:
            return (None,) * len(parameters)
        with torch.autocast(losses.device.type, enabled=False):
            total = losses.sum(dtype=_wide(losses.dtype))
            gradients = torch.autograd.grad(total, [tape.anchor, *parameters], allow_unused=True)
        return tuple(gradients[1:])

    def _current(self) -> Tape:
        assert self._tape is not None
        return self._tape

    def _adapt(self, tape: Tape) -> None:
        """Fits the next chunks to the memory that this one's records took."""
        limit = _CHUNK_BYTES.get(tape.anchor.device.type, _CHUNK_BYTES["cuda"])
        fitting = limit * tape.n // max(1, tape.bytes)
        self._automatic = int(min(max(fitting, _FIRST_CHUNK), _LONGEST_CHUNK))


def _group_norms(
    found: Mapping[str, Contribution], group_of: Mapping[str, int], n: int, losses: Tensor
) -> Tensor:
    """(groups, n) norms of the examples' gradients."""
    count = max(group_of.values(), default=0) + 1
    squares: list[Tensor | None] = [None] * count
    for name, contribution in found.items():
        square, group = contribution.squared_norms(), group_of[name]
        before = squares[group]
        squares[group] = square if before is None else before + square
    dtype = _wide(losses.dtype)
    rows = [row if row is not None else losses.new_zeros(n, dtype=dtype) for row in squares]
    return torch.stack(rows).sqrt()


def _count(tree: Any) -> int:
    """How many examples the tensors hold.

    Raises:
        InputError: If they do not agree.
    """
    sizes = [len(leaf) if leaf.ndim else -1 for leaf in _tensors(tree)]
    if not sizes or min(sizes) != max(sizes) or min(sizes) < 0:
        raise InputError(
            f"inputs and targets hold {sizes} examples", "Give as many targets as examples"
        )
    return sizes[0]


def _rows(values: Tensor, rows: slice) -> Tensor:
    return values[rows].detach()


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype

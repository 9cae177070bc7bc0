"""The clipped sum of per-example gradients, in one backward pass over each chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sfumato.errors import InputError
from sfumato.learn.clipping import Clipping
from sfumato.learn.engine import together
from sfumato.learn.engine.apart import Look, check_apart
from sfumato.learn.engine.contributions import Contribution, wide_type
from sfumato.learn.engine.lengths import Lengths, Note, lengths_of
from sfumato.learn.engine.plan import Plan, above, layers, recorded
from sfumato.learn.engine.pool import Pool
from sfumato.learn.engine.probe import probe, probe_size
from sfumato.learn.engine.refusals import refuse_parts
from sfumato.learn.engine.survey import Survey
from sfumato.learn.engine.tape import Tape, TwiceError

Loss = Callable[[Any, Any], Tensor]

# The automatic chunk: what is recorded of a chunk should stay in cache on a CPU, and fill a GPU.
_FIRST_CHUNK = 16
_CHUNK_BYTES = {"cpu": 32 << 20, "cuda": 2 << 30}
_LONGEST_CHUNK = 1024
# With more records than this a batch is taken in two chunks at least.
_WHOLE_BYTES = 4 << 20


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


class _Outside(Exception):
    """A parameter was read by other code than that of the module that owns it."""

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter


def _refuse_aside(tape: Tape) -> None:
    for parameter in tape.set_aside:
        raise _Outside(parameter)


class Engine:
    """Sums clipped per-example gradients of a module that stays the user's.

    Nothing is wrapped: for the time of a call the layers' ``forward`` is stood in for by
    functions that keep the layer's input and its output's gradient; afterwards nothing is left
    on the module, also if the call fails. The module's and its parameters' names, hooks, modes
    and ``requires_grad`` are not touched.

    Guaranteed: the norm of each example's contribution in a group is that of the sum over all
    uses of all the group's parameters; an example with a loss, gradient or norm that is not
    finite contributes zero; no example changes another's contribution as long as neither module
    nor loss mixes examples. What torch offers to mix them is refused, and before the first step a
    few examples are run in different company, to see whether one moves another's output, loss or
    gradient, or a buffer. (Mixing that these examples do not show cannot be seen.)

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
        self._survey = Survey(module)
        self._module, self._loss, self._clipping = module, loss, clipping
        self._chunk, self._automatic = chunk, _FIRST_CHUNK
        self._bytes = 0.0  # of an example's records
        self._as_one: frozenset[str] = frozenset()
        self._tape: Tape | None = None
        self._pool = Pool()
        self._probed: tuple[Plan, bool] | None = None  # the plan and the mode that were looked at
        self._compared: tuple[Plan, bool] | None = None  # likewise, by comparing batches
        self._lengths = Lengths()  # of the arguments of what that plan takes as one
        self._planned: tuple[Survey, frozenset[str], Plan] | None = None

    def clipped_sum(self, inputs: Tensor | tuple[Tensor, ...], targets: Any) -> ClippedSum:
        """The clipped sum over a batch.

        Args:
            inputs: The module's argument or arguments, n examples in dimension 0 of each.
            targets: What the loss takes, likewise.

        Raises:
            InputError: If the loss is not one number an example, a layer's input does not keep the
                examples in dimension 0, or the module is sharded over processes.
        """
        survey = self._look()
        args = inputs if isinstance(inputs, tuple) else (inputs,)
        leaves, spec = pytree.tree_flatten((args, targets))
        n = _count(leaves)
        parameters = survey.parameters
        groups = self._clipping.groups(list(parameters))
        group_of = dict(zip(parameters, groups, strict=True))
        # Made when they are first needed: by then the first chunk's activations are gone.
        totals: dict[str, Tensor] = {}
        norms, losses = [], []
        for part, size in self._parts(leaves, spec, n):
            chunk_norms, chunk_losses = self._add_chunk(part, size, group_of, totals)
            norms.append(chunk_norms)
            losses.append(chunk_losses)
        count = max(groups, default=0) + 1
        device = next(iter(parameters.values())).device if parameters else None
        return ClippedSum(
            {k: totals[k] if k in totals else together.zeros(p) for k, p in parameters.items()},
            _joined(norms, 1) if norms else torch.zeros(count, 0, device=device),
            _joined(losses, 0) if losses else torch.zeros(0, device=device),
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
        parameters = self._look().parameters
        args = inputs if isinstance(inputs, tuple) else (inputs,)
        leaves, spec = pytree.tree_flatten((args, targets))
        for part, size in self._parts(leaves, spec, _count(leaves)):
            tape, losses = self._backward(part, size)
            with torch.no_grad(), torch.autocast(losses.device.type, enabled=False):
                found = tape.contributions()
                formed = {
                    name: found[name].per_example()
                    if name in found
                    else p.new_zeros(size, *p.shape, dtype=wide_type(p), requires_grad=False)
                    for name, p in parameters.items()
                }
            yield formed
        self._pool.release()

    def _parts(self, leaves: list[Any], spec: Any, n: int) -> Iterator[tuple[Any, int]]:
        """Chunks of the batch with how many examples each has."""
        start = 0
        while start < n:
            stop = min(n, start + self._length(n - start, n))
            part = [
                leaf[start:stop].detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves
            ]
            yield pytree.tree_unflatten(part, spec), stop - start
            start = stop

    def _length(self, left: int, n: int) -> int:
        """Examples of the next chunk: what is left, in equal parts no longer than allowed."""
        longest = self._chunk or self._automatic
        if self._chunk is None and (n * self._bytes > _WHOLE_BYTES or left < n):
            # Activations of half the batch and these records, or the sums that the first chunk has
            # left, are less than all activations.
            longest = min(longest, -(-n // 2))
        # The first chunk is there to measure; what it needs is not what the others will.
        self._pool.rows = min(longest, n) if self._bytes or self._chunk else 0
        # After a first chunk, parts of the whole batch, as in the steps to come: what was taken for
        # a length that does not come again would stay with the allocator.
        whole = n if self._chunk is None else left
        return min(left, -(-whole // -(-whole // longest)))

    def _look(self) -> Survey:
        """The module as it stands now."""
        if self._survey.holds(self._module):
            self._survey.check()
        else:
            self._survey = Survey(self._module)
        refuse_parts(self._survey.parameters)
        return self._survey

    def _plan(self, survey: Survey) -> Plan:
        known = self._planned
        if known is None or known[0] is not survey or known[1] != self._as_one:
            known = survey, self._as_one, layers(self._module, self._as_one)
            self._planned = known
        return known[2]

    def _add_chunk(
        self, part: Any, n: int, group_of: Mapping[str, int], totals: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Adds a chunk's clipped sum to the totals; returns its norms and losses."""
        tape, losses = self._backward(part, n)
        with torch.no_grad(), _full_precision(losses.device.type):
            if self._chunk is None:
                self._adapt(tape)
            found = tape.contributions()
            del tape  # what it holds goes as the sums are made
            norms = _group_norms(found, group_of, n, losses)
            factors = self._clipping.factors(norms)
            # One look at all of them: a sum is finite only if everything in it is.
            if not math.isfinite(float(norms.sum() + losses.sum())):
                finite = norms.isfinite().all(0) & losses.isfinite()
                factors = torch.where(finite, factors, factors.new_zeros(()))
                found = {name: c.kept(finite) for name, c in found.items()}
            groups = factors.unbind()
            own = {name: groups[group_of[name]] for name in found}
            together.add_weighted(found, own, totals, self._survey.parameters)
        self._pool.release()
        return norms, losses

    def _backward(self, part: Any, n: int) -> tuple[Tape, Tensor]:
        """One forward and backward pass over a chunk: its tape, and its losses (n,)."""
        while True:
            self._pool.release()
            plan, training = self._plan(self._survey), self._module.training
            try:
                with recorded(plan, self._current), torch.enable_grad():
                    self._look_at(part, n, plan, training)
                    tape, _, losses = self._pass(part, n, self._pool)
            except _Outside as found:
                # A parameter was read by other code than its layer's: the smallest module around
                # all of it becomes one layer, and the chunk is done again.
                place = above(self._module, id(found.parameter), self._as_one)
                if place in self._as_one:
                    name = self._survey.names[id(found.parameter)]
                    raise InputError(
                        f"the parameter {name!r} is used outside the module it belongs to",
                        "Use it in the module's forward",
                    ) from None
                self._as_one |= {place}
            except TwiceError:
                if "" in self._as_one:
                    raise InputError(
                        "a gradient that is differentiated is taken outside of the module",
                        "Take it in the module's forward",
                    ) from None
                self._as_one |= {""}  # inside of one layer, torch.func goes back twice
            else:
                return tape, losses
            finally:
                self._tape = None

    def _look_at(self, part: Any, n: int, plan: Plan, training: bool) -> None:
        """Looks at whether examples are apart, once for a plan and a mode."""
        known = self._probed
        if known is None or known[0] is not plan or known[1] != training:
            self._lengths = self._find_lengths(part[0], plan)
            tape = self._tape = self._new_tape(probe_size(n))
            probe(self._module, part[0], probe_size(n))
            _refuse_aside(tape)
            self._probed = plan, training
        known = self._compared
        # Two equal examples would show nothing: the next chunk is looked at, too.
        if n > 1 and (known is None or known[0] is not plan or known[1] != training):
            kind = self._new_tape(n).anchor.device.type
            if check_apart(self._module, self._loss, self._seen, part, kind):
                self._compared = plan, training

    def _find_lengths(self, args: tuple[Any, ...], plan: Plan) -> Lengths:
        if all(handler is not None for _, handler in plan.values()):
            return Lengths()  # these know where their examples are

        def noting(size: int, note: Note) -> None:
            self._tape = self._new_tape(size)
            self._tape.note = note

        return lengths_of(self._module, args, self._new_tape(1).anchor.device.type, noting)

    def _seen(self, part: Any, n: int, *, pull: bool) -> Look:
        tape, outputs, losses = self._pass(part, n, None, pull)
        outputs = pytree.tree_map_only(Tensor, Tensor.detach, outputs)
        with torch.no_grad(), _full_precision(losses.device.type):
            return Look(outputs, losses, together.squared_norms(tape.contributions()))

    def _pass(
        self, part: Any, n: int, pool: Pool | None, pull: bool = True
    ) -> tuple[Tape, Any, Tensor]:
        """The recorded module and the loss, forward and backward: tape, outputs and losses.

        Raises:
            InputError: If the loss is not one number an example.
            _Outside: If a parameter is read by other code than its layer's.
        """
        tape = self._tape = self._new_tape(n, pool)
        args, targets = part
        outputs = self._module(*args)
        _refuse_aside(tape)
        losses = self._loss(outputs, targets)
        if not isinstance(losses, Tensor) or losses.shape != (n,):
            shape = tuple(getattr(losses, "shape", ()))
            raise InputError(
                f"the loss returned shape {shape} for {n} examples",
                "Return one loss an example (reduction='none')",
            )
        if pull:
            trainable = list(self._survey.parameters.values())
            leaked = self._pull(losses, tape, trainable)
            for parameter, gradient in zip(trainable, leaked, strict=True):
                if gradient is not None:
                    raise _Outside(parameter)
        return tape, outputs, losses.detach()

    def _new_tape(self, n: int, pool: Pool | None = None) -> Tape:
        survey = self._survey
        first = next(iter(survey.parameters.values()), None)
        device = torch.device("cpu") if first is None else first.device
        return Tape(n, survey.names, survey.places, device, pool, self._lengths)

    @staticmethod
    def _pull(
        losses: Tensor, tape: Tape, parameters: list[nn.Parameter]
    ) -> tuple[Tensor | None, ...]:
        """Runs the backward pass; the gradients of parameters used outside their layers."""
        if not losses.requires_grad:
            return (None,) * len(parameters)
        with _full_precision(losses.device.type):
            total = losses.sum(dtype=wide_type(losses))
            tape.pulling = True
            gradients = torch.autograd.grad(total, [tape.anchor, *parameters], allow_unused=True)
        return tuple(gradients[1:])

    def _current(self) -> Tape:
        assert self._tape is not None
        return self._tape

    def _adapt(self, tape: Tape) -> None:
        """Fits the next chunks to the memory that this one's records took."""
        limit = _CHUNK_BYTES.get(tape.anchor.device.type, _CHUNK_BYTES["cuda"])
        self._bytes = tape.bytes / tape.n
        fitting = limit / max(self._bytes, 1.0)
        self._automatic = int(min(max(fitting, _FIRST_CHUNK), _LONGEST_CHUNK))


def _group_norms(
    found: Mapping[str, Contribution], group_of: Mapping[str, int], n: int, losses: Tensor
) -> Tensor:
    """(groups, n) norms of the examples' gradients."""
    count = max(group_of.values(), default=0) + 1
    squares: list[Tensor | None] = [None] * count
    for name, square in together.squared_norms(found).items():
        before = squares[group_of[name]]
        squares[group_of[name]] = square if before is None else before + square
    dtype = wide_type(losses)
    rows = [row if row is not None else losses.new_zeros(n, dtype=dtype) for row in squares]
    return (torch.stack(rows) if count > 1 else rows[0].unsqueeze(0)).sqrt()


def _count(leaves: list[Any]) -> int:
    """How many examples the tensors hold.

    Raises:
        InputError: If they do not agree.
    """
    sizes = [leaf.shape[0] if leaf.ndim else -1 for leaf in leaves if isinstance(leaf, Tensor)]
    if not sizes or min(sizes) != max(sizes) or min(sizes) < 0:
        raise InputError(
            f"inputs and targets hold {sizes} examples", "Give as many targets as examples"
        )
    return sizes[0]


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return torch.cat(parts, dim) if len(parts) > 1 else parts[0]


def _full_precision(kind: str) -> AbstractContextManager[Any]:
    """No autocast; where there is none, nothing is the fastest way to do nothing."""
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()

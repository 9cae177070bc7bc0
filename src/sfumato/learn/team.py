"""The processes of one training, and what they say to each other.

What travels between them, rows' numbers and clipped sums, is private: they must all be the
custodian's, on a network of the custodian's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import BudgetError, InputError, LedgerError, SfumatoError
from sfumato.learn import sharded
from sfumato.learn.accounted import Mechanism
from sfumato.learn.mechanism import Run
from sfumato.learn.records import Records, TensorRecords

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from sfumato.privacy.noise import NoiseSource

Plain = TypeVar("Plain")
_BUCKET = 1 << 22
"""Numbers sent at a time."""
_LOOKED_AT = 16
"""Rows whose content is compared."""
_ERRORS = {kind.__name__: kind for kind in (BudgetError, InputError, LedgerError)}


class Team:
    """The processes of a torch process group, as one training.

    Every process makes its own, and everything that follows in the same order. ``PrivateLoop`` and
    ``PrivateTrainer`` do so by themselves where a process group was initialised.

    Args:
        group: All processes by default.

    Attributes:
        rank: The number of this process in the group.
        world: How many there are.
        leads: Whether this is the first.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
        self.leads = self.rank == 0
        self._first = 0 if group is None else dist.get_global_rank(group, 0)
        on_cpu = "cpu" in dist.get_backend_config(group)
        self._device = torch.device("cpu" if on_cpu else "cuda")

    def align(
        self, module: nn.Module, optimizer: Optimizer, mechanism: Mechanism, records: Records
    ) -> None:
        """Begins with the leader's weights, once it is known that all train the same.

        Raises:
            InputError: On every process, if one has another mechanism, number of rows, module or
                optimiser, or other rows in its tensors.
        """
        sharded.check(module, self.world)
        named = [*module.named_parameters(), *module.named_buffers()]
        groups = [
            {name: repr(value) for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        mine: dict[str, Any] = {
            "mechanism": mechanism.to_dict(),
            "number of rows": len(records),
            "module": [[n, list(t.shape), str(t.dtype), t.requires_grad] for n, t in named],
            "optimiser": [type(optimizer).__name__, groups],
            "data set": _fingerprint(records),
        }
        mine = json.loads(json.dumps(mine))
        theirs = self.once("begin", lambda: mine)
        other = [what for what, value in mine.items() if theirs[what] != value]
        if self._any(bool(other)):
            raise InputError(
                f"process {self.rank} was given another {' and another '.join(other)} than the "
                "first one"
                if other
                else "another process was given something else than the first one",
                "Give all processes the same module, settings and whole data set: which process "
                "takes which rows is drawn in every step.",
            )
        for _, tensor in named:
            if not sharded.is_part(tensor):
                tensor.data.copy_(self._broadcast_bytes(tensor.data))

    def run(self, mechanism: Mechanism, rows: int, source: NoiseSource | None) -> Run:
        """The run that is accounted, on the leader; on the others one that follows it."""
        from sfumato.learn.distributed import SharedRun

        return SharedRun(self, mechanism, rows, source=source)

    def once(self, what: str, do: Callable[[], Plain]) -> Plain:
        """Lets the leader do something; all get the result, a JSON value, or the error.

        Args:
            what: The same word on every process.
            do: Called by the leader only.
        """
        if not self.leads:
            found: Plain = self.told(what)
            return found
        try:
            found = do()
        except BaseException as error:
            self.tell_error(error)
            raise
        self.tell(what, found)
        return found

    def share(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The leader's tensors, for all."""
        if self.leads:
            shapes = {n: [str(t.dtype).split(".")[1], list(t.shape)] for n, t in tensors.items()}
            self.tell("tensors", shapes)
            return {name: self._broadcast_bytes(tensor) for name, tensor in tensors.items()}
        held = {
            name: torch.empty(shape, dtype=getattr(torch, dtype))
            for name, (dtype, shape) in self.told("tensors").items()
        }
        return {name: self._broadcast_bytes(tensor) for name, tensor in held.items()}

    # --- Words ------------------------------------------------------------------------------------

    def tell(self, what: str, value: Any) -> None:
        """The leader's word to the others: a JSON value, and what it is about."""
        word = json.dumps({"what": what, "value": value}).encode()
        text = torch.frombuffer(bytearray(word), dtype=torch.uint8)
        self._broadcast(torch.tensor([len(text)]))
        self._broadcast(text)

    def tell_error(self, error: BaseException) -> None:
        """The leader's word that it goes no further."""
        if isinstance(error, SfumatoError):
            why = [error.problem, error.remedy]
        else:
            why = [f"the first process failed ({type(error).__name__})", ""]
        self.tell("error", [type(error).__name__, *why])

    def told(self, what: str) -> Any:
        """The leader's word.

        Raises:
            SfumatoError: The leader's, if it goes no further.
            InputError: If it is about something else.
        """
        length = int(self._broadcast(torch.zeros(1, dtype=torch.int64))[0])
        text = self._broadcast(torch.zeros(length, dtype=torch.uint8))
        word: dict[str, Any] = json.loads(text.numpy().tobytes())
        if word["what"] == "error":
            kind, problem, remedy = word["value"]
            raise _ERRORS.get(kind, SfumatoError)(problem, remedy)
        if word["what"] != what:
            raise InputError(
                f"the first process is at {word['what']!r}, this one at {what!r}",
                "All processes of a training call the same methods in the same order.",
            )
        return word["value"]

    # --- A step -----------------------------------------------------------------------------------

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The leader's rows, (n,), for all."""
        return self._broadcast(torch.from_numpy(rows.copy())).numpy()

    def part(self, rows: NDArray[np.int64], rank: int | None = None) -> NDArray[np.int64]:
        """What a process clips of a sample: no row twice, none left out."""
        return rows[self.rank if rank is None else rank :: self.world]

    def all_or_none(self, do: Callable[[], Any], what: str = "a step") -> Any:
        """Does something on every process; where one fails, all fail.

        Args:
            do: Called by all.
            what: That others did not do their part of, in messages.

        Raises:
            SfumatoError: If another process failed; its own error is raised there.
        """
        found, problem = None, None
        try:
            found = do()
        except Exception as error:
            problem = error
        if self._any(problem is not None):
            raise problem or SfumatoError(
                f"another process could not take its part of {what}", "Its own message says why."
            )
        return found

    def add_up(self, gradients: Mapping[str, Tensor]) -> None:
        """Leaves the sum over all processes in the leader's tensors."""
        for bucket in _buckets(list(gradients.values())):
            flat = torch.cat([t.reshape(-1) for t in bucket]).to(self._device_of(bucket[0]))
            dist.reduce(flat, self._first, group=self._group)
            if self.leads:
                _fill(bucket, flat)

    def hand_out(self, tensors: Sequence[Tensor]) -> None:
        """Gives everybody the values of the leader's tensors, in theirs."""
        for bucket in _buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket]).to(self._device_of(bucket[0]))
            _fill(bucket, self._broadcast(flat))

    def norms(self, mine: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """The (groups, n) norms of all rows; on the leader only."""
        longest = len(self.part(rows, 0))
        padded = torch.zeros(len(mine), longest, dtype=torch.float64, device=self._device)
        padded[:, : mine.shape[1]] = mine
        found = [torch.empty_like(padded) for _ in range(self.world)] if self.leads else None
        dist.gather(padded, found, self._first, group=self._group)
        if found is None:
            return mine
        parts = [f[:, : len(self.part(rows, rank))] for rank, f in enumerate(found)]
        return torch.cat(parts, dim=1).to(mine.device)

    def _any(self, here: bool) -> bool:
        flag = torch.tensor([int(here)], device=self._device)
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group)
        return bool(flag.item())

    def _broadcast(self, tensor: Tensor) -> Tensor:
        there = tensor.to(self._device_of(tensor)).contiguous()
        if there.numel():
            dist.broadcast(there, self._first, group=self._group)
        return there.to(tensor.device)

    def _broadcast_bytes(self, tensor: Tensor) -> Tensor:
        """Of any type."""
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        return self._broadcast(flat).view(tensor.dtype).reshape(tensor.shape)

    def _device_of(self, tensor: Tensor) -> torch.device:
        """Where the group sends it from: where it lies, if the group can."""
        backends = dist.get_backend_config(self._group).split(",")
        backend = dict(b.split(":") for b in backends).get(tensor.device.type)
        # Gloo knows GPUs only in part.
        here = backend is not None and (backend != "gloo" or tensor.device.type == "cpu")
        return tensor.device if here else self._device


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in stretches of one type, each not much longer than is sent at a time."""
    bucket: list[Tensor] = []
    length = 0
    for tensor in tensors:
        if bucket and (length + tensor.numel() > _BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, length = [], 0
        bucket.append(tensor)
        length += tensor.numel()
    if bucket:
        yield bucket


def _fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    """Writes the numbers back to where they came from."""
    parts = torch.split(flat, [t.numel() for t in tensors])
    for tensor, numbers in zip(tensors, parts, strict=True):
        tensor.copy_(numbers.view(tensor.shape))


def _fingerprint(records: Records) -> str:
    """Of a few rows, where they lie in memory: a data set may draw its augmentations anew."""
    if not isinstance(records, TensorRecords) or len(records) == 0:
        return ""
    rows = np.unique(np.linspace(0, len(records) - 1, _LOOKED_AT).astype(np.int64))
    inputs, targets = records.fetch(rows, torch.device("cpu"))
    digest = hashlib.sha256()
    for tensor in (inputs if isinstance(inputs, tuple) else (inputs,)) + (targets,):
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

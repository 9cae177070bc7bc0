"""Whether one process trains, or several as one: what a training asks of the others.

A training among several processes is *one* training: one sample a step, one draw of noise, one
debit, one count of steps. :class:`Alone` is the process that has nobody to agree with;
``Team``, in :mod:`sfumato.learn.team`, is the processes of a torch process group.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sfumato.errors import InputError
from sfumato.learn import sharded
from sfumato.learn.accounted import Mechanism
from sfumato.learn.mechanism import Run

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from sfumato.learn.records import Records
    from sfumato.privacy.noise import NoiseSource

Plain = TypeVar("Plain")
"""A JSON value."""


class Ranks(Protocol):
    """The processes of one training; the first of them leads.

    Attributes:
        leads: Whether this process draws, debits and writes.
    """

    leads: bool

    def align(
        self, module: nn.Module, optimizer: Optimizer, mechanism: Mechanism, records: Records
    ) -> None:
        """Begins with the leader's weights, once it is known that all train the same.

        Raises:
            InputError: If another process has another mechanism, data set, module or optimiser.
        """
        ...

    def run(self, mechanism: Mechanism, rows: int, source: NoiseSource | None) -> Run:
        """What takes the steps."""
        ...

    def once(self, what: str, do: Callable[[], Plain]) -> Plain:
        """Lets the leader do something; all get the result, a JSON value, or the error.

        Args:
            what: The same word on every process.
            do: Called by the leader only.
        """
        ...

    def all_or_none(self, do: Callable[[], Any], what: str = "a step") -> Any:
        """Does something on every process; where one fails, all fail.

        Args:
            do: Called by all.
            what: That others did not do their part of, in messages.
        """
        ...

    def share(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The leader's tensors, for all."""
        ...


class Alone:
    """One process, whatever other processes there are: it draws and pays for itself."""

    leads = True

    def align(
        self, module: nn.Module, optimizer: Optimizer, mechanism: Mechanism, records: Records
    ) -> None:
        """See :meth:`Ranks.align`; there is nobody to differ from.

        Raises:
            InputError: If the module is wrapped, or other processes hold parts of it.
        """
        sharded.check(module, 1)

    def run(self, mechanism: Mechanism, rows: int, source: NoiseSource | None) -> Run:
        """See :meth:`Ranks.run`."""
        return Run(mechanism, rows, source=source)

    def once(self, what: str, do: Callable[[], Plain]) -> Plain:
        """See :meth:`Ranks.once`."""
        return do()

    def all_or_none(self, do: Callable[[], Any], what: str = "a step") -> Any:
        """See :meth:`Ranks.all_or_none`."""
        return do()

    def share(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Ranks.share`."""
        return dict(tensors)


def present() -> Ranks:
    """All processes of torch's process group, if there is one; else this one.

    Raises:
        InputError: If torchrun started several processes that do not know of each other: each
            would draw and pay for itself.
    """
    import torch.distributed as dist

    if not dist.is_available():
        return Alone()
    if dist.is_initialized():
        if dist.get_world_size() == 1:
            return Alone()
        from sfumato.learn.team import Team

        return Team()
    world = os.environ.get("WORLD_SIZE", "1")
    if dist.is_torchelastic_launched() and world != "1":
        raise InputError(
            f"torchrun started {world} processes, and this one has joined no process group",
            "Call torch.distributed.init_process_group() first; or give ranks=Alone(), and every "
            "process trains, draws and pays for itself.",
        )
    return Alone()


def only_one(what: str) -> None:
    """Refuses several processes where each would draw for itself.

    Args:
        what: What they would do.

    Raises:
        InputError: If there are several.
    """
    if not isinstance(present(), Alone):
        raise InputError(
            f"several processes would each do {what}, draw and pay for themselves",
            "Do it in one process, before or without init_process_group().",
        )

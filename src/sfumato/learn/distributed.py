"""Steps of several processes that train one module under one guarantee (``torchrun``).

The first process *leads*. It alone holds the run that is accounted: it draws the sample of a step
from all rows and hands each process an equal part of it; every process clips its part, record by
record; the leader adds up the clipped sums, draws the noise, once and in full, and sends the noisy
mean to all. So the sample is the accounted one whatever the number of processes, no two processes
can share a random stream, and all end with the same bits. The others count the leader's steps, pay
nothing and write nothing, and cannot draw.

When a process is lost the others fail; the step was counted before it was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfumato.learn.accounted import Mechanism
from sfumato.learn.mechanism import Run, Summed, check_unit

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.learn.team import Team
    from sfumato.privacy.noise import NoiseSource


class SharedRun(Run):
    """The leader's run; on every other process what follows it and never draws.

    Args:
        team: The processes.
        mechanism: What is accounted; the same on all.
        rows: How many records there are to sample from; all of them on every process.
        source: The leader's.
    """

    def __init__(
        self, team: Team, mechanism: Mechanism, rows: int, *, source: NoiseSource | None = None
    ) -> None:
        super().__init__(mechanism, rows, source=source)
        self._team = team
        self._awaited = False  # whether the others wait for a word

    def step(
        self,
        clipped_sum: Callable[[NDArray[np.int64]], Summed],
        *,
        begun: Callable[[int], None] | None = None,
    ) -> dict[str, Tensor]:
        """One step, on all processes at once; see :meth:`Run.step`.

        Raises:
            BudgetError: On every process, if all steps have been taken.
            SfumatoError: If another process could not clip its part.
        """
        if not self._team.leads:
            return self._follow(clipped_sum)
        self._awaited = True
        try:
            means = super().step(partial(self._lead, clipped_sum), begun=begun)
        except BaseException as error:
            if self._awaited:
                self._team.tell_error(error)
            raise
        self._team.tell("mean", self._state())
        self._team.hand_out(list(means.values()))
        return means

    def _lead(
        self, clipped_sum: Callable[[NDArray[np.int64]], Summed], rows: NDArray[np.int64]
    ) -> Summed:
        self._team.tell("step", self._state() | {"rows": len(rows)})
        self._awaited = False
        found = self._sum(clipped_sum, self._team.rows(rows))
        self._awaited = True
        return found

    def _follow(self, clipped_sum: Callable[[NDArray[np.int64]], Summed]) -> dict[str, Tensor]:
        word = self._team.told("step")
        self.restore(word["taken"], word["clip_norm"])
        rows = self._team.rows(np.zeros(word["rows"], np.int64))
        total = self._sum(clipped_sum, rows)
        word = self._team.told("mean")
        self.restore(word["taken"], word["clip_norm"])
        # The sums of this part have the means' shapes, and are not needed any more.
        means = {name: t.float().contiguous() for name, t in total.gradients.items()}
        self._team.hand_out(list(means.values()))
        return means

    def _sum(
        self, clipped_sum: Callable[[NDArray[np.int64]], Summed], rows: NDArray[np.int64]
    ) -> Summed:
        """The clipped sum over all rows, on the leader; every process clips its part."""
        mine = self._team.part(rows)

        def clip() -> Summed:
            total = clipped_sum(mine)
            check_unit(total, mine)
            return total

        total: Summed = self._team.all_or_none(clip)
        self._team.add_up(total.gradients)
        return _Total(total.gradients, self._team.norms(total.norms, rows))

    def _state(self) -> dict[str, Any]:
        return {"taken": self.taken, "clip_norm": self.clip_norm}


class _Total(NamedTuple):
    """A sum over all processes."""

    gradients: dict[str, Tensor]
    norms: Tensor

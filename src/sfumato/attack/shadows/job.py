"""The training of a bank of shadow models: what it will cost, and doing it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.shadows import store, training
from sfumato.attack.shadows.bank import Bank
from sfumato.attack.shadows.design import Rows
from sfumato.attack.shadows.networks import Network
from sfumato.attack.shadows.training import Recipe, Trained
from sfumato.measure import cnn
from sfumato.measure.progress import Progress, silent

_TIMED = 3


@dataclass(frozen=True)
class Cost:
    """What training a bank takes.

    Args:
        models: Still to be trained.
        kept: Found on disk.
        records: That each is trained on.
        passes: Over those.
        seconds: About how long on this machine, measured by a few steps.
        family: Of the networks.
    """

    models: int
    kept: int
    records: int
    passes: int
    seconds: float
    family: str

    def __str__(self) -> str:
        before = f" ({self.kept} more are kept)" if self.kept else ""
        about = f"{self.seconds / 60:.0f} min" if self.seconds > 90 else f"{self.seconds:.0f} s"
        return (
            f"{self.models} shadow models{before}, {self.family}, {self.passes} passes over "
            f"{self.records} records each: about {about}"
        )


@dataclass(frozen=True, eq=False)
class Job:
    """A bank to be trained.

    Args:
        inputs: (n, *shape) float32 of the pool.
        labels: (n,) class numbers.
        classes: K.
        rows: (models, k) row numbers that each model is trained on.
        recipe: How.
        seed: Model i's own seed follows from this and i, whatever is trained beside it.
        folder: Keeps each group as soon as it is trained, and finds those that were kept; None
            keeps nothing.
        workers: Threads, each with groups of its own.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: int
    rows: Rows
    recipe: Recipe
    seed: int = 0
    folder: Path | None = None
    workers: int = 1

    @cached_property
    def network(self) -> Network:
        """What is trained.

        Raises:
            InputError: If the recipe's family does not fit the records.
        """
        return Network(self.recipe.family, self.inputs.shape[1:], self.classes)

    @cached_property
    def seeds(self) -> list[int]:
        """One a model, each of 63 bits."""
        return [
            int(np.random.SeedSequence([self.seed, i]).generate_state(1, np.uint64)[0] >> 1)
            for i in range(len(self.rows))
        ]

    @cached_property
    def _data(self) -> str:
        return store.digest(self.inputs, self.labels)

    def _groups(self) -> Iterator[slice]:
        for start in range(0, len(self.rows), self.recipe.at_once):
            yield slice(start, start + self.recipe.at_once)

    def _kept(self, part: slice) -> Trained | None:
        if self.folder is None:
            return None
        name, _ = store.key(
            self.network, self.recipe, self._data, self.rows[part], self.seeds[part]
        )
        return store.Store(self.folder).get(name)

    def cost(self) -> Cost:
        """What :meth:`train` would take, from a few steps of one group."""
        todo = [part for part in self._groups() if self._kept(part) is None]
        models = sum(len(self.rows[part]) for part in todo)
        k = self.rows.shape[1]
        passes = cnn.passes_over(k, self.recipe.epochs)
        seconds = 0.0
        if todo:
            part = todo[0]
            with cnn.one_torch_thread():
                self.train_part(part, most_steps=1)
                started = time.perf_counter()
                self.train_part(part, most_steps=_TIMED)
                each = (time.perf_counter() - started) / _TIMED
            steps = passes * -(-k // cnn.BATCH)
            seconds = each * steps * len(todo) / min(self.workers, len(todo))
        return Cost(models, len(self.rows) - models, k, passes, seconds, self.recipe.family)

    def train(self, progress: Progress = silent) -> Bank:
        """The bank; groups that are kept are read, the others trained and kept.

        Args:
            progress: Told after each group.

        Raises:
            InputError: If the folder cannot be written.
        """
        parts = list(self._groups())
        found: dict[int, Trained] = {}
        for i, part in enumerate(parts):
            if (kept := self._kept(part)) is not None:
                found[i] = kept
        models = len(self.rows)

        def tell() -> None:
            ready = sum(len(self.rows[parts[i]]) for i in found)
            progress(ready, models, f"{ready} of {models} shadow models")

        tell()
        pool = ThreadPoolExecutor(max(1, self.workers))
        try:
            with cnn.one_torch_thread():
                going = {
                    pool.submit(self._one, part): i
                    for i, part in enumerate(parts)
                    if i not in found
                }
                while going:
                    for future in wait(going, return_when=FIRST_COMPLETED).done:
                        found[going.pop(future)] = future.result()
                        tell()
        finally:
            pool.shutdown(cancel_futures=True)
        return Bank(
            self.network, self.rows, len(self.inputs), tuple(found[i] for i in range(len(parts)))
        )

    def _one(self, part: slice) -> Trained:
        import torch

        torch.set_num_threads(1)  # of this worker
        group = self.train_part(part)
        if self.folder is not None:
            name, stands_for = store.key(
                self.network, self.recipe, self._data, self.rows[part], self.seeds[part]
            )
            store.Store(self.folder).keep(name, group, stands_for)
        return group

    def train_part(self, part: slice, most_steps: int | None = None) -> Trained:
        """Trains some of the models at once, keeping nothing; or only some steps, for timing."""
        return training.train(
            self.network,
            self.recipe,
            self.inputs,
            self.labels,
            self.rows[part],
            self.seeds[part],
            most_steps=most_steps,
        )

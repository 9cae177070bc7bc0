"""The slow oracle, clipped sums by a loop over the examples; an audit of canaries; two processes.

Files beside this one can be imported by their names.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import beta, norm
from torch import Tensor, nn

from sfumato.learn.clipping import Clipping

sys.path.insert(0, str(Path(__file__).parent))


class LoopSum(NamedTuple):
    gradients: dict[str, Tensor]
    norms: Tensor
    losses: Tensor


class LoopEngine:
    """One forward and one backward pass for each example; an example with NaN adds nothing."""

    def __init__(
        self, module: nn.Module, loss: Callable[[Any, Tensor], Tensor], clipping: Clipping
    ) -> None:
        self.module, self.loss, self.clipping = module, loss, clipping

    def clipped_sum(self, inputs: Any, targets: Tensor) -> LoopSum:
        parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        groups = self.clipping.groups(list(parameters))
        total = {n: torch.zeros_like(p) for n, p in parameters.items()}
        norms, losses = [], []
        for at in range(len(targets)):
            one = inputs[at : at + 1] if isinstance(inputs, Tensor) else None
            outputs = (
                self.module(one)
                if one is not None
                else self.module(*(part[at : at + 1] for part in inputs))
            )
            value = self.loss(outputs, targets[at : at + 1])
            gradients = torch.autograd.grad(value.sum(), list(parameters.values()))
            squares = torch.zeros(max(groups) + 1)
            for group, gradient in zip(groups, gradients, strict=True):
                squares[group] += gradient.square().sum()
            norms.append(squares.sqrt())
            losses.append(value.detach().reshape(()))
            factors = self.clipping.factors(norms[-1][:, None])[:, 0]
            if (factors == 0).all():
                continue
            for name, group, gradient in zip(parameters, groups, gradients, strict=True):
                total[name] += factors[group] * gradient
        width = max(groups) + 1
        return LoopSum(
            total,
            torch.stack(norms, dim=1) if norms else torch.zeros(width, 0),
            torch.stack(losses) if losses else torch.zeros(0),
        )


@pytest.fixture(scope="session")
def loop_engine() -> type[LoopEngine]:
    return LoopEngine


ALARM = 1e-6


def _rates(
    threshold: float, inside: NDArray[np.float64], outside: NDArray[np.float64]
) -> tuple[float, float]:
    """A lower bound on the true positive rate and an upper one on the false, both Clopper-Pearson.

    Each is wrong with probability 5e-7.
    """
    n = len(inside)
    hits, alarms = int((inside >= threshold).sum()), int((outside >= threshold).sum())
    low = float(beta.ppf(ALARM / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.isf(ALARM / 2, alarms + 1, n - alarms)) if alarms < n else 1.0
    return low, high


@pytest.fixture(scope="session")
def canary_audit() -> Callable[..., tuple[float, float, float]]:
    """Of scores with a record and without: the rates of the best threshold, and the mu they prove.

    The threshold is chosen on one half of the canaries and judged on the other (Nasr et al. 2023).
    """

    def audit(
        inside: NDArray[np.float64], outside: NDArray[np.float64]
    ) -> tuple[float, float, float]:
        half = len(inside) // 2

        def mu(threshold: float, part: slice) -> float:
            low, high = _rates(threshold, inside[part], outside[part])
            return float(norm.ppf(low) - norm.ppf(high))

        both = np.concatenate([inside[:half], outside[:half]])
        best = max(np.quantile(both, np.linspace(0.02, 0.98, 49)), key=lambda t: mu(t, slice(half)))
        return *_rates(best, inside[half:], outside[half:]), mu(best, slice(half, None))

    return audit


class TwoRanks:
    """Two processes of ``rank_worker.py``, one torch process group."""

    def __init__(self, meeting: Path) -> None:
        worker = str(Path(__file__).with_name("rank_worker.py"))
        self._processes = [
            subprocess.Popen(
                [sys.executable, worker, str(rank), str(meeting)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for rank in range(2)
        ]

    def answers(self, function: str, **arguments: Any) -> list[tuple[str, Any]]:
        """``("found", result)`` or ``(error, message)`` of each."""
        for process in self._processes:
            assert process.stdin is not None
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
        return [pickle.load(process.stdout) for process in self._processes]  # type: ignore[arg-type]

    def __call__(self, function: str, **arguments: Any) -> list[Any]:
        """The results of both."""
        answers = self.answers(function, **arguments)
        assert all(kind == "found" for kind, _ in answers), answers
        return [result for _, result in answers]

    def close(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRanks]:
    pair = TwoRanks(tmp_path_factory.mktemp("ranks") / "meeting")
    yield pair
    pair.close()

"""What the rows of methods share."""

from __future__ import annotations

from typing import Any

import numpy as np

from battery.recorder import Recorder, Step
from battery.row import Array
from sfumato.data import Table
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.method import Calibrated, silent
from sfumato.release.release import Artefact

BUDGET = Budget(1.0, 1e-6)
AUDITED = Budget(4.0, 1e-6)


def matrix(table: Table) -> Array:
    """(n, columns) codes."""
    codes = table.codes()
    return np.stack([codes[name] for name in table.schema.names], axis=1)


def codes_of(artefact: Artefact) -> dict[str, Array]:
    return dict(artefact.data.codes())


def noise_of(private: Any, runs: int, enough: int | None = None) -> Any:
    """Everything that was added in each of some runs, draw after draw, (runs, coordinates)."""

    def noise(made: Calibrated, source: NoiseSource) -> Array:
        drawn = []
        for _ in range(runs):
            with Recorder(enough=enough) as recorder:
                made.run(private, source, silent)
            drawn.append(np.concatenate([np.ravel(draw.noise) for draw in recorder.draws]))
        return np.array(drawn)

    return noise


def step_noise(private: Any, runs: int) -> Any:
    """The noise of every training step of some runs, (steps, coordinates)."""

    def noise(made: Calibrated, source: NoiseSource) -> Array:
        drawn = []
        for _ in range(runs):
            with Recorder() as recorder:
                made.run(private, source, silent)
            drawn += [draw.noise for draw in recorder.draws if isinstance(draw.mechanism, Step)]
        return np.array(drawn)

    return noise

"""A calibrated training by noisy gradients, and what every such method says of itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import TUNED, RecordCaveat

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.data import ImageSet, Table
    from sfumato.learn.principal import PrincipalDirections
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.publish.models.training import Training
    from sfumato.release.release import Artefact


@dataclass(frozen=True)
class Run:
    """Directions, if there are any; then the steps.

    Args:
        method: The public choices, the seed of the initial weights among them.
        training: The steps.
        directions: What the inputs are projected to first; None for no projection.
    """

    method: Any
    training: Training
    directions: PrincipalDirections | None = None
    resumable: bool = field(default=True, init=False)

    @property
    def event(self) -> DpEvent:
        """Everything that is drawn from the private records."""
        from sfumato.privacy import events

        steps = self.training.mechanism.event
        return steps if self.directions is None else events.compose(self.directions.event, steps)

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        plan = self.training.plan
        if self.directions is not None:
            plan["directions_noise_multiplier"] = self.directions.noise_multiplier
        return plan

    def __call__(
        self,
        data: ImageSet | Table,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Trains on private records; see :class:`Training` for ``workspace``."""
        from sfumato.learn.examples import labelled
        from sfumato.publish.workspace import once

        seed = secrets.randbits(31) if self.method.seed is None else self.method.seed
        inputs, targets = labelled(data)
        seeds = once(workspace, "seeds", lambda: {"initial weights": seed})
        module = self.training.build(seeds["initial weights"])
        if self.directions is not None:
            directions = self.directions
            progress(0, self.training.mechanism.steps, "measuring the principal directions")
            found = once(
                workspace,
                "directions",
                lambda: directions.release(inputs, source).tolist(),
                drawn=True,
            )
            import torch

            module.get_buffer("1.directions").copy_(torch.tensor(found))
        self.training.train(module, inputs, targets, source, progress, workspace)
        return self.training.artefact(module, seeds)


def caveats(neighbours: Neighbours) -> tuple[str, ...]:
    """What every method that samples records says of itself."""
    named = {
        Neighbours.ADD_REMOVE: "adding or removing it",
        Neighbours.ZERO_OUT: "blanking it out",
        Neighbours.REPLACE_ONE: "replacing it",
    }[neighbours]
    return (
        RecordCaveat(
            f"One record is protected against {named}: of a person with k records, all together "
            "are protected less, by group privacy."
        ),
        "The number of records is declared public; the sampling rate and the divisor of the noisy "
        "sums are fixed by it before the data is read.",
        TUNED,
    )

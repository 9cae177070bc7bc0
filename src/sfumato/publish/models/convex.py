"""What the methods share that need a convex objective: logistic regression and its public facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import TUNED, RecordCaveat

if TYPE_CHECKING:
    import numpy as np
    from dp_accounting import DpEvent
    from numpy.typing import NDArray
    from torch import Tensor

    from sfumato.data import ImageSchema, ImageSet, Schema, Table
    from sfumato.learn.convex import Softmax
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.release.release import Artefact

NETWORKS = ("auto", "dense", "table-dense")
_TYPICAL = 1 / 3
"""The root mean square of pixels up to which images are taken as they are, unless set."""


class Perturbation(Protocol):
    """Releases the weights of a convex objective."""

    @property
    def event(self) -> DpEvent:
        """What a release draws."""
        ...

    def release(self, problem: Softmax, source: NoiseSource) -> NDArray[np.float64]:
        """The weights."""
        ...


@dataclass(frozen=True)
class ConvexSettings:
    """Public choices of a logistic regression.

    Raises:
        InputError: If a value is unknown or out of its range, or the network is not convex in its
            weights.
    """

    network: str = "auto"
    hidden: Sequence[int] = ()
    max_norm: float | None = None
    regularisation: float | None = None

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images", "table")
    gives: ClassVar[str] = "model"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", checks.widths(self.hidden))
        if self.network not in NETWORKS or self.hidden:
            layers = f" with hidden layers {list(self.hidden)}" if self.hidden else ""
            raise InputError(
                f"network is {self.network!r}{layers}, and the proof of {self.name} needs a loss "
                "that is convex in the weights",
                "Leave network and hidden out (logistic regression), or train it by learn.dpsgd.",
            )
        for name in ("max_norm", "regularisation"):
            if getattr(self, name) is not None:
                checks.number(name, getattr(self, name), 0, closed=False)

    def _architecture(self, facts: ImageSchema | Schema) -> dict[str, Any]:
        """Logistic regression on shortened features."""
        from sfumato.publish.models.network import architecture

        rows = hasattr(facts, "columns")
        network = ("table-dense" if rows else "dense") if self.network == "auto" else self.network
        made = architecture(facts, network)
        return {**made, "max_norm": max_norm(made) if self.max_norm is None else self.max_norm}


def max_norm(made: Mapping[str, Any]) -> float:
    """A bound on the norm of a record that follows from public facts.

    Of rows, the longest there can be: every column is one number of at most 1. Of images, that of
    an image whose pixels have a root mean square of a third: longer ones are shortened.
    """
    if "columns" in made:
        return math.sqrt(len(made["columns"]))
    return math.sqrt(math.prod(made["shape"])) * _TYPICAL


def encoded(made: Mapping[str, Any], inputs: Tensor) -> NDArray[np.float32]:
    """The numbers that a dense network's first layer would see, before they are shortened.

    Args:
        made: Of a network for images or rows.
        inputs: (n, ...) from :func:`sfumato.learn.examples.labelled`.

    Returns:
        (n, d) float32.
    """
    import numpy as np

    if "columns" not in made:
        return np.asarray(inputs.flatten(1).numpy())
    from sfumato.learn.architectures.dense import CodesToFeatures

    encoder = CodesToFeatures([(int(c["size"]), c.get("grid")) for c in made["columns"]])
    return np.asarray(encoder(inputs).numpy())


def width(made: Mapping[str, Any]) -> int:
    """How many numbers those are."""
    if "columns" not in made:
        return math.prod(made["shape"])
    from sfumato.learn.architectures.dense import CodesToFeatures

    return CodesToFeatures([(int(c["size"]), c.get("grid")) for c in made["columns"]]).width


@dataclass(frozen=True)
class ConvexRun:
    """One perturbed minimisation.

    Args:
        facts: Public facts of the records.
        perturbation: The calibrated mechanism.
        architecture: Of the logistic regression.
        records: The public number of records.
        ridge: Of the objective.
    """

    facts: ImageSchema | Schema
    perturbation: Perturbation
    architecture: Mapping[str, Any]
    records: int
    ridge: float
    resumable: bool = field(default=True, init=False)

    def problem(self, data: ImageSet | Table) -> Softmax:
        """The objective on private records."""
        from sfumato.learn.convex import Softmax, unit_rows
        from sfumato.learn.examples import labelled

        inputs, labels = labelled(data)
        made = self.architecture
        rows = unit_rows(encoded(made, inputs), made["max_norm"])
        return Softmax(rows, labels.numpy(), made["classes"], self.records, self.ridge)

    def __call__(
        self,
        data: ImageSet | Table,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Minimises on private records; in a ``workspace`` the weights are drawn once."""
        import numpy as np
        import torch

        from sfumato.learn import convex
        from sfumato.learn.architectures import build, weights
        from sfumato.publish.workspace import once
        from sfumato.release.model import Model
        from sfumato.release.release import Artefact

        progress(0, 1, "minimising")

        def drawn() -> list[list[float]]:
            values: list[list[float]] = self.perturbation.release(
                self.problem(data), source
            ).tolist()
            return values

        found = np.array(once(workspace, "weights", drawn, drawn=True))
        weight, bias = convex.layer(found, self.architecture["max_norm"])
        module = build(self.architecture, seed=0)  # its weights are replaced
        linear: Any = list(module.children())[-1]
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        progress(1, 1, "minimised")
        return Artefact(Model(self.facts, self.architecture, weights(module)))


def convex_caveats() -> tuple[str, ...]:
    """What these methods say of themselves."""
    return (
        RecordCaveat(
            "One record is protected against replacing it: of a person with k records, all "
            "together are protected less, by group privacy."
        ),
        "The number of records is declared public: the noise is for a mean over it.",
        TUNED,
    )


RELATION = Neighbours.REPLACE_ONE

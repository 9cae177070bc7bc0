"""The choices that every method shares which trains a network of one's choosing by DP-SGD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.publish import checks

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema


@dataclass(frozen=True)
class NetworkSettings:
    """Public choices of network, sampling, clipping and optimiser; ``learn.dpsgd`` explains each.

    Raises:
        InputError: If a value is unknown or out of its range.
    """

    network: str = "auto"
    hidden: Sequence[int] = ()
    epochs: float = 30
    expected_batch_size: int | None = None
    max_grad_norm: float = 0.1
    learning_rate: float = 1.0
    momentum: float = 0.9
    averaging: float | None = 0.99
    neighbours: str = "add-remove"
    physical_batch_size: int = 1024
    seed: int | None = None
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images", "table")
    gives: ClassVar[str] = "model"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5
    relations: ClassVar[tuple[str, ...]] = ("add-remove", "replace-one")

    def __post_init__(self) -> None:
        checks.one_of("neighbours", self.neighbours, self.relations)
        checks.one_of("device", self.device, checks.DEVICES)
        for name in ("epochs", "max_grad_norm"):
            checks.number(name, getattr(self, name), 0, closed=False)
        if self.expected_batch_size is not None:
            checks.whole("expected_batch_size", self.expected_batch_size, 1)
        if self.seed is not None:
            checks.whole("seed", self.seed, 0)
        object.__setattr__(self, "hidden", checks.widths(self.hidden))
        self._optimisation()

    def batch_size(self, records: int) -> int:
        """Records a step, on average.

        Raises:
            InputError: If there are fewer records.
        """
        return checks.batch_size(self.expected_batch_size, records)

    def steps(self, records: int, *, least: int = 1) -> int:
        """How many there are."""
        return max(least, round(self.epochs * records / self.batch_size(records)))

    def _architecture(self, facts: ImageSchema | Schema) -> dict[str, Any]:
        from sfumato.publish.models.network import architecture

        return architecture(facts, self.network, self.hidden)

    def _optimisation(self) -> Any:
        from sfumato.publish.models.training import Optimisation

        return Optimisation.of_settings(self)

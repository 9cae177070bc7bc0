"""Any function from records to scores of classes, as a model that attacks take."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.release.foreign.interface import (
    Interface,
    frame_of,
    made_up,
    numbers_of,
    order_of,
)
from sfumato.release.model import Model

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema, Schema

BATCH = 1024
_BY_HAND = "It takes made-up ones; try it by hand on the data given."
_FILL_IN = (
    "Some of these records have missing values: wrap the model in a function that fills them in, "
    "or give records that lack none."
)


@dataclass(frozen=True, eq=False)
class ForeignModel(Model):
    """A model of which only the answers are known.

    Args:
        answer: From records, as ``interface`` says, to scores of the classes; see :meth:`of`.
        interface: How records are given and answers read.
        named: The classes that the answers are about, in their order; empty for all declared ones.
        takes_columns: Names of the columns that ``answer`` takes, in order; empty for all.
        network: The module behind ``answer``, if it is one.
    """

    answer: Callable[[Any], Any] = field(default=lambda _: None)
    interface: Interface = field(default_factory=Interface)
    named: tuple[Any, ...] = ()
    takes_columns: tuple[str, ...] = ()
    network: Any = None

    @classmethod
    def of(
        cls,
        answer: Callable[[Any], Any],
        schema: ImageSchema | Schema,
        *,
        name: str,
        interface: Interface | None = None,
        named: Sequence[Any] = (),
        takes_columns: Sequence[str] = (),
        network: Any = None,
    ) -> ForeignModel:
        """A model from its function, asked once about made-up records.

        Args:
            answer: Takes a data frame (or a matrix) of the features, or images; gives an array, a
                tensor or lists of (n, K) scores, or (n,) scores of the second of two classes.
            schema: The public facts, with a target.
            name: What the model is, for reports.
            interface: How records are given and answers read.
            named: The model's own classes, where their order may differ.
            takes_columns: Names of the columns it takes, in order.
            network: The torch module behind it.

        Raises:
            InputError: If the model cannot take such records, or its answers are not scores of the
                declared classes. Nobody's record has been shown to it then.
        """
        model = cls(
            schema,
            {"family": name},
            {},
            answer,
            interface or Interface(),
            tuple(named),
            tuple(takes_columns),
            network,
        )
        classes = model.classes
        if named:
            order_of(named, classes)
        facts: Any = schema
        features = [c.name for c in facts.features] if model.takes == "table" else []
        if lacking := [name for name in takes_columns if name not in features]:
            raise InputError(
                f"the model takes a column {lacking[0]!r} that the schema does not declare",
                f"Declared, besides the target: {', '.join(features)}.",
            )
        answers = model._asked()
        ready = replace(model, interface=model.interface.understood(answers))
        ready.interface.probabilities(answers)
        return ready

    def _asked(self) -> NDArray[np.float64]:
        """What it says of made-up records, without missing values if it takes none.

        Raises:
            InputError: If it cannot take either, or answers something else.
        """
        schema: Any = self.schema
        made, whole = made_up(schema), made_up(schema, missing=False)
        try:
            return self._tried(made)
        except InputError:
            if np.array_equal(made, whole):
                raise
        answers = self._tried(whole)
        names = [column.name for column in schema.features if column.missing]
        logging.getLogger("sfumato").warning(
            "the model takes no missing values, which the schema allows in "
            f"{', '.join(names[:10])}{', ...' if names[10:] else ''}: records that lack one will "
            "be refused"
        )
        return answers

    def _tried(self, made: NDArray[Any]) -> NDArray[np.float64]:
        try:
            raw = self.answer(self.given(made))
        except InputError:
            raise
        except Exception as error:  # whatever a stranger's code raises
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"the model cannot take made-up records ({type(error).__name__}: {reason})",
                "Say how it takes them: layout, scale, mean, std, rows; or wrap it in a function.",
            ) from None
        return self.scores(raw, len(made))

    def probabilities_from(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Scores of each class that sum to 1.

        Args:
            inputs: (n, c, h, w) float32 in [0, 1], or (n, d) codes of all columns but the target.

        Raises:
            InputError: If the model fails; its own words are left out, as they may hold a record.
        """
        parts = [np.zeros((0, len(self.classes)))]
        for start in range(0, len(inputs), BATCH):
            batch = inputs[start : start + BATCH]
            try:
                raw = self.answer(self.given(batch))
            except InputError:
                raise
            except Exception as error:
                raise _failed(error, _FILL_IN if self._lacks(batch) else _BY_HAND) from None
            try:
                answers = self.scores(raw, len(batch))
            except InputError as error:
                raise (
                    InputError(error.problem, _FILL_IN) if self._lacks(batch) else error
                ) from None
            scores = self.interface.probabilities(answers)
            if not self.named:
                parts.append(scores)
                continue
            placed = np.zeros((len(batch), len(self.classes)))
            placed[:, order_of(self.named, self.classes)] = scores
            parts.append(placed)
        return np.concatenate(parts)

    def _lacks(self, inputs: NDArray[Any]) -> bool:
        """Whether values are missing in some of the records."""
        if self.takes == "images":
            return False
        schema: Any = self.schema
        absent = np.array([column.cardinality for column in schema.features])
        return bool((inputs == absent).any())

    def given(self, inputs: NDArray[Any]) -> Any:
        """Inputs as the model itself takes them."""
        if self.takes == "images":
            return self.interface.images(inputs)
        schema: Any = self.schema
        if self.interface.rows == "numbers":
            columns = [c.name for c in schema.features]
            matrix = numbers_of(schema, inputs)
            return matrix[:, [columns.index(n) for n in self.takes_columns or columns]]
        frame = frame_of(schema, inputs)
        return frame[list(self.takes_columns)] if self.takes_columns else frame

    def scores(self, raw: Any, records: int) -> NDArray[np.float64]:
        """A model's answer as (n, K) or (n, 1) numbers.

        Raises:
            InputError: If it is something else.
        """
        if hasattr(raw, "detach"):
            raw = raw.detach().cpu().double().numpy()
        if isinstance(raw, tuple) and len(raw) and hasattr(raw[0], "detach"):
            raw = raw[0].detach().cpu().double().numpy()
        try:
            array = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"the model answers a {type(raw).__name__}, not numbers",
                "Give it a function that returns an array of scores.",
            ) from None
        wanted = len(self.named) or len(self.classes)
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2 or len(array) != records or array.shape[1] not in (wanted, 1):
            raise InputError(
                f"for {records} records the model answers an array of shape {array.shape}",
                f"{wanted} classes are declared: one row a record, one score a class.",
            )
        if array.shape[1] == 1 and wanted != 2:
            raise InputError(
                f"the model answers one score a record, and there are {wanted} classes",
                "One score is enough for two classes only.",
            )
        if not np.isfinite(array).all():
            raise InputError("the model answers numbers that are not finite", "Correct the model.")
        return array

    @cached_property
    def module(self) -> nn.Module:
        """The network, for attacks that need its gradients; what it says of a record is left out.

        Raises:
            InputError: If only answers can be had, the network takes records in its own form, or
                what it answers are not the logits of the classes.
        """
        # A table's codes are numbers of another meaning than those that the network takes.
        if self.network is None or self.takes == "table" or not self.interface.plain:
            raise InputError(
                "only the answers of this model can be had, not its gradients",
                "Leave out attacks that look inside.",
            )
        found: nn.Module = self.network
        if self.interface.outputs != "logits" or not _answers_logits(found, self):
            raise InputError(
                "the network does not answer one logit for each class, in float32, of which its "
                "loss and so its gradients follow",
                "Give the network without the softmax at its end; or leave out attacks that look "
                "inside.",
            )
        return _quiet(found)

    @property
    def parameters(self) -> int:
        """How many numbers the weights are; 0 where that is not known."""
        if self.network is None:
            return 0
        return sum(int(p.numel()) for p in self.network.parameters())

    def save(self, folder: str | Path) -> None:
        """Refuses: what others made is attacked, not released again.

        Raises:
            InputError: Always.
        """
        raise InputError("this model was made by other software", "It can be attacked, not saved.")


def _answers_logits(network: nn.Module, model: ForeignModel) -> bool:
    """Whether a network of pictures answers float32 numbers, one a class."""
    import torch

    made = torch.from_numpy(made_up(model.schema))
    try:
        with torch.no_grad():
            found = network(made)
    except Exception:  # whatever a stranger's code raises
        return False
    wanted = (len(made), len(model.classes))
    return bool(
        torch.is_tensor(found) and tuple(found.shape) == wanted and found.dtype == torch.float32
    )


def _failed(error: Exception, remedy: str) -> InputError:
    return InputError(f"the model failed on real records ({type(error).__name__})", remedy)


def _quiet(network: nn.Module) -> nn.Module:
    """The network, whose own words where it fails are left out, as they may hold a record."""
    from torch import nn

    class Quiet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.training = network.training

        def forward(self, *records: Any) -> Any:
            try:
                return self.network(*records)
            except InputError:
                raise
            except Exception as error:
                raise _failed(error, _BY_HAND) from None

    return Quiet()

"""How a model that others made takes records, and how its answers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema

LAYOUTS = ("channels-first", "channels-last", "flat")
OUTPUTS = ("auto", "probabilities", "logits", "shares")
ROWS = ("auto", "values", "numbers")
_SUMS = 1e-3  # how far the sum of a row of probabilities may be from 1


@dataclass(frozen=True)
class Interface:
    """What a model is given and what it gives back.

    Args:
        layout: Of images: ``"channels-first"``, ``"channels-last"`` or ``"flat"``.
        scale: What pixels in [0, 1] are multiplied by; 255 for models of bytes.
        mean: Subtracted from each channel afterwards.
        std: Each channel is then divided by.
        outputs: ``"probabilities"``; ``"logits"``; ``"shares"``, numbers in [0, 1] that do not sum
            to 1 (rounded probabilities, or one of each class alone) and are divided by their sum;
            or ``"auto"``: probabilities where the answers to made-up records are, logits where
            some lie outside of [0, 1].
        rows: Of tables: ``"values"``, a data frame of the columns' own values; ``"numbers"``, a
            matrix of numbers in which a level is its place in the schema; ``"auto"``, values for
            whatever takes names of columns.

    Raises:
        InputError: If a setting is unknown or out of range.
    """

    layout: str = "channels-first"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    outputs: str = "auto"
    rows: str = "auto"

    def __post_init__(self) -> None:
        for name, known in (("layout", LAYOUTS), ("outputs", OUTPUTS), ("rows", ROWS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}", f"Use {', '.join(known)}.")
        for name in ("scale", "mean", "std"):
            object.__setattr__(self, name, _numbers(getattr(self, name), name))
        if self.scale == 0 or 0 in self.std:
            raise InputError("scale or std is 0", "Give numbers other than 0.")

    @classmethod
    def of(cls, settings: Mapping[str, Any] | Interface | None) -> Interface:
        """From settings by name.

        Raises:
            InputError: If a name or a value is unknown.
        """
        if isinstance(settings, Interface):
            return settings
        known = [field.name for field in fields(cls)]
        for name in settings or {}:
            if name not in known:
                raise InputError(f"the interface has no {name!r}", f"Known: {', '.join(known)}.")
        return cls(**(settings or {}))

    @property
    def plain(self) -> bool:
        """Whether images are taken as they are."""
        return replace(self, outputs="auto", rows="auto") == Interface()

    def images(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images as the model takes them.

        Args:
            images: (n, c, h, w) in [0, 1].

        Raises:
            InputError: If mean or std are not of as many channels.
        """
        x = images * np.float32(self.scale)
        for name in ("mean", "std"):
            given = getattr(self, name)
            if len(given) not in (0, 1, images.shape[1]):
                raise InputError(
                    f"{name} has {len(given)} entries, the images {images.shape[1]} channels",
                    "Give one for each channel.",
                )
        if self.mean:
            x = x - np.array(self.mean, np.float32).reshape(1, -1, 1, 1)
        if self.std:
            x = x / np.array(self.std, np.float32).reshape(1, -1, 1, 1)
        if self.layout == "channels-last":
            x = x.transpose(0, 2, 3, 1)
        if self.layout == "flat":
            x = x.reshape(len(x), -1)
        return np.ascontiguousarray(x, dtype=np.float32)

    def understood(self, answers: NDArray[np.float64]) -> Interface:
        """The same with ``outputs`` settled by answers to made-up records.

        Raises:
            InputError: If the answers are percentages, which are none of them, or may be either.
        """
        if self.outputs != "auto":
            return self
        low, high = answers.min(initial=0.0), answers.max(initial=0.0)
        if answers.shape[1] > 1 and low >= 0 and np.all(np.abs(answers.sum(axis=1) - 100) < 0.5):
            raise InputError(
                "the model's answers sum to 100: they are percentages",
                "Have them divided by 100; taken for logits, they would say something else.",
            )
        whole = answers.shape[1] == 1 or np.all(np.abs(answers.sum(axis=1) - 1) < _SUMS)
        inside = low >= -1e-9 and high <= 1 + 1e-6
        if inside and not whole:
            raise InputError(
                "the model's answers lie between 0 and 1 and do not sum to 1",
                "Say what they are: outputs=shares for rounded probabilities or those of each "
                "class alone (they are divided by their sum), or outputs=logits.",
            )
        return replace(self, outputs="probabilities" if inside and whole else "logits")

    def probabilities(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Answers as probabilities.

        Args:
            answers: (n, K), or (n, 1) for the second of two classes.

        Returns:
            (n, K), or (n, 2); rows sum to 1.

        Raises:
            InputError: If probabilities or shares were promised and are none.
        """
        if self.outputs == "logits":
            if answers.shape[1] == 1:
                answers = np.concatenate([np.zeros_like(answers), answers], axis=1)
            shifted = np.exp(answers - answers.max(axis=1, keepdims=True, initial=-np.inf))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
        if answers.shape[1] == 1:
            answers = np.concatenate([1 - answers, answers], axis=1)
        sums = answers.sum(axis=1)
        if self.outputs == "shares":
            if answers.size and not (answers.min() >= -1e-6 and answers.max() <= 1 + 1e-6):
                raise InputError(
                    "the model's answers are no shares: some are below 0 or above 1",
                    "Say what they are: outputs=logits.",
                )
            # Who was rounded to 0 in every class is as likely of each.
            answers = np.where(sums[:, None] > 0, answers, 1.0)
        elif answers.size and (answers.min() < -1e-6 or np.abs(sums - 1).max() > _SUMS):
            raise InputError(
                "the model's answers are no probabilities: some are negative or do not sum to 1",
                "Say what they are: outputs=shares for rounded ones, or for those of each class "
                "alone; or outputs=logits.",
            )
        clipped = np.clip(answers, 0, None)
        return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def frame_of(schema: Schema, codes: NDArray[Any]) -> Any:
    """A data frame of the features' own values.

    Args:
        schema: The public facts.
        codes: (n, d) codes of all columns but the target.
    """
    import pyarrow as pa

    columns = {c.name: c.decode(codes[:, j]) for j, c in enumerate(schema.features)}
    return pa.table(columns).to_pandas()


def numbers_of(schema: Schema, codes: NDArray[Any]) -> NDArray[np.float32]:
    """(n, d) numbers: values of numeric columns, places of levels; NaN where a value is missing."""
    from sfumato.data import Numeric

    matrix = np.empty(codes.shape, np.float32)
    for j, column in enumerate(schema.features):
        absent = codes[:, j] == column.cardinality
        known = np.where(absent, 0, codes[:, j])
        matrix[:, j] = column.values(known) if isinstance(column, Numeric) else known
        if column.missing:
            matrix[absent, j] = np.nan
    return matrix


def made_up(
    schema: Schema | ImageSchema, records: int = 8, *, missing: bool = True
) -> NDArray[Any]:
    """Records that are nobody's, as a released model takes them: codes of features, or images.

    Args:
        schema: The public facts.
        records: How many.
        missing: Whether values may be missing where the schema says so.
    """
    from sfumato.data import ImageSchema

    rng = np.random.default_rng(0)
    if isinstance(schema, ImageSchema):
        return rng.random((records, *schema.shape), dtype=np.float32)
    sizes = [column.size if missing else column.cardinality for column in schema.features]
    return rng.integers(0, sizes, (records, len(sizes))).astype(np.int32)


def order_of(found: Sequence[Any], classes: Sequence[str]) -> list[int]:
    """For each class that a model names, its place among the declared ones.

    Raises:
        InputError: If a class was never declared, or is named twice.
    """
    shown = [_shown(name) for name in found]
    low = {name.lower(): i for i, name in enumerate(classes)}
    exact = {name: i for i, name in enumerate(classes)}
    places: list[int | None] = [exact.get(name, low.get(name.lower())) for name in shown]
    if None in places and all(name.isdecimal() and int(name) < len(classes) for name in shown):
        places = [int(name) for name in shown]
    if None in places and len(classes) == 2 and {*shown} <= {"False", "True"}:
        places = [int(name == "True") for name in shown]
    for name, place in zip(shown, places, strict=True):
        if place is None:
            raise InputError(
                f"the model knows a class {name!r} that the schema does not",
                f"Declared: {', '.join(classes)}.",
            )
    if len(set(places)) != len(places):
        raise InputError("the model names a class twice", "Give each class once.")
    return [place for place in places if place is not None]


def _shown(name: Any) -> str:
    value = name.item() if isinstance(name, np.generic) else name
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(value: Any, name: str) -> Any:
    alone = not isinstance(value, list | tuple)
    numbers = (value,) if alone else tuple(value)
    for number in numbers:
        good = isinstance(number, int | float) and not isinstance(number, bool)
        if not (good and np.isfinite(number)):
            raise InputError(f"{name} is {value!r}", "Give numbers.")
    return float(value) if alone and name == "scale" else tuple(float(n) for n in numbers)

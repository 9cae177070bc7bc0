"""What is public about a set of images: their shape and the classes of their labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfumato.data import schema_file
from sfumato.data.columns import check_provenance
from sfumato.data.facts import Fact
from sfumato.errors import InputError

_KEYS = ("sfumato_schema", "channels", "height", "width", "classes", "records", "provenance")


@dataclass(frozen=True)
class ImageSchema:
    """The public facts of a set of labelled images.

    Args:
        channels: 1 (grey) or 3 (red, green, blue).
        height: In pixels.
        width: In pixels.
        classes: Names of the labels; label ``i`` is ``classes[i]``.
        records: Number of images, where it is public (releases under replace-one need it).
        provenance: ``"public"`` or ``"public: SOURCE"``.

    Raises:
        InputError: If a fact is out of range.

    >>> ImageSchema(1, 28, 28, tuple("0123456789")).shape
    (1, 28, 28)
    """

    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    records: int | None = None
    provenance: str = "public"

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.channels not in (1, 3):
            raise InputError(f"images have {self.channels!r} channels", "Use 1 (grey) or 3 (RGB).")
        for key in ("height", "width", "records"):
            value = getattr(self, key)
            if key == "records" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{key} of the images is {value!r}", "Give a number above 0.")
        if not self.classes:
            raise InputError("the images have no classes", "Declare the name of every label.")
        for i, name in enumerate(self.classes):
            if not isinstance(name, str) or name in self.classes[:i]:
                raise InputError(f"class {name!r} is no text or there twice", "Correct classes.")
        check_provenance("images", self.provenance)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(channels, height, width)``."""
        return (self.channels, self.height, self.width)

    @property
    def target(self) -> str:
        """What is predicted: always the label."""
        return "label"

    def with_records(self, records: int | None) -> ImageSchema:
        """The same facts with the number of images declared public."""
        return replace(self, records=records)

    def looks_like(self, other: ImageSchema) -> bool:
        """Whether images and labels mean the same under both."""
        return self.shape == other.shape and self.classes == other.classes

    def as_facts(self) -> tuple[Fact, ...]:
        """Shape, classes, pixel range and, where it is declared, the number of images."""
        facts = [
            Fact("shape of images", list(self.shape), self.provenance),
            Fact("pixel range", [0, 1], self.provenance),
            Fact("classes", list(self.classes), self.provenance),
        ]
        if self.records is not None:
            facts.append(Fact("records", self.records))
        return tuple(facts)

    def to_yaml(self) -> str:
        """The facts as a file that can be read and edited by hand."""
        values: dict[str, Any] = {
            "sfumato_schema": int(schema_file.FORMAT),
            "channels": self.channels,
            "height": self.height,
            "width": self.width,
            "classes": list(self.classes),
        }
        if self.records is not None:
            values["records"] = self.records
        return schema_file.dump(values | {"provenance": self.provenance})

    @classmethod
    def from_yaml(cls, text: str, name: str = "the schema") -> ImageSchema:
        """Reads what :meth:`to_yaml` wrote.

        Raises:
            InputError: If a key is unknown or a fact is missing or wrong.
        """
        values = schema_file.parse(text, name)
        schema_file.check_format(values, name)
        if "columns" in values:
            raise InputError(f"{name} describes a table", "Give the schema of images.")
        schema_file.check_keys(values, _KEYS, name)
        for key in ("channels", "height", "width", "classes"):
            if key not in values:
                raise InputError(f"{name}: {key} is not declared", "Fill it in.")
        numbers = {
            key: schema_file.whole(values[key], key)
            for key in ("channels", "height", "width", "records")
            if key in values
        }
        return cls(
            numbers["channels"],
            numbers["height"],
            numbers["width"],
            schema_file.texts(values["classes"], "classes"),
            numbers.get("records"),
            values.get("provenance", "public"),
        )

    @classmethod
    def load(cls, path: str | Path) -> ImageSchema:
        """Reads a schema file.

        Raises:
            InputError: If the file cannot be read or is no schema of images.
        """
        return cls.from_yaml(schema_file.text_of(path), str(path))

    def save(self, path: str | Path) -> None:
        """Writes a schema file."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

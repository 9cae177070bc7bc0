"""Named public data sets: found on this machine, inside the package, or fetched when asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data.image_schema import ImageSchema
    from sfumato.data.imageset import ImageSet
    from sfumato.data.load import Facts
    from sfumato.data.schema import Schema
    from sfumato.data.table import Table

__all__ = ["Info", "available", "fetch", "find", "info", "load"]

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_GERMAN_HELD_OUT = 0.3


@dataclass(frozen=True)
class Info:
    """What is known of a named data set.

    Args:
        name: As in ``dataset:NAME``.
        title: In words.
        kind: ``"table"`` or ``"images"``.
        records: Number of records of each split.
        shape: ``"41 columns"`` or ``"1x28x28"``.
        target: Column to predict, or ``label``.
        classes: Of the target.
        licence: Of the data.
        source: Where it is published.
        checked: What a fetched copy is checked against.
        files: Of each split, below ``$SFUMATO_DATA`` or the cache; empty where the package holds
            the data.
    """

    name: str
    title: str
    kind: str
    records: Mapping[str, int]
    shape: str
    target: str
    classes: tuple[str, ...]
    licence: str
    source: str
    checked: str
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def bundled(self) -> bool:
        """Whether the data comes inside the package."""
        return not self.files


def _idx(folder: str) -> dict[str, tuple[str, ...]]:
    return {
        split: (f"{folder}/{stem}-images-idx3-ubyte.gz", f"{folder}/{stem}-labels-idx1-ubyte.gz")
        for split, stem in (("train", "train"), ("test", "t10k"))
    }


_CENSUS_SOURCE = "https://archive.ics.uci.edu/dataset/117/census+income+kdd"
_INFOS = {
    info.name: info
    for info in (
        Info(
            name="census-income",
            title="Census-Income (KDD), Current Population Surveys of 1994 and 1995",
            kind="table",
            records={"train": 199_523, "test": 99_762},
            shape="41 columns",
            target="income",
            classes=("<=50K", ">50K"),
            licence="CC BY 4.0",
            source=_CENSUS_SOURCE,
            checked="number of rows and columns, every value against the data dictionary",
            files={
                "train": ("tables/census_income_train.parquet",),
                "test": ("tables/census_income_test.parquet",),
            },
        ),
        Info(
            name="census-sample",
            title="A public sample of census-income that comes with the package",
            kind="table",
            records={"train": 20_000, "test": 5_000},
            shape="41 columns",
            target="income",
            classes=("<=50K", ">50K"),
            licence="CC BY 4.0",
            source=_CENSUS_SOURCE,
            checked="part of the package",
        ),
        Info(
            name="german-credit",
            title="Statlog German credit, 1,000 loan applicants",
            kind="table",
            records={"train": 700, "test": 300},
            shape="21 columns",
            target="credit_risk",
            classes=("1", "2"),
            licence="CC BY 4.0",
            source="https://archive.ics.uci.edu/dataset/144/statlog+german+credit+data",
            checked="sha256 of its values",
            files=dict.fromkeys(("train", "test"), ("tables/german_credit.csv",)),
        ),
        Info(
            name="mnist",
            title="Handwritten digits (LeCun, Cortes, Burges)",
            kind="images",
            records={"train": 60_000, "test": 10_000},
            shape="1x28x28",
            target="label",
            classes=_DIGITS,
            licence="CC BY-SA 3.0",
            source="https://ossci-datasets.s3.amazonaws.com/mnist/",
            checked="sha256 of the unpacked files",
            files=_idx("mnist"),
        ),
        Info(
            name="fashion-mnist",
            title="Pictures of clothes (Zalando Research)",
            kind="images",
            records={"train": 60_000, "test": 10_000},
            shape="1x28x28",
            target="label",
            classes=_CLOTHES,
            licence="MIT",
            source="https://github.com/zalandoresearch/fashion-mnist",
            checked="sha256 of the unpacked files",
            files=_idx("fashion-mnist"),
        ),
        Info(
            name="digits",
            title="Optical recognition of handwritten digits (UCI test set, as in scikit-learn)",
            kind="images",
            records={"train": 1_437, "test": 360},
            shape="1x8x8",
            target="label",
            classes=_DIGITS,
            licence="CC BY 4.0",
            source="https://archive.ics.uci.edu/dataset/80",
            checked="part of the package",
        ),
    )
}


def available() -> list[Info]:
    """All named data sets, whether they are on this machine or not; see :func:`find`."""
    return list(_INFOS.values())


def info(name: str) -> Info:
    """What is known of a data set.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in _INFOS:
        near = get_close_matches(name, _INFOS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_INFOS)}."
        raise InputError(f"unknown data set {name!r}", hint)
    return _INFOS[name]


def cache() -> Path:
    """Where fetched data is kept: ``$XDG_CACHE_HOME/sfumato`` or ``~/.cache/sfumato``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sfumato"


def find(name: str) -> Path | None:
    """The folder that holds a data set's files, or None if they are not on this machine."""
    known = info(name)
    if known.bundled:
        return _bundled()
    shared = os.environ.get("SFUMATO_DATA")
    for root in ([Path(shared)] if shared else []) + [cache()]:
        if all((root / file).is_file() for files in known.files.values() for file in files):
            return root
    return None


def load(name: str, split: str = "train", *, schema: Facts | None = None) -> Table | ImageSet:
    """Opens a split of a named data set; its number of records is declared public.

    Args:
        name: One of :func:`available`.
        split: ``"train"`` or ``"test"``.
        schema: Public facts in place of the data dictionary's.

    Raises:
        InputError: If the name or split is unknown or the files are not on this machine (nothing
            is fetched unless :func:`fetch` is called).
    """
    from sfumato.data.image_schema import ImageSchema
    from sfumato.data.schema import Schema

    known = info(name)
    if split not in known.records:
        raise InputError(f"{name} has no split {split!r}", f"Use {' or '.join(known.records)}.")
    root = find(name)
    if root is None:
        raise InputError(
            f"{name} is not on this machine",
            f"Set SFUMATO_DATA to the folder that holds it, or run: sfumato data fetch {name}",
        )
    if known.kind == "images":
        if isinstance(schema, Schema):
            raise InputError(f"{name} holds images, the schema a table", "Give ImageSchema.")
        return _images(known, root, split, schema)
    if isinstance(schema, ImageSchema):
        raise InputError(f"{name} is a table, the schema describes images", "Give a Schema.")
    return _table(known, root, split, schema)


def fetch(name: str) -> Path:
    """Downloads a data set from its public source into the cache, checked before it is kept.

    Returns:
        The folder that holds it; where it was found already, nothing is downloaded.

    Raises:
        InputError: If the source cannot be reached or what it gives fails the check.
    """
    from sfumato.data import fetching

    found = find(name)
    if found is not None:
        return found
    fetching.fetch(info(name), cache())
    return cache()


def schema_of(name: str) -> Schema:
    """The public facts of a named table, from its data dictionary."""
    from sfumato.data.schema import Schema

    file = "german_credit.yaml" if info(name).name == "german-credit" else "census_income.yaml"
    return Schema.load(_bundled() / file)


def _table(known: Info, root: Path, split: str, schema: Schema | None) -> Table:
    from sfumato.data.table import Table

    facts = schema or schema_of(known.name)
    if known.bundled:
        file = root / f"census_sample_{split}.parquet"
    else:
        (path,) = known.files[split]
        file = root / path
    table = Table.open(file, facts.with_records(None))
    if known.name == "german-credit":
        train, test = table.split(_GERMAN_HELD_OUT, seed=0)
        table = test if split == "test" else train
    return Table(facts.with_records(known.records[split]), table.source)


def _images(known: Info, root: Path, split: str, schema: ImageSchema | None) -> ImageSet:
    import numpy as np

    from sfumato.data.imageset import ImageSet

    if known.bundled:
        with np.load(root / "digits.npz", allow_pickle=False) as archive:
            part = (
                slice(None, archive["train"]) if split == "train" else slice(archive["train"], None)
            )
            # Sixteen grey levels, as the original counts ink in 4x4 blocks.
            pixels = archive["images"][part].astype(np.float32) / np.float32(16)
            images = ImageSet.from_arrays(pixels, archive["labels"][part], known.classes)
    else:
        pictures, labels = (root / file for file in known.files[split])
        images = ImageSet.from_idx(pictures, labels, known.classes)
    return images.with_schema(schema or _image_facts(images, known, split))


def _image_facts(images: ImageSet, known: Info, split: str) -> ImageSchema:
    from dataclasses import replace

    return replace(
        images.schema, records=known.records[split], provenance=f"public: {known.source}"
    )


def _bundled() -> Path:
    return Path(str(resources.files("sfumato.data") / "bundled"))

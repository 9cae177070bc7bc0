"""Private (or released) images with labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data import image_files, image_labels, persons, pixels
from sfumato.data.image_labels import Labels
from sfumato.data.image_schema import ImageSchema
from sfumato.data.pixels import FilePixels, MemoryPixels, PixelSource
from sfumato.data.subsets import Seed, row_hashes, split_threshold
from sfumato.errors import InputError

Images = NDArray[np.float32]

DATA = "data.npz"
SCHEMA = "schema.yaml"
_KEPT_BYTES = 1 << 29  # decoded files up to this many bytes stay in memory once they were checked
_BATCH = 1024


class ImageSet:
    """Labelled images of one shape: float32 in [0, 1] when asked for, kept as bytes.

    Args:
        source: The images.
        labels: (n,) integers below ``len(schema.classes)``.
        schema: The public facts.
        identity: (n,) whom each image shows, where it is known; never published.
        rows: Which images of the source are in the set; all by default.
        soft_labels: (n, K) how likely each class is, where a teacher labelled the images; each
            row sums to 1. ``labels`` are what to use where only one class can be given.
    """

    kind: ClassVar[str] = "images"

    def __init__(
        self,
        source: PixelSource,
        labels: NDArray[Any],
        schema: ImageSchema,
        identity: NDArray[Any] | None = None,
        rows: NDArray[np.int64] | None = None,
        soft_labels: NDArray[Any] | None = None,
    ) -> None:
        self.schema = schema
        self.labels = image_labels.hard(labels, schema)
        self.identity = identity
        self.from_folders = False  # whether folders' names say what the classes are
        self.by_class = False  # whether they come class by class, so that a place tells the label
        self._ordered = True
        self._source = source
        self._rows = np.arange(len(source)) if rows is None else rows
        self.soft_labels = None if soft_labels is None else image_labels.soft(soft_labels, schema)
        given = {"labels": self.labels, "identity": identity, "soft labels": self.soft_labels}
        for name, array in given.items():
            if array is not None and len(array) != len(self._rows):
                raise InputError(
                    f"there are {len(self._rows)} images and {len(array)} {name}",
                    "Give one for each image.",
                )

    # -- in ------------------------------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        images: NDArray[Any],
        labels: NDArray[Any],
        classes: Sequence[str],
        *,
        identity: NDArray[Any] | None = None,
        soft_labels: NDArray[Any] | None = None,
        provenance: str = "public",
        where: str = "images",
    ) -> ImageSet:
        """Images in memory.

        Args:
            images: (n, h, w), (n, c, h, w) or (n, h, w, c); uint8, or floats in [0, 1].
            labels: (n,) integers below ``len(classes)``, or names of classes.
            classes: Declared names of the labels.
            identity: (n,) whom each image shows.
            soft_labels: (n, K) how likely each class is.
            provenance: Of the facts.
            where: What an error names.

        Raises:
            InputError: If shapes, types, values or labels do not fit.
        """
        array = pixels.in_memory(images, where)
        channels, height, width = (int(n) for n in array.shape[1:])
        schema = ImageSchema(channels, height, width, tuple(classes), provenance=provenance)
        return cls(MemoryPixels(array), labels, schema, identity, soft_labels=soft_labels)

    @classmethod
    def from_folder(cls, path: str | Path, classes: Sequence[str] | None = None) -> ImageSet:
        """PNG and JPEG files in one folder a class; decoded when they are asked for.

        Args:
            path: The folder that holds the classes' folders.
            classes: Declared names; the folders' names in alphabetical order by default.

        Raises:
            InputError: If a class is undeclared or has no folder, an image lies beside the folders,
                a folder is empty where no classes are declared, or the first image cannot be read.
        """
        files, labels, names = image_files.class_folders(Path(path), classes)
        made = cls._from_files(files, labels, names, None)
        made.from_folders, made.by_class = classes is None, True
        return made

    @classmethod
    def from_csv(
        cls,
        folder: str | Path,
        csv: str | Path,
        *,
        classes: Sequence[str],
        image_col: str = "file",
        label_col: str = "label",
        identity_col: str | None = None,
    ) -> ImageSet:
        """PNG and JPEG files that a CSV lists with their labels.

        Args:
            folder: What file names are relative to.
            csv: UTF-8, with a header.
            classes: Declared names of the labels.
            image_col: Column of file names.
            label_col: Column of class names.
            identity_col: Column of whom each image shows.

        Raises:
            InputError: If a column, file or label is not there, or a file is listed twice.
        """
        files, labels, identity = image_files.csv_rows(
            Path(folder),
            Path(csv),
            {"image": image_col, "label": label_col, "identity": identity_col},
            classes,
        )
        return cls._from_files(files, labels, classes, identity)

    @classmethod
    def from_npz(cls, path: str | Path, classes: Sequence[str] | None = None) -> ImageSet:
        """An npz archive with ``images``, ``labels`` and, optionally, ``classes``, ``identity``,
        ``soft_labels``.

        Raises:
            InputError: If the archive is damaged or its classes are declared nowhere.
        """
        arrays = image_files.npz_arrays(Path(path))
        inside = arrays.get("classes")
        if classes is None and inside is None:
            raise InputError(
                f"{path} names no classes",
                "Add an array 'classes' with the name of every label, or declare them in a schema "
                "(sfumato_schema: 1, channels, height, width, classes).",
            )
        names = image_labels.names(inside, str(path)) if inside is not None else ()
        if classes is not None and inside is not None and names != tuple(classes):
            raise InputError(f"{path} has other classes than the schema", f"They are {names}.")
        return cls.from_arrays(
            arrays["images"],
            arrays["labels"],
            classes or names,
            identity=arrays.get("identity"),
            soft_labels=arrays.get("soft_labels"),
            where=str(path),
        )

    @classmethod
    def from_idx(
        cls, images_path: str | Path, labels_path: str | Path, classes: Sequence[str]
    ) -> ImageSet:
        """A pair of IDX files of unsigned bytes, gzipped or not.

        Raises:
            InputError: If a file is damaged or the two do not belong together.
        """
        images = image_files.idx_array(Path(images_path))
        labels = image_files.idx_array(Path(labels_path))
        if images.ndim not in (3, 4) or labels.ndim != 1 or len(images) != len(labels):
            raise InputError(
                f"{images_path} has shape {images.shape}, {labels_path} has shape {labels.shape}",
                "Give images and their labels, in this order.",
            )
        return cls.from_arrays(images, labels, classes, where=str(images_path))

    @classmethod
    def _from_files(
        cls,
        files: Sequence[Path],
        labels: Labels,
        classes: Sequence[str],
        identity: NDArray[Any] | None,
    ) -> ImageSet:
        channels, height, width = pixels.decode(files[0]).shape
        source = FilePixels(tuple(files), (channels, height, width))
        return cls(source, labels, ImageSchema(channels, height, width, tuple(classes)), identity)

    @property
    def ordered(self) -> bool:
        """Whether an image stands where its own version stands in a release of the set."""
        return self._ordered

    # -- images --------------------------------------------------------------------------------

    @property
    def images(self) -> Images:
        """(n, c, h, w) float32 in [0, 1]; all of them in memory."""
        made = np.empty((len(self), *self.schema.shape), np.float32)
        start = 0
        for some, _ in self.batches():
            made[start : start + len(some)] = some
            start += len(some)
        return made

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that images are decoded from; none where they are in memory."""
        return self._source.files if isinstance(self._source, FilePixels) else ()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_rows(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.schema.shape))
        return f"ImageSet({len(self)} of {shape}, {len(self.schema.classes)} classes)"

    def batches(self, size: int = _BATCH) -> Iterator[tuple[Images, Labels]]:
        """Images (k, c, h, w) and labels (k,) in order; files are decoded batch by batch."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield pixels.as_float(self._source.take(self._rows[rows])), self.labels[rows]

    def validate(self, schema: ImageSchema) -> None:
        """Checks the set against public facts and decodes every file once.

        Raises:
            InputError: If shape, classes or the public number of images differ, or a file is
                damaged or of another size.
        """
        if not isinstance(schema, ImageSchema):
            raise InputError("images are checked against a table's facts", "Give ImageSchema.")
        if not self.schema.looks_like(schema):
            raise InputError(
                f"images are {self.schema.shape} of {len(self.schema.classes)} classes, the schema "
                f"says {schema.shape} of {len(schema.classes)}",
                "Correct the schema, or the names and order of its classes.",
            )
        if schema.records is not None and schema.records != len(self):
            raise InputError(
                f"the schema declares {schema.records} records, there are {len(self)} images",
                "Correct records in the schema.",
            )
        if isinstance(self._source, FilePixels):
            self._decode_all()

    def split(self, fraction: float, seed: Seed) -> tuple[ImageSet, ImageSet]:
        """Parts the images by a hash of their number; the same seed gives the same parts.

        Where it is known whom they show, by a hash of the person's: all of one are on one side.

        Args:
            fraction: Of the images to hold out, in (0, 1).
            seed: Of the hash. A number holds out exactly this fraction (not of persons); a secret
                key decides by a coin for each image or person.

        Returns:
            The rest and the held-out part; ``records`` is no longer declared in either.

        Raises:
            InputError: If a part would be empty.
        """
        if self.identity is None:
            low = row_hashes(seed, 0, len(self)) < np.uint64(
                split_threshold(seed, len(self), fraction)
            )
        else:
            # By the person's name alone, so that one person more moves nobody else.
            if not 0 < fraction < 1:
                raise InputError(f"the held-out fraction is {fraction!r}", "Give one in (0, 1).")
            low = persons.below(persons.named(self.identity), seed, fraction)
            if low.all() or not low.any():
                raise InputError(
                    f"the persons are too few to hold {fraction:g} of them out: one part is empty",
                    "Give more persons, another fraction or another seed.",
                )
        return self.select(np.flatnonzero(~low)), self.select(np.flatnonzero(low))

    def whose(self) -> NDArray[np.int64] | None:
        """(n,) a number for the person of each image; None where it is not known whom they show.

        The numbers mean nothing beyond this set, and are private.

        Raises:
            InputError: If an image shows nobody.
        """
        if self.identity is None:
            return None
        return np.unique(persons.named(self.identity), return_inverse=True)[1].astype(np.int64)

    def shared_persons(self, other: ImageSet) -> int:
        """How many persons are in both sets; 0 where one does not say whom it shows."""
        if self.identity is None or other.identity is None:
            return 0
        return len(np.intersect1d(persons.named(self.identity), persons.named(other.identity)))

    def head(self, count: int) -> ImageSet:
        """The first images."""
        if count < 1:
            raise InputError(f"the first {count} images were asked for", "Ask for at least one.")
        return self.select(np.arange(min(count, len(self))))

    def select(self, rows: NDArray[np.int64]) -> ImageSet:
        """The images at these places, in this order."""
        identity, soft = (
            None if array is None else array[rows] for array in (self.identity, self.soft_labels)
        )
        schema = self.schema.with_records(None)
        made = ImageSet(self._source, self.labels[rows], schema, identity, self._rows[rows], soft)
        made._ordered, made.from_folders = self._ordered, self.from_folders
        made.by_class = self.by_class
        return made

    def shuffled(self) -> ImageSet:
        """The same images in an order that nobody knows, drawn from the system's entropy."""
        keys = np.frombuffer(os.urandom(16 * len(self)), np.uint64).reshape(2, -1)
        made = self.select(np.lexsort(keys))
        made.by_class = False
        return made

    def unaligned(self) -> ImageSet:
        """The same images, whose places are not those of their versions in any release."""
        made = self.with_schema(self.schema)
        made._ordered = False
        return made

    def with_schema(self, schema: ImageSchema) -> ImageSet:
        """The same images under facts with another provenance or number of records.

        Raises:
            InputError: If shape or classes differ.
        """
        if not self.schema.looks_like(schema):
            self.validate(schema)
        made = ImageSet(
            self._source, self.labels, schema, self.identity, self._rows, self.soft_labels
        )
        made._ordered, made.from_folders = self._ordered, self.from_folders
        made.by_class = self.by_class
        return made

    # -- out -----------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Writes ``data.npz`` (uint8 images, labels, classes, soft labels) and ``schema.yaml``.

        Pixels are rounded to 1/255. Identities are left out.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        images = np.empty((len(self), *self.schema.shape), np.uint8)
        for start in range(0, len(self), _BATCH):
            rows = self._rows[start : start + _BATCH]
            images[start : start + _BATCH] = pixels.as_bytes(self._source.take(rows))
        np.savez_compressed(
            folder / DATA,
            allow_pickle=False,
            images=images,
            labels=self.labels,
            classes=np.array(self.schema.classes),
            **({} if self.soft_labels is None else {"soft_labels": self.soft_labels}),
        )
        self.schema.save(folder / SCHEMA)

    def _decode_all(self) -> None:
        keep = len(self) * int(np.prod(self.schema.shape)) <= _KEPT_BYTES
        kept = np.empty((len(self) if keep else 0, *self.schema.shape), np.uint8)
        for start in range(0, len(self), _BATCH):
            images = self._source.take(self._rows[start : start + _BATCH])
            if keep:
                kept[start : start + _BATCH] = images
        if keep:
            self._source, self._rows = MemoryPixels(kept), np.arange(len(self))

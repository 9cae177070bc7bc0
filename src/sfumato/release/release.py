"""A release: an artefact, its card, and the folder they live in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.release.card import Card
from sfumato.release.model import SCHEMA as MODEL_SCHEMA
from sfumato.release.model import Model
from sfumato.release.weights import WEIGHTS, load_weights, save_weights

if TYPE_CHECKING:
    import numpy as np

    from sfumato.data import ImageSet, Table

CARD = "card.json"
REPORT = "report.html"


@dataclass(frozen=True)
class Artefact:
    """What a method publishes.

    Args:
        content: The released ``Table``, ``ImageSet`` or ``Model``.
        tensors: Weights of a generator released with its data, saved as ``weights.safetensors``.
        architecture: What rebuilds the module that holds ``tensors``; JSON values.
        seeds: Seeds of randomness that is not privacy noise.
        notes: Facts learnt from the noisy output alone (post-processing), for the card's plan.
    """

    content: Table | ImageSet | Model
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``"table"``, ``"images"`` or ``"model"``."""
        return self.content.kind

    @property
    def data(self) -> Table | ImageSet:
        """The released data.

        Raises:
            InputError: If there is none, but a model.
        """
        if isinstance(self.content, Model):
            raise InputError("this release holds a model, not data", "Use predict.")
        return self.content


@dataclass(frozen=True)
class Release:
    """A published artefact with its card.

    Everything in a release's folder may be handed over: it holds the artefact, ``card.json``
    and ``report.html``, never a private row, never a pickle.
    """

    card: Card
    artefact: Artefact
    path: Path | None = None
    evaluation: Any = field(default=None, compare=False, repr=False)
    """The custodian's evaluation, if one was made; never written with the release."""

    @property
    def data(self) -> Table | ImageSet:
        """The released ``Table`` or ``ImageSet``.

        Raises:
            InputError: If the release holds a model, not data.
        """
        return self.artefact.data

    @property
    def model(self) -> Model:
        """The released model.

        Raises:
            InputError: If the release holds data, not a model.
        """
        if not isinstance(self.artefact.content, Model):
            raise InputError(
                f"this release holds {self.artefact.kind}, not a model",
                "Train a model on .data, or publish one with `sfumato train`.",
            )
        return self.artefact.content

    @property
    def facts(self) -> Any:
        """The public facts of what was released: a ``Schema`` or an ``ImageSchema``."""
        return self.artefact.content.schema

    def predict(self, array: Any) -> Any:
        """Predictions of the released model; see :meth:`sfumato.release.model.Model.predict`.

        Raises:
            InputError: If the release holds data, not a model, or the records do not fit it.
        """
        return self.model.predict(array)

    def save(self, path: str | Path, report: Callable[[Release], str] | None = None) -> Release:
        """Writes the release as a folder, whole or not at all.

        Its files bear the card's time, for copies and archives keep the times of files: when the
        work ended would tell how long it took.

        Args:
            path: A folder that does not exist yet.
            report: Makes the release's HTML page, written as ``report.html``.

        Returns:
            The release, with its path and with the digests of its files in the card.

        Raises:
            InputError: If the folder exists or cannot be written, or the card's time is none.
        """
        final, created = check_new(path), self.card.seconds
        scratch = None
        try:
            scratch = Path(tempfile.mkdtemp(prefix=f".{final.name[:64]}.", dir=final.parent))
            self.artefact.content.save(scratch)
            if self.artefact.tensors:
                save_weights(scratch / WEIGHTS, self.artefact.tensors, self.artefact.architecture)
            files = [_digest(f, scratch) for f in sorted(scratch.rglob("*")) if f.is_file()]
            card = replace(self.card, artefact={**self.card.artefact, "files": files})
            (scratch / CARD).write_text(card.to_json(), encoding="utf-8")
            saved = replace(self, card=card, path=final)
            if report is not None:
                (scratch / REPORT).write_text(report(saved), encoding="utf-8")
            for file in (scratch, *scratch.rglob("*")):
                # Some writers keep files to their owner, but a release is for everybody.
                file.chmod(0o755 if file.is_dir() else 0o644)
            stamp(scratch, created)
            _flush(scratch)
            os.rename(scratch, final)
        except BaseException as error:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            if isinstance(error, OSError):
                raise InputError(
                    f"cannot write {final} ({error.strerror or error})", "Choose another folder."
                ) from None
            raise
        return saved

    def disclose(self, evaluation: str, report: str) -> None:
        """Adds an evaluation to a saved release, declared public by the custodian.

        Args:
            evaluation: Figures computed on private rows, as JSON; no guarantee covers them.
            report: The page that shows them, in place of the release's own.

        Raises:
            InputError: If the release was not saved, or the card's time is none.
        """
        if self.path is None:
            raise InputError("the release has no folder", "Save it before disclosing figures.")
        created = self.card.seconds
        for name, text in (("evaluation.json", evaluation), (REPORT, report)):
            scratch = self.path / f".{name}.new"
            scratch.write_text(text, encoding="utf-8")
            os.replace(scratch, self.path / name)
        stamp(self.path, created)

    @classmethod
    def load(cls, path: str | Path) -> Release:
        """Reads a release back from its folder.

        Raises:
            InputError: If the folder is no release, or a file differs from its digest.
        """
        from sfumato.data import imageset, load_released, table

        folder = Path(path).expanduser()
        if not (folder / CARD).is_file():
            raise InputError(f"{folder} holds no {CARD}", "Give the folder of a release.")
        try:
            text = (folder / CARD).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{folder / CARD} is not UTF-8", "The release is damaged.") from None
        card = Card.from_json(text)
        listed = _check_files(card, folder)
        kind = str(card.artefact.get("kind"))
        # What the card does not list was not digested, so it is no part of the release.
        needed = {
            "images": (imageset.DATA, imageset.SCHEMA),
            "model": (WEIGHTS, MODEL_SCHEMA),
        }.get(kind, (table.DATA, table.SCHEMA))
        for name in needed:
            if name not in listed:
                raise InputError(f"{folder / CARD} does not list {name}", "The release is damaged.")
        seeds = dict(card.seeds)
        if kind == "model":
            return cls(card=card, artefact=Artefact(Model.load(folder), seeds=seeds), path=folder)
        tensors, architecture = load_weights(folder / WEIGHTS) if WEIGHTS in listed else ({}, {})
        artefact = Artefact(load_released(folder, kind), tensors, architecture, seeds)
        return cls(card=card, artefact=artefact, path=folder)


def check_new(path: str | Path) -> Path:
    """A path that a release can be written to.

    Raises:
        InputError: If it exists, or its parent cannot be made or written.
    """
    final = Path(path).expanduser().absolute()
    try:
        if os.path.lexists(final):  # a dangling link is in the way too
            raise InputError(
                f"{final} already exists", "Choose another folder; releases never mix."
            )
        final.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            final.lstat()  # tells of names that are too long
    except (OSError, ValueError) as error:  # a name with a null character
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot make {str(final)!r} ({reason})", "Choose another folder."
        ) from None
    if not os.access(final.parent, os.W_OK):
        raise InputError(f"{final.parent} is not writable", "Choose another folder.")
    return final


def stamp(path: Path, seconds: float) -> None:
    """Gives a file, or a folder and all that is in it, one time, in seconds since 1970."""
    for file in (*path.rglob("*"), path):
        os.utime(file, (seconds, seconds))


def check_private(path: str | Path) -> Path:
    """A path, links followed, for what stays with the custodian: it lies in no release.

    Raises:
        InputError: If a folder above it, or the path itself, is a release.
    """
    final = Path(path).expanduser()
    try:
        final = final.resolve()
        inside = [folder for folder in (final, *final.parents) if (folder / CARD).is_file()]
    except (OSError, RuntimeError) as error:  # a loop of links
        raise InputError(f"cannot follow {path} ({error})", "Choose another place.") from None
    if inside:
        raise InputError(
            f"{path} lies in a release ({inside[0]}), which is handed over",
            "It is private: keep it beside the ledger.",
        )
    return final


def _check_files(card: Card, folder: Path) -> tuple[str, ...]:
    """The names of the listed files, each found unchanged.

    Raises:
        InputError: If a file is missing, altered, or lies outside the folder.
    """
    names: list[str] = []
    for entry in card.artefact.get("files", ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        root = folder.resolve()
        if not isinstance(name, str) or not (root / name).resolve().is_relative_to(root):
            raise InputError(f"{CARD} lists a file {name!r}", "The release is damaged.")
        file = folder / name
        if not file.is_file():
            raise InputError(f"{file} is missing", "The release is incomplete; copy it again.")
        if _digest(file, folder) != entry:
            raise InputError(f"{file} differs from its digest", "The release was altered.")
        names.append(name)
    return tuple(names)


def _flush(folder: Path) -> None:
    """Puts the files on disk, so that a power cut cannot lose what the ledger has paid for."""
    for file in (*folder.rglob("*"), folder):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _digest(file: Path, root: Path) -> dict[str, Any]:
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {
        "name": file.relative_to(root).as_posix(),
        "sha256": digest,
        "bytes": file.stat().st_size,
    }

"""A release: an artefact, its card, and the folder they live in."""

from __future__ import annotations

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

if TYPE_CHECKING:
    import numpy as np

    from sfumato.data import ImageSet, Table

CARD = "card.json"
REPORT = "report.html"


@dataclass(frozen=True)
class Artefact:
    """What a method publishes.

    Args:
        data: The released ``Table`` or ``ImageSet``.
        tensors: Weights of a released generator or model, saved as ``weights.safetensors``.
        architecture: What rebuilds the module that holds ``tensors``; JSON values.
        seeds: Seeds of randomness that is not privacy noise.
        notes: Facts learnt from the noisy output alone (post-processing), for the card's plan.
    """

    data: Table | ImageSet
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``"table"`` or ``"images"``."""
        return self.data.kind


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
        """The released ``Table`` or ``ImageSet``."""
        return self.artefact.data

    def predict(self, array: Any) -> Any:
        """Predictions of the released model.

        Raises:
            InputError: If the release holds data, not a model.
        """
        raise InputError(
            f"this release holds {self.artefact.kind}, not a model",
            "Train a model on .data, or publish one.",
        )

    def save(
        self, path: str | Path, report: Callable[[Release], str] | None = None
    ) -> Release:
        """Writes the release as a folder, whole or not at all.

        Args:
            path: A folder that does not exist yet.
            report: Makes the release's HTML page, written as ``report.html``.

        Returns:
            The release, with its path and with the digests of its files in the card.

        Raises:
            InputError: If the folder exists or cannot be written.
        """
        final = check_new(path)
        scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        try:
            self.artefact.data.save(scratch)
            if self.artefact.tensors:
                _save_tensors(self.artefact, scratch / "weights.safetensors")
            files = [_digest(f, scratch) for f in sorted(scratch.rglob("*")) if f.is_file()]
            card = replace(self.card, artefact={**self.card.artefact, "files": files})
            (scratch / CARD).write_text(card.to_json(), encoding="utf-8")
            saved = replace(self, card=card, path=final)
            if report is not None:
                (scratch / REPORT).write_text(report(saved), encoding="utf-8")
            scratch.chmod(0o755)
            os.rename(scratch, final)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        return saved

    def disclose(self, evaluation: str, report: str) -> None:
        """Adds an evaluation to a saved release, declared public by the custodian.

        Args:
            evaluation: Figures computed on private rows, as JSON; no guarantee covers them.
            report: The page that shows them, in place of the release's own.

        Raises:
            InputError: If the release was not saved.
        """
        if self.path is None:
            raise InputError("the release has no folder", "Save it before disclosing figures.")
        (self.path / "evaluation.json").write_text(evaluation, encoding="utf-8")
        (self.path / REPORT).write_text(report, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Release:
        """Reads a release back from its folder.

        Raises:
            InputError: If the folder is no release, or a file differs from its digest.
        """
        from sfumato.data import load_released

        folder = Path(path)
        if not (folder / CARD).is_file():
            raise InputError(f"{folder} holds no {CARD}", "Give the folder of a release.")
        card = Card.from_json((folder / CARD).read_text(encoding="utf-8"))
        for entry in card.artefact.get("files", []):
            file = folder / entry["name"]
            if not file.is_file():
                raise InputError(f"{file} is missing", "The release is incomplete; copy it again.")
            if _digest(file, folder) != dict(entry):
                raise InputError(f"{file} differs from its digest", "The release was altered.")
        data = load_released(folder, str(card.artefact["kind"]))
        tensors, architecture = _load_tensors(folder / "weights.safetensors")
        artefact = Artefact(data, tensors, architecture, dict(card.seeds))
        return cls(card=card, artefact=artefact, path=folder)


def check_new(path: str | Path) -> Path:
    """A path that a release can be written to.

    Raises:
        InputError: If it exists, or its parent cannot be made or written.
    """
    final = Path(path).expanduser().absolute()
    if final.exists():
        raise InputError(f"{final} already exists", "Choose another folder; releases never mix.")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {final.parent} ({error.strerror})", "Choose another.") from None
    if not os.access(final.parent, os.W_OK):
        raise InputError(f"{final.parent} is not writable", "Choose another folder.")
    return final


def _digest(file: Path, root: Path) -> dict[str, Any]:
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {
        "name": file.relative_to(root).as_posix(),
        "sha256": digest,
        "bytes": file.stat().st_size,
    }


def _save_tensors(artefact: Artefact, file: Path) -> None:
    import json

    from safetensors.numpy import save_file

    save_file(
        dict(artefact.tensors),
        file,
        metadata={"architecture": json.dumps(dict(artefact.architecture))},
    )


def _load_tensors(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if not file.is_file():
        return {}, {}
    import json

    from safetensors import safe_open

    with safe_open(file, framework="numpy") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        architecture = json.loads((handle.metadata() or {}).get("architecture", "{}"))
    return tensors, architecture

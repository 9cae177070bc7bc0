"""Finished runs on disk, of a comparison or an audit: an interruption loses none of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.learn.counted import locked
from sfumato.release.release import check_private

FORMAT = 1
FILE = "runs.jsonl"


class Runs:
    """An append-only file: what is compared on the first line, then a finished run a line.

    Args:
        file: Open for reading and appending, held by this process.
        done: The runs that are on disk, by their key.
    """

    def __init__(self, file: int, done: dict[str, dict[str, Any]]) -> None:
        self._file = file
        self._done = done

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, what: Mapping[str, Any], noun: str = "comparison"
    ) -> Iterator[Runs]:
        """The runs in a folder, which is made, for its owner only, if it is missing.

        Args:
            folder: Of the comparison or audit.
            what: What all its runs share, as JSON values: data, facts, records, attacks.
            noun: What it is.

        Raises:
            InputError: If the folder lies in a release, holds something else, runs of something
                else, damaged ones, or some that another process is working on.
        """
        check_private(folder)  # what private rows were seen to do is not handed over
        path = folder / FILE
        if folder.exists() and not path.is_file():
            raise InputError(
                f"{folder} already exists and holds no {noun}", "Choose another folder."
            )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise InputError(
                f"cannot write {path} ({error.strerror})", "Choose another folder."
            ) from None
        try:
            if not locked(file):
                raise InputError(
                    f"another process is working on the {noun} in {folder}",
                    "Wait for it, or choose another folder.",
                )
            header = _plain({f"sfumato_{noun}": FORMAT, **what})
            yield cls(file, _read(path, file, header, noun))
        finally:
            os.close(file)

    def get(self, key: str) -> dict[str, Any] | None:
        """The values of a finished run, or None."""
        return self._done.get(key)

    def add(self, key: str, values: Mapping[str, Any]) -> None:
        """Puts a finished run on disk."""
        _append(self._file, {"key": key, "run": values})
        self._done[key] = _plain(values)


def _read(path: Path, file: int, header: dict[str, Any], noun: str) -> dict[str, dict[str, Any]]:
    """Runs by key; a line that an interruption tore is cut off.

    Raises:
        InputError: If the first line is of other runs or of none, or a line is damaged. Nothing is
            written then.
    """
    first = _line(header)
    whole, _, torn = path.read_bytes().rpartition(b"\n")
    if not whole and not first.startswith(torn):
        raise InputError(f"{path} holds no {noun}", "Choose another folder.")
    lines = [_values(line) for line in whole.splitlines()]
    begun = lines[0] if lines else header
    if begun is None or f"sfumato_{noun}" not in begun:
        raise InputError(
            f"{path} holds no {noun}, or its first line is damaged", "Choose another folder."
        )
    if begun != header:
        differ = [k for k in header if begun.get(k) != header[k]]
        wording = "an audit" if noun == "audit" else f"a {noun}"
        raise InputError(
            f"{path.parent} holds {wording} of other {', '.join(differ)}",
            "Repeat the command that began it, or choose another folder.",
        )
    done: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not (line and isinstance(line.get("key"), str) and isinstance(line.get("run"), dict)):
            raise InputError(
                f"line {number} of {path} is damaged",
                "Restore a copy of the file, or begin in another folder.",
            )
        done[line["key"]] = line["run"]
    if torn:
        os.ftruncate(file, os.path.getsize(path) - len(torn))
    if not lines:
        _append(file, header)
    return done


def _values(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is no JSON of named values."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # bytes that are no text are a ValueError, too
        return None
    return found if isinstance(found, dict) else None


def _append(file: int, values: Mapping[str, Any]) -> None:
    line = _line(values)
    while line:
        line = line[os.write(file, line) :]
    os.fsync(file)


def _line(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False) + "\n").encode()


def _plain(values: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(values))

"""Runs the command line in this process, as a user would meet it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main


class Ran(NamedTuple):
    """Exit code and both streams of one command."""

    code: int
    out: str
    err: str


_commands = cache(typer.main.get_command)  # made anew, they cost each command a fifth of a second


@pytest.fixture
def sfumato(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ran]:
    """The command, with ledgers kept under the test's own folder."""
    from sfumato.cli.app import run

    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(typer.main, "get_command", _commands)

    def invoke(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sfumato", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return invoke

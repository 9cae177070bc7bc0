"""Commands as the pages write them: each is one that the command line takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from sfumato.api.configuring import configure
from sfumato.cli.app import app
from sfumato.cli.output import parse_settings

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def commands(page: str) -> Iterator[str]:
    """The lines that stand as commands, in blocks of a shell or indented by four spaces."""
    shell = False
    for line in page.splitlines():
        if line.lstrip().startswith("```"):
            shell = line.lstrip().startswith("```sh")
        elif (shell or line.startswith("    ")) and line.strip().startswith("sfumato "):
            yield line.strip()


WRITTEN = [
    pytest.param(line, id=f"{page.stem}: {line}")
    for page in PAGES
    for line in commands(page.read_text(encoding="utf-8"))
]


def parsed(line: str) -> dict[str, Any]:
    """The options of a command, or what the parser raises."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    with command.make_context(command.name, words) as context:
        return dict(context.params)


def test_the_pages_hold_commands() -> None:
    assert len(WRITTEN) > 20


@pytest.mark.parametrize("line", WRITTEN)
def test_a_command_of_a_page_can_be_typed_as_it_stands(line: str) -> None:
    options = parsed(line)
    method = options.get("method", "auto")
    if isinstance(method, str) and method != "auto":
        configure(method, parse_settings(options["set_"]), "cpu")


def test_one_that_leaves_out_what_is_needed_is_found() -> None:
    with pytest.raises(Exception, match="out") as found:
        parsed("sfumato train dataset:mnist --epsilon 1")
    assert type(found.value).__name__ == "MissingParameter"

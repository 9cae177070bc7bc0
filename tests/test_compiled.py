"""C is compiled at first use, into a folder that is its user's alone; where not, it is said why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sfumato import compiled


@pytest.fixture(name="source")
def _source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "answer.c"
    source.write_text(
        "#ifndef ANSWER\n#define ANSWER 42\n#endif\nint answer(void) { return ANSWER; }\n"
    )
    if compiled.library(source) is None:
        pytest.skip("no C compiler")
    return source


def test_what_is_compiled_is_kept_and_made_anew_when_anything_changes(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*options: str) -> int:
        found = compiled.library(source, *options)
        assert found is not None
        return int(found.answer())

    assert answer() == 42
    assert answer("-DANSWER=7") == 7
    monkeypatch.setenv("CC", "no-such-compiler")
    assert answer() == 42
    source.write_text("int answer(void) { return 3; }\n")
    assert compiled.library(source) is None


def test_trouble_names_the_reason_and_the_remedy(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert compiled.trouble(source) is None
    monkeypatch.setenv("SFUMATO_COMPILE", "0")
    assert compiled.trouble(source) == "SFUMATO_COMPILE is 0; unset it"
    monkeypatch.delenv("SFUMATO_COMPILE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("CC", "no-such-compiler")
    told = compiled.trouble(source)
    assert told == "there is no C compiler 'no-such-compiler'; install one, or name it by CC"
    monkeypatch.setenv("CC", "false")
    assert compiled.trouble(source) == "'false' fails (1); name another by CC"
    monkeypatch.delenv("CC")
    source.write_text("this is no C\n")
    told = compiled.trouble(source)
    assert told is not None
    assert "error" in told


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions of another kind")
def test_code_that_others_could_have_put_there_is_not_run(source: Path) -> None:
    compiled.folder().chmod(0o777)
    assert compiled.library(source) is None
    told = compiled.trouble(source)
    assert told is not None
    assert "can be written by others; set XDG_CACHE_HOME" in told

"""The floors of the house: no import runs upward, and nothing heavy is imported early."""

import ast
import subprocess
import sys
from pathlib import Path

import sfumato

ROOT = Path(sfumato.__file__).parent
FLOORS = [
    {"errors", "versions", "_rooms", "functional", "compiled"},
    {"registry"},
    {"privacy"},
    {"data", "vision"},
    {"learn"},
    {"release"},
    {"publish"},
    {"measure", "attack"},
    {"report"},
    {"api"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# They judge releases, and must not know how one was made.
BLIND = {("attack", "publish"), ("measure", "publish"), ("attack", "learn"), ("measure", "learn")}
# Measuring a release includes attacking it; attacks use the features of measure.
SIDEWAYS = {("measure", "attack"), ("attack", "measure")}


def imports_of(source: str) -> set[str]:
    """The rooms of sfumato that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "sfumato":
                names = [f"sfumato.{alias.name}" for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("sfumato.")}
    return found


def upward(room: str, source: str) -> set[str]:
    """Imports of ``room`` that break the order of the floors."""
    return {
        other
        for other in imports_of(source)
        if other in LEVEL
        and other != room
        and (room, other) not in SIDEWAYS
        and (LEVEL[other] >= LEVEL[room] or (room, other) in BLIND)
    }


def test_no_import_runs_upward() -> None:
    broken = {}
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).parts
        room = parts[0].removesuffix(".py")
        if room in (
            "__init__",
            "__main__",
            "_rooms",
        ):  # the front door and its bell reach every floor
            continue
        assert room in LEVEL, f"{file} belongs to no floor"
        if found := upward(room, file.read_text(encoding="utf-8")):
            broken[str(file.relative_to(ROOT))] = found
    assert not broken


def test_the_floor_test_sees_an_upward_import() -> None:
    assert upward("privacy", "def f():\n    from sfumato.publish.tables import adaptive\n") == {
        "publish"
    }
    assert upward("attack", "import sfumato.publish.method") == {"publish"}
    assert not upward("publish", "from sfumato.privacy import budget")


def imported(code: str, heavy: str) -> str:
    """Which of these a fresh interpreter has loaded after some code."""
    told = f"import sys; {code}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_importing_sfumato_imports_nothing_heavy() -> None:
    heavy = "torch numpy pandas sklearn scipy pyarrow ibis duckdb matplotlib dp_accounting opendp"
    assert imported("import sfumato, sfumato.cli.app", heavy) == "[]"


def test_looking_up_a_method_or_an_attack_imports_nothing_heavy() -> None:
    """What every command does first: those that need no network do not wait for torch."""
    code = "from sfumato.registry import load; load('method'); load('attack')"
    assert imported(code, "torch pandas sklearn duckdb dp_accounting") == "[]"

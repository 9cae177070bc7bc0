"""What benchmarks on images keep and sum up: never runs on test images with others."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
TEST, HELD_OUT = "test images", "held-out training images"


def bench(name: str) -> Any:
    if str(FOLDER) not in sys.path:  # benchmarks import each other by name
        sys.path.append(str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"bench_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(judged_on: str, accuracy: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    scored = {"accuracy": accuracy}
    return {
        "judged_on": judged_on,
        "method": "generators.taught",
        "data": "mnist",
        "epsilon": 1.0,
        "delta": 1e-5,
        "extractor": "scattering",
        "settings": {"steps": 280},
        "seed": seed,
        "likeness": {"frechet": 1.0},
        **dict.fromkeys(("soft", "small CNN", "MLP", "logistic regression"), scored),
        **more,
    }


@pytest.mark.parametrize(("name", "figure"), [("images", "MLP"), ("taught", "mean_accuracy")])
def test_runs_on_held_out_images_are_summed_up_by_themselves(name: str, figure: str) -> None:
    module = bench(name)
    rows = [run(TEST, 90.0), run(TEST, 92.0, 1), run(HELD_OUT, 50.0), run(TEST, 10.0, delta=1e-6)]
    lines = module.summary(rows)
    found = {(line["judged_on"], line["delta"]): line[figure] for line in lines}
    assert found == {(TEST, 1e-5): 91.0, (HELD_OUT, 1e-5): 50.0, (TEST, 1e-6): 10.0}
    assert [line.get("goal") for line in lines if line["judged_on"] == HELD_OUT] == [None]


def test_taught_sets_of_other_settings_are_summed_up_by_themselves() -> None:
    rows = [run(TEST, 90.0), run(TEST, 50.0, 1, settings={"steps": 10})]
    assert [line["seeds"] for line in bench("taught").summary(rows)] == [1, 1]


@pytest.mark.parametrize("name", ["images", "taught"])
def test_a_file_of_runs_that_do_not_say_what_they_were_judged_on_is_refused(
    name: str, tmp_path: Path
) -> None:
    module, out = bench(name), tmp_path / "out.json"
    assert module.kept(out, module.SAME) == []
    rows = [run(TEST, 90.0)]
    out.write_text(json.dumps({"rows": rows}), encoding="utf-8")
    assert module.kept(out, module.SAME) == rows
    del rows[0]["judged_on"]
    out.write_text(json.dumps({"rows": rows}), encoding="utf-8")
    with pytest.raises(SystemExit, match="without judged_on"):
        module.kept(out, module.SAME)


def test_the_committed_runs_of_taught_sets_are_all_on_test_images() -> None:
    module = bench("taught")
    found = json.loads((FOLDER / "results" / "taught.json").read_text(encoding="utf-8"))
    assert {
        row["judged_on"] for row in module.kept(FOLDER / "results" / "taught.json", module.SAME)
    } == {TEST}
    assert found["summary"] == module.summary(found["rows"])


def test_the_patches_of_photographs_are_in_one_part_each() -> None:
    photographs = bench("photographs").photographs
    train, test = photographs("train"), photographs("test")
    assert train.schema.shape == (3, 16, 16)
    assert set(train.labels) == {0, 1} == set(test.labels)
    seen = {patch.tobytes() for patch in train.images}
    assert not any(patch.tobytes() in seen for patch in test.images)


def test_settings_of_a_peer_follow_its_synthesisers_name() -> None:
    module = bench("marginals")
    assert module.synthesiser("mst") == ("mst", {})
    assert module.synthesiser("aim[rounds=82,compress=false]") == (
        "aim",
        {"rounds": 82, "compress": False},
    )
    assert module.label("smartnoise", "mst") == "mst"
    assert module.label("dpmm", "mst") == "dpmm mst"


def test_a_run_that_took_too_much_is_recorded_with_what_it_used() -> None:
    spin = f"import sys; sys.path.append({str(FOLDER)!r}); import marginals_peer as peer; "
    module = bench("marginals")
    spun = module.watched([sys.executable, "-c", spin + "peer.limit(1, None)\nwhile 1: 1"], 60.0)
    assert spun["failed"] == "TimeoutError: stopped after 1 s of processor time"
    assert spun["used"]["cpu_seconds"] > 0.5  # the limit and the account round differently
    held = module.watched(
        [sys.executable, "-c", spin + "peer.limit(None, 256)\nbytearray(1 << 30)"], 60.0
    )
    assert held["failed"] == "MemoryError"
    assert held["used"]["peak_mebibytes"] < 1024
    assert set(module.watched([sys.executable, "-c", ""], 60.0)) == set(held["used"])


def timed(ratios: dict[str, float], fastest: str, memory: dict[str, float]) -> dict[str, Any]:
    return {"time": {"ratios": ratios, "fastest_plain": fastest}, "memory": memory}


def test_a_steps_memory_is_of_the_layouts_whose_times_are_judged() -> None:
    entry = timed(
        {"plain": 1.3, "plain_last": 1.0, "ours": 1.6, "ours_last": 1.2, "opacus_ghost": 3.0},
        "plain_last",
        {"plain": 20.0, "plain_last": 16.0, "ours": 12.0, "ours_last": 18.0},
    )
    found = bench("step").judge({"cnn": entry, "mlp": {"memory": {"plain": 1.0, "ours": 1.0}}})
    assert found["layouts"] == {"cnn": ["ours_last", "plain_last"]}
    assert found["ours"] == {"cnn": 1.2}
    assert found["memory"] == {"cnn": 1.12}
    assert found["opacus_over_ours"] == {"cnn": 2.5}
    assert found["compiled"] == {}


def test_the_committed_summary_of_steps_is_that_of_its_models() -> None:
    found = json.loads((FOLDER / "results" / "step.json").read_text(encoding="utf-8"))
    assert found["summary"] == bench("step").judge(found["models"])


def test_the_table_of_generators_is_made_by_the_commands_that_are_named() -> None:
    """Planted: a row of a preset, and a target that runs the method's defaults."""
    made = (FOLDER.parent / "Makefile").read_text("utf-8").partition("\nbench-images:")[2]
    named = made.partition("\n\n")[0].replace("\\", " ").split()
    page = (FOLDER.parent / "docs" / "image-generators.md").read_text("utf-8")
    rows = json.loads((FOLDER / "results" / "images.json").read_text("utf-8"))["rows"]
    others = {(row["method"], row["data"], row["epsilon"]) for row in rows}
    for method, data, epsilon in others:
        if method in named:
            continue
        name, _, settings = method.rstrip("]").partition("[")
        assert name in named
        shown = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}[data]
        assert f"| `{name}` (`{settings}`) | {shown} | {epsilon:g} |" in page
        assert not settings.startswith("preset=")


def missing(source: str) -> list[str]:
    """What a script takes of sfumato's modules by name that is not there."""
    tree, modules, wrong = ast.parse(source), dict[str, ModuleType](), list[str]()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not f"{node.module}.".startswith("sfumato."):
            continue
        parent = importlib.import_module(str(node.module))
        for alias in node.names:
            if not hasattr(parent, alias.name):
                name = f"{node.module}.{alias.name}"
                try:
                    importlib.import_module(name)
                except ModuleNotFoundError:
                    wrong.append(name)
                    continue
            value = getattr(parent, alias.name)
            if isinstance(value, ModuleType):
                modules[alias.asname or alias.name] = value
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module is not None and not hasattr(module, node.attr):
                wrong.append(f"{module.__name__}.{node.attr}")
    return wrong


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_takes_only_what_is_there(script: Path) -> None:
    assert missing(script.read_text("utf-8")) == []


def test_what_a_benchmark_takes_that_is_gone_is_seen() -> None:
    """Planted: the name that `reconstruction_peer.py` took for weeks after it had gone."""
    planted = "def f():\n    from sfumato.measure import cnn\n    return cnn._build(1, 2)\n"
    assert missing(planted) == ["sfumato.measure.cnn._build"]
    assert missing("from sfumato.measure.cnn import _build") == ["sfumato.measure.cnn._build"]

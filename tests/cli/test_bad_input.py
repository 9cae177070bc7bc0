"""Each bad input is one line and exit code 2, before anything is spent or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sfumato.privacy.ledger import Ledger

ROWS = 200
SCHEMA = """\
sfumato_schema: 1
target: outcome
columns:
  age: {type: integer, lower: 0, upper: 99, granularity: 1, provenance: public}
  colour: {type: categorical, levels: [red, green], provenance: public}
  outcome: {type: categorical, levels: ["no", "yes"], provenance: public}
"""


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(0, 100, ROWS),
            "colour": rng.choice(["red", "green"], ROWS),
            "outcome": rng.choice(["no", "yes"], ROWS),
        }
    )


class Case:
    """A table on disk, its schema and the rest of a good command, each part replaceable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data: Path | str = folder / "people.csv"
        frame().to_csv(self.data, index=False)
        self.schema = folder / "people.yaml"
        self.schema.write_text(SCHEMA, encoding="utf-8")
        self.ledger = folder / "people.db"
        self.out = folder / "release"
        self.epsilon: object = 1
        self.more: list[object] = []

    def arguments(self) -> list[object]:
        fixed = ["--out", self.out, "--ledger", self.ledger, "--epsilon", self.epsilon]
        schema = ["--schema", self.schema] if self.schema else []
        return ["publish", self.data, *schema, *fixed, *self.more]


def missing_target(case: Case) -> str:
    case.more = ["--target", "wealth"]
    return "wealth"


def out_of_bounds(case: Case) -> str:
    table = frame()
    table.loc[17, "age"] = 130
    table.to_csv(case.data, index=False)
    return "130"


def undeclared_level(case: Case) -> str:
    table = frame()
    table.loc[3, "colour"] = "blue"
    table.to_csv(case.data, index=False)
    return "blue"


def not_a_number(case: Case) -> str:
    table = frame().astype({"age": float})
    table.loc[5, "age"] = np.inf
    table.to_csv(case.data, index=False)
    return "age"


def undeclared_missing(case: Case) -> str:
    table = frame().astype({"age": float})
    table.loc[5, "age"] = np.nan
    table.to_csv(case.data, index=False)
    return "age"


def empty_file(case: Case) -> str:
    Path(case.data).write_bytes(b"")
    return "people.csv"


def header_only(case: Case) -> str:
    Path(case.data).write_text("age,colour,outcome\n", encoding="utf-8")
    return "people.csv"


def duplicate_columns(case: Case) -> str:
    Path(case.data).write_text("age,age,outcome\n1,2,no\n", encoding="utf-8")
    return "age"


def wrong_encoding(case: Case) -> str:
    Path(case.data).write_bytes("age,colour,outcome\n1,\xe9,no\n".encode("latin-1"))
    return "people.csv"


def truncated_parquet(case: Case) -> str:
    file = case.folder / "people.parquet"
    frame().to_parquet(file)
    file.write_bytes(file.read_bytes()[:-40])
    case.data = file
    return "people.parquet"


def missing_file(case: Case) -> str:
    case.data = case.folder / "nobody.csv"
    return "nobody.csv"


def no_schema(case: Case) -> str:
    case.schema = None  # type: ignore[assignment]
    return "schema draft"


def broken_schema(case: Case) -> str:
    case.schema.write_text(SCHEMA.replace("upper: 99", "upper: -1"), encoding="utf-8")
    return "age"


def unknown_schema_key(case: Case) -> str:
    case.schema.write_text(SCHEMA.replace("upper: 99", "uper: 99"), encoding="utf-8")
    return "uper"


def unfilled_schema(case: Case) -> str:
    case.schema.write_text(SCHEMA.replace("upper: 99", "upper: '?'"), encoding="utf-8")
    return "age"


def unknown_method(case: Case) -> str:
    case.more = ["--method", "tables.indpendent"]
    return "tables.independent"


def unknown_key(case: Case) -> str:
    case.more = ["--method", "tables.independent", "--set", "bin=4"]
    return "bins"


def wrong_kind(case: Case) -> str:
    case.more = ["--method", "generators.merf"]
    return "generators.merf"


def zero_epsilon(case: Case) -> str:
    case.epsilon = 0
    return "epsilon"


def negative_epsilon(case: Case) -> str:
    case.epsilon = -1
    return "epsilon"


def nan_epsilon(case: Case) -> str:
    case.epsilon = "nan"
    return "epsilon"


def large_delta(case: Case) -> str:
    case.more = ["--delta", "0.05"]
    return "0.05"


def existing_release(case: Case) -> str:
    case.out.mkdir()
    return "exists"


def existing_evaluation(case: Case) -> str:
    case.out.with_name("release.evaluation").mkdir()
    return "exists"


def unknown_attack(case: Case) -> str:
    case.more = ["--attack", "linkage.nearst"]
    return "linkage.nearest"


def too_few_to_evaluate(case: Case) -> str:
    case.more = ["--holdout", "0.01"]
    return "too few"


def unknown_dataset(case: Case) -> str:
    case.data, case.schema = "dataset:mnits", None  # type: ignore[assignment]
    return "mnist"


def unknown_setting_syntax(case: Case) -> str:
    case.more = ["--set", "bins"]
    return "key=value"


def pictures(case: Case) -> Path:
    folder = case.folder / "pictures"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(
                folder / name / f"{i}.png"
            )
    case.data, case.schema = folder, None  # type: ignore[assignment]
    return folder


def corrupted_image(case: Case) -> str:
    (pictures(case) / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return "3.png"


def unequal_images(case: Case) -> str:
    Image.new("L", (9, 8)).save(pictures(case) / "dog" / "7.png")
    return "7.png"


def undeclared_label(case: Case) -> str:
    images = np.zeros((60, 1, 8, 8), np.uint8)
    labels = np.arange(60) % 3
    file = case.folder / "pictures.npz"
    np.savez(file, images=images, labels=labels)
    case.data = file
    case.schema.write_text(
        "sfumato_schema: 1\nchannels: 1\nheight: 8\nwidth: 8\n"
        "classes: [cat, dog]\nprovenance: public\n",
        encoding="utf-8",
    )
    return "2"


CASES = [
    missing_target,
    out_of_bounds,
    undeclared_level,
    not_a_number,
    undeclared_missing,
    empty_file,
    header_only,
    duplicate_columns,
    wrong_encoding,
    truncated_parquet,
    missing_file,
    no_schema,
    broken_schema,
    unknown_schema_key,
    unfilled_schema,
    unknown_method,
    unknown_key,
    wrong_kind,
    zero_epsilon,
    negative_epsilon,
    nan_epsilon,
    large_delta,
    existing_release,
    existing_evaluation,
    unknown_attack,
    too_few_to_evaluate,
    unknown_dataset,
    unknown_setting_syntax,
    corrupted_image,
    unequal_images,
    undeclared_label,
]


@pytest.mark.parametrize("spoil", CASES, ids=lambda f: f.__name__)
def test_bad_input_is_one_line_and_spends_nothing(
    spoil: Callable[[Case], str], sfumato: Callable[..., object], tmp_path: Path
) -> None:
    case = Case(tmp_path)
    named = spoil(case)
    before = {p for p in tmp_path.rglob("*") if case.out.name in p.parts[-1]}
    ran = sfumato(*case.arguments())
    assert ran.code == 2, ran
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("error:")
    assert named in lines[0]
    assert "Traceback" not in ran.err
    if case.ledger.exists():
        assert not Ledger.open(case.ledger).entries()
    assert {p for p in tmp_path.rglob("*") if case.out.name in p.parts[-1]} == before


def test_the_good_command_that_the_cases_spoil_is_good(
    sfumato: Callable[..., object], tmp_path: Path
) -> None:
    case = Case(tmp_path)
    case.more = ["--no-evaluate"]
    ran = sfumato(*case.arguments())
    assert ran.code == 0, ran.err
    assert (case.out / "card.json").is_file()
    assert len(Ledger.open(case.ledger).entries()) == 1

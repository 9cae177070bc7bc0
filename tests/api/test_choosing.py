from __future__ import annotations

import json
from pathlib import Path

from sfumato import registry
from sfumato.api.choosing import USUAL, WORTH_PAIRS, choose
from sfumato.data import Categorical, ImageSchema, Numeric, Schema


def table(features: int, target: Categorical | Numeric | None) -> Schema:
    columns = tuple(Categorical(f"x{i}", ("a", "b")) for i in range(features))
    if target is None:
        return Schema(columns)
    return Schema((*columns, target), target=target.name)


def test_every_choice_is_registered_and_gives_what_is_asked_for() -> None:
    for gives, kinds in USUAL.items():
        for kind, name in kinds.items():
            method = registry.find("method", name)
            assert kind in method.kinds
            assert (method.gives == "model") == (gives == "model")


def test_the_rule_follows_public_shapes_and_names_its_reason() -> None:
    levels = Categorical("y", ("no", "yes"))
    many = Categorical("y", tuple(map(str, range(100))))
    number = Numeric("y", 0, 10_000, 1)
    for facts, expected in (
        (table(3, levels), "tables.marginals"),
        (table(3, number), "tables.marginals"),
        (table(3, None), "tables.marginals"),
        (table(3, many), "tables.independent"),
        (table(300, levels), "tables.independent"),
    ):
        name, why = choose("data", "table", facts, records=5, epsilon=1.0)
        assert name == expected
        assert why.startswith(f"{name}: ")
    assert choose("model", "images", None, records=5, epsilon=1.0)[0] == "learn.recipe"


def test_what_is_said_of_pairs_is_what_was_measured() -> None:
    found = Path(__file__).parents[2] / "benchmarks" / "results" / "choosing.json"
    cases = json.loads(found.read_text("utf-8"))["summary"]
    assert len(cases) == 21
    for case in cases:
        assert case["seeds"] >= 5
        if case["rows"] * case["epsilon"] >= WORTH_PAIRS:
            assert case["ahead"] > case["half_width"]
        else:
            assert case["ahead"] > -case["half_width"]


def test_the_reason_tells_the_side_of_a_declared_number_of_rows() -> None:
    levels = Categorical("y", ("no", "yes"))
    facts = table(3, levels)
    _, why = choose("data", "table", facts, records=5, epsilon=1.0)
    assert "5 rows" not in why  # the number of rows may be what is protected
    for rows, epsilon, side in ((40_000, 0.5, "above"), (40_000, 0.25, "below")):
        _, why = choose("data", "table", facts.with_records(rows), records=5, epsilon=epsilon)
        assert why.endswith(f"40,000 rows at epsilon {epsilon:g} are {side} that")


def test_images_go_to_a_teacher_if_it_can_see_them_and_there_are_enough() -> None:
    for facts, records, epsilon, expected in (
        (ImageSchema(1, 28, 28, ("a", "b")), 60_000, 1.0, "generators.taught"),
        (ImageSchema(3, 8, 9, ("a", "b")), 5_000, 4.0, "generators.taught"),
        (ImageSchema(1, 8, 8, ("a", "b")), 1_437, 1.0, "generators.merf"),
        (ImageSchema(1, 28, 28, ("a", "b")), 60_000, 0.1, "generators.merf"),
        (ImageSchema(1, 7, 28, ("a", "b")), 60_000, 1.0, "generators.merf"),
        (ImageSchema(1, 28, 28, ("a",)), 60_000, 1.0, "generators.merf"),
    ):
        name, why = choose("data", "images", facts, records=records, epsilon=epsilon)
        assert name == expected
        assert why.startswith(f"{name}: ")


def test_nothing_is_chosen_that_was_not_measured_to_be_best() -> None:
    """Networks over rows, and autoencoders of images, are asked for by name."""
    levels = Categorical("y", ("no", "yes"))
    chosen = {
        choose("data", "table", table(features, target), records=records, epsilon=epsilon)[0]
        for features in (1, 3, 50, 300)
        for target in (levels, Numeric("y", 0, 10_000, 1), None)
        for records in (50, 1_000_000)
        for epsilon in (0.1, 1.0, 10.0)
    }
    assert chosen == {"tables.marginals", "tables.independent"}
    chosen = {
        choose("data", "images", facts, records=records, epsilon=epsilon)[0]
        for facts in (ImageSchema(1, 28, 28, ("a", "b")), ImageSchema(3, 4, 4, ("a",)))
        for records in (50, 1_000_000)
        for epsilon in (0.1, 1.0, 10.0)
    }
    assert chosen == {"generators.taught", "generators.merf"}

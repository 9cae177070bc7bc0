from __future__ import annotations

import pytest

from sfumato.data import ImageSchema, Schema
from sfumato.data.load import load_schema
from sfumato.errors import InputError

FACTS = ImageSchema(3, 32, 24, ("T-shirt/top", "no", "1"), records=7, provenance="public: a paper")


def test_yaml_gives_back_the_same_facts(tmp_path):
    assert ImageSchema.from_yaml(FACTS.to_yaml()) == FACTS
    FACTS.save(tmp_path / "s.yaml")
    assert ImageSchema.load(tmp_path / "s.yaml") == load_schema(tmp_path / "s.yaml") == FACTS
    assert FACTS.with_records(None).records is None
    assert FACTS.target == "label"


@pytest.mark.parametrize(
    "facts",
    [
        {"channels": 2},
        {"height": 0},
        {"width": 2.5},
        {"classes": ()},
        {"classes": ("a", "a")},
        {"classes": (1, 2)},
        {"records": 0},
        {"provenance": "seen"},
    ],
)
def test_facts_out_of_range_are_refused(facts):
    values = {"channels": 1, "height": 8, "width": 8, "classes": ("a", "b")} | facts
    with pytest.raises(InputError):
        ImageSchema(**values)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("channels: 3", "chanels: 3", "unknown key 'chanels'. Did you mean 'channels'"),
        ("channels: 3\n", "", "channels is not declared"),
        ("height: 32", "height: tall", "height is 'tall'"),
        ("sfumato_schema: 1", "sfumato_schema: 9", "lacks 'sfumato_schema: 1'"),
        ("height: 32", "height: 32\ncolumns: {}", "describes a table"),
    ],
)
def test_a_wrong_file_is_refused(old, new, problem):
    assert old in FACTS.to_yaml()
    with pytest.raises(InputError, match=problem):
        ImageSchema.from_yaml(FACTS.to_yaml().replace(old, new))


def test_facts_name_shape_range_classes_and_records():
    facts = {fact.name: fact.value for fact in FACTS.as_facts()}
    assert facts == {
        "shape of images": [3, 32, 24],
        "pixel range": [0, 1],
        "classes": ["T-shirt/top", "no", "1"],
        "records": 7,
    }


def test_a_schema_of_images_is_no_schema_of_a_table():
    with pytest.raises(InputError, match="describes images"):
        Schema.from_yaml(FACTS.to_yaml())

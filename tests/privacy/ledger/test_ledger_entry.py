from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfumato.privacy.ledger.entry import FIELDS, Entry, Head, canonical, chain_problems, digest

STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def chain(length: int) -> tuple[Head, list[Entry]]:
    head, entries = Head.first("a" * 32, "2024-01-01T00:00:00+00:00"), []
    for number in range(length):
        entry = Entry.after(
            head,
            time=f"2024-01-02T00:00:{number:02}+00:00",
            kind="debit",
            release_id=f"r{number}",
            method="tables.independent",
            label=f"label {number}",
            guarantee={"kind": "empirical", "attacks": [str(number)]},
        )
        head = head.moved_to(entry)
        entries.append(entry)
    return head, entries


@STEADY
@given(JSON)
def test_canonical_form_is_a_fixed_point(value: object) -> None:
    import json

    text = canonical(value)
    assert text.isascii()
    assert canonical(json.loads(text)) == text


@STEADY
@given(st.dictionaries(st.text(), st.integers(), min_size=2, max_size=5))
def test_canonical_form_ignores_the_order_of_keys(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, b"bytes", {1, 2}])
def test_what_json_cannot_hold_has_no_canonical_form(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical(value)


@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_a_chain_as_written_has_no_problems(length: int) -> None:
    head, entries = chain(length)
    assert chain_problems(head, entries) == []
    assert chain_problems(head, entries, known=[entry.hash for entry in entries]) == []


def altered(entry: Entry, field: str) -> Entry:
    value = getattr(entry, field)
    if isinstance(value, str):
        return replace(entry, **{field: value[:-1] + ("x" if value[-1] != "x" else "y")})
    if isinstance(value, int):
        return replace(entry, **{field: value + 1})
    return replace(entry, **{field: {**value, "attacks": ["other"]}})


def fields_not_covered(digest_of) -> list[str]:
    """Fields of a line that can be changed without its hash changing."""
    _, entries = chain(1)
    covered = [name for name in FIELDS if name != "hash"]
    before = digest_of(entries[0])
    return [name for name in covered if digest_of(altered(entries[0], name)) == before]


def test_the_hash_covers_every_field() -> None:
    assert fields_not_covered(Entry.recomputed) == []


@pytest.mark.parametrize("forgotten", [name for name in FIELDS if name != "hash"])
def test_planted_defect_a_hash_that_forgets_a_field_is_caught(forgotten: str) -> None:
    def careless(entry: Entry) -> str:
        left_out = ("hash", forgotten)
        return digest({k: v for k, v in entry.to_dict().items() if k not in left_out})

    assert fields_not_covered(careless) == [forgotten]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_changed_field_is_found(field: str, place: int) -> None:
    head, entries = chain(5)
    entries[place] = altered(entries[place], field)
    assert chain_problems(head, entries)


def test_lines_removed_exchanged_inserted_or_cut_off_are_found() -> None:
    head, entries = chain(5)
    second, third = entries[1], entries[2]
    swapped = [
        entries[0],
        replace(third, sequence=second.sequence),
        replace(second, sequence=third.sequence),
        *entries[3:],
    ]
    for damaged in (
        entries[1:],
        entries[:2] + entries[3:],
        entries[:-1],
        [],
        [*entries, Entry.after(head, **fields_of(second))],
        [*entries[:2], second, *entries[2:]],
        swapped,
    ):
        assert chain_problems(head, damaged)
    assert chain_problems(head, entries[:2] + entries[3:])[0] == "entry 4 follows entry 2"


def fields_of(entry: Entry) -> dict[str, object]:
    return {k: v for k, v in entry.to_dict().items() if k not in ("sequence", "hash", "previous")}


@pytest.mark.parametrize("field", ["ledger", "created", "count", "hash"])
def test_a_changed_head_is_found(field: str) -> None:
    head, entries = chain(3)
    value = getattr(head, field)
    changed = replace(head, **{field: value + 1 if isinstance(value, int) else value[:-1] + "x"})
    assert chain_problems(changed, entries)


def test_a_chain_written_anew_is_found_only_by_a_hash_noted_elsewhere() -> None:
    head, entries = chain(4)
    forged_head, forged = Head.first(head.ledger, head.created), []
    for entry in entries:
        values = fields_of(entry)
        if entry.sequence == 2:
            values["label"] = "forged"
        forged.append(Entry.after(forged_head, **values))
        forged_head = forged_head.moved_to(forged[-1])
    assert chain_problems(forged_head, forged) == []
    assert chain_problems(forged_head, forged, known=[entries[0].hash]) == []
    found = chain_problems(forged_head, forged, known=[entries[3].hash])
    assert found == [f"hash {entries[3].hash} is not in this ledger"]


def test_two_ledgers_share_no_hash() -> None:
    one, other = Head.first("a", "2024"), Head.first("b", "2024")
    values = fields_of(chain(1)[1][0])
    assert Entry.after(one, **values).hash != Entry.after(other, **values).hash

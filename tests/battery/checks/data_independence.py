"""Private data reach what is published through the noise alone."""

from __future__ import annotations

import json

import numpy as np

from battery.check import check
from battery.recorder import Recorder, pairs
from battery.row import MethodRow
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent

OWN = ("artefact", "ledger", "release_id", "created", "seeds")
"""What differs between any two releases."""


@check(methods=True)
def check_card_is_public(row: MethodRow) -> None:
    """Other people, the same public facts: the same card, but for what was explicitly paid for."""
    cards = []
    for seed in (0, 1, 2):
        made = row.make(row.budget)
        release = made(row.data(seed), ledger=Ledger.in_memory(), source=SeededSource(seed))
        card = release.card.to_dict()
        for key in OWN:
            del card[key]
        missing = row.paid_for - set(card["plan"])
        assert not missing, f"{missing} was paid for and is not on the card"
        for key in row.paid_for:
            del card["plan"][key]
        # A released table states its own facts, too.
        card["schema"] = release.facts.with_records(None).to_yaml()
        cards.append(json.dumps(card, sort_keys=True))
    assert cards[0] == cards[1] == cards[2], "the card depends on the rows"


@check(methods=True)
def check_only_draws_leak(row: MethodRow) -> None:
    """With every mechanism giving the same output, other people give the same release.

    Whatever reaches the artefact or the card past a mechanism (an exact count, a column without
    noise, bounds taken from the rows) makes a difference here.
    """
    made = row.make(row.budget)
    played = row.data(0)
    with Recorder() as recorder:
        first = made.run(played, SeededSource(1), silent)
    for other in _others(row, played):
        with Recorder(recorder.draws) as replay:
            second = made.run(other, SeededSource(1), silent)
        list(pairs(recorder.draws, replay.draws))
        assert first.notes == second.notes, "what the card says was learnt past the noise"
        assert first.seeds == second.seeds
        one, two = row.numbers(first), row.numbers(second)
        assert one.keys() == two.keys()
        for name in one:
            assert np.array_equal(one[name], two[name]), f"{name} is published past the noise"


def _others(row: MethodRow, private: object) -> list:
    """Neighbours, and wholly other people where the shapes of draws are public."""
    rng = np.random.default_rng(2)
    neighbours = [row.neighbour(private, rng) for _ in range(3)]
    # Reports are one a record; sums have the same shape whatever the number of records.
    return [*neighbours, row.data(1)]

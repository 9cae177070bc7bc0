"""Private data reach what is published through the noise alone."""

from __future__ import annotations

import json

import numpy as np

from battery.check import check
from battery.recorder import REPORTS, Draw, Linear, Recorder, Slope, pairs
from battery.row import MethodRow
from sfumato.privacy import mechanisms
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.privacy.transcript import Transcript, listening
from sfumato.publish.method import silent

REPORT = tuple(getattr(mechanisms, name) for name in (*REPORTS, "LocalVector"))
UNHEARD = (*REPORT, Linear, Slope)

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
    noise, bounds taken from the rows) makes a difference here. And who listens (``sfumato audit``
    does) hears every sum that a mechanism noised, once its noise is on it, and nothing else.
    """
    made = row.make(row.budget)
    played = row.data(0)
    with Recorder() as recorder, listening() as heard:
        first = made.run(played, SeededSource(1), silent)
    _check_heard(recorder.draws, heard, correlated="bands" in row.settings)
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


def _check_heard(draws: list[Draw], heard: Transcript, *, correlated: bool) -> None:
    """Reports are released as they are, and an objective's own term in its minimiser alone."""
    sums = [draw for draw in draws if not isinstance(draw.mechanism, UNHEARD)]
    assert len(sums) == len(heard), f"{len(sums)} sums were noised, {len(heard)} were heard"
    for draw, values in zip(sums, heard, strict=True):
        told = values * getattr(draw.mechanism, "divisor", 1.0)
        assert told.size == draw.output.size
        # Correlated noise is logged in coordinates in which it is independent.
        bare = np.allclose(told, draw.values.ravel(), rtol=1e-4)
        assert not bare or draw.noise.size == 0, f"{draw.mechanism} was heard without its noise"
        if not correlated:
            assert np.allclose(told, draw.output.ravel(), rtol=1e-5, atol=1e-6)


def _others(row: MethodRow, private: object) -> list:
    """Neighbours, and wholly other people where the shapes of draws are public."""
    rng = np.random.default_rng(2)
    neighbours = [row.neighbour(private, rng) for _ in range(3)]
    # Reports are one a record; sums have the same shape whatever the number of records.
    return [*neighbours, row.data(1)]

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sfumato.attack import Evidence, auxiliary
from sfumato.attack.domias import Domias
from sfumato.attack.membership.entropy import Entropy
from sfumato.attack.membership.game import play
from sfumato.attack.overlap import items
from sfumato.attack.targets import Records
from sfumato.data import Table
from sfumato.errors import InputError
from sfumato.release.foreign.interface import Interface
from sfumato.release.foreign.model import ForeignModel
from sfumato.release.foreign.opening import unclaimed

Make = Callable[[int, int], Any]


def test_holds_two_parts_of_one_kind(make_people: Make, make_pictures: Make) -> None:
    assert Evidence(make_people(20, 0), make_people(20, 1)).kind == "table"
    assert Evidence(make_pictures(20, 0), make_pictures(20, 1)).kind == "images"


def test_refuses_too_few_records(make_people: Make) -> None:
    enough, few = make_people(20, 0), make_people(19, 1)
    with pytest.raises(InputError, match="19 members are too few"):
        Evidence(few, enough)
    with pytest.raises(InputError, match="19 non-members are too few"):
        Evidence(enough, few)
    with pytest.raises(InputError, match="19 auxiliary records are too few"):
        Evidence(enough, enough, few)


def test_refuses_mixed_kinds(make_people: Make, make_pictures: Make) -> None:
    with pytest.raises(InputError, match="members are table, non-members are images"):
        Evidence(make_people(20, 0), make_pictures(20, 0))


def test_copies_of_a_record_are_not_both_judged_and_held(make_people: Make) -> None:
    """Who holds the copy of a non-member knows that it is none: nothing would be called a leak."""
    members, once = make_people(120, 1), make_people(60, 2)
    codes = {name: np.tile(values, 4) for name, values in once.codes().items()}
    evidence = Evidence(members, Table.from_codes(codes, once.schema))
    reference, left = Domias()._reference(evidence, np.random.default_rng(0))
    assert not np.isin(items(evidence.non_members, left), _items(reference)).any()
    judged, held = auxiliary.parted(evidence, 0)
    assert len(judged) == len(held) == 120
    assert not np.isin(items(judged), items(held)).any()


def test_copies_of_a_picture_are_not_both_judged_and_held(make_pictures: Make) -> None:
    members, once = make_pictures(60, 1), make_pictures(60, 2)
    others = once.select(np.repeat(np.arange(60), 3))
    evidence = Evidence(members, others)
    judged, held = auxiliary.parted(evidence, 0)
    assert not np.isin(items(judged), items(held)).any()
    model = ForeignModel.of(
        lambda x: x.mean(axis=2)[:, 0, 1:6:2],
        members.schema,
        name="anything",
        interface=Interface(outputs="logits"),
    )
    game = play(Entropy(), unclaimed(model, "anything"), evidence, 0, auxiliary=1000)
    assert len(game.auxiliary) == 90
    assert not np.isin(_items(game.others.records), _items(game.auxiliary.records)).any()


def test_records_that_are_merely_alike_are_parted_one_by_one(make_people: Make) -> None:
    members, others = make_people(200, 1).select("job"), make_people(200, 2).select("job")
    assert len(np.unique(Evidence(members, others).together)) == 200


def _items(records: Records) -> NDArray[np.void]:
    values = np.ascontiguousarray(records.values)
    return values.view(np.dtype((np.void, values.itemsize * values.shape[1]))).ravel()

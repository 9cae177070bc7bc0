"""No setting asks for more memory than there is once the ledger has paid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sfumato import registry
from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import constraints, memory, room
from sfumato.publish.generators.dpgan import DpGan

N = 120
PICTURES = ImageSchema(1, 8, 8, ("a", "b"), records=N)
ROWS = Schema(
    (Categorical("y", ("a", "b")), Numeric("x", 0, 9, 1), Categorical("z", ("u", "v", "w"))),
    target="y",
    records=N,
)
HUGE = 10**9
QUICK = {
    "generators.diffusion": {"samples": 20, "warm_pictures": 20, "features": 100},
    "generators.dpmi": {"public_images": 20},
    "generators.merf": {"features": 100},
    "generators.gpate": {"teachers": 20},
    "generators.datalens": {"teachers": 20},
}
TIME = {
    "critic_steps", "generator_steps", "inversion_steps", "moves",
    "network_steps", "public_epochs", "repeats", "rounds", "sampling_steps", "steps", "turn_steps",
    "turns", "warm_steps",
}  # fmt: skip
"""A huge one takes for ever, and no more memory."""
CAPPED = {
    "bins", "coefficients", "components", "depth", "frequencies_per_step", "groups", "kept",
    "projection", "sampled", "set_size", "block", "pixels",
}  # fmt: skip
"""A huge one does what the largest does that the data has a use for."""
STREAMED = {"rows"}
"""Written as they are drawn."""
ELSEWHERE = {"seed", "expected_batch_size", "target_bins", "bits", "teachers"}
"""Compared with other facts when the method is made or calibrated, or no size at all."""


def data_of(method: Any) -> Any:
    rng = np.random.default_rng(0)
    if "images" in method.kinds:
        pixels = rng.random((N, *PICTURES.shape), dtype=np.float32)
        return ImageSet.from_arrays(pixels, rng.integers(0, 2, N), PICTURES.classes), PICTURES
    codes = {column.name: rng.integers(column.size, size=N) for column in ROWS}
    return Table.from_codes(codes, ROWS), ROWS


def sizes() -> Iterator[tuple[str, str]]:
    for name, method in registry.load("method").items():
        for setting in fields(method):
            whole = str(setting.type).split("|")[0].strip() == "int"
            if whole and setting.init and not name.startswith("learn."):
                yield name, setting.name


class Stopped(Exception):
    """What would have run was paid for."""


class Stub:
    def __init__(self, run: Any) -> None:
        self.certain = getattr(run, "certain", ())

    def __call__(self, *given: Any) -> None:
        raise Stopped


@pytest.mark.parametrize(("name", "setting"), list(sizes()))
def test_a_huge_size_is_refused_before_it_is_paid_for(
    name: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "whole", lambda: 64 << 20)
    ledger = Ledger.in_memory()

    def publish() -> None:
        method = registry.build("method", name, {**QUICK.get(name, {}), setting: HUGE})
        data, facts = data_of(method)
        made = constraints.calibrate(method, Budget(1.0, 1e-5), facts)
        replace(made, run=Stub(made.run))(data, ledger=ledger)

    if setting in TIME | CAPPED | STREAMED | ELSEWHERE:
        with pytest.raises((InputError, Stopped)):
            publish()
        return
    with pytest.raises(InputError, match=rf"(?=.*\b{setting}\b).*(Lower|Give|Leave|Set)"):
        publish()
    assert not ledger.entries()


def test_the_usual_sizes_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "whole", lambda: 64 << 20)
    for name in ("generators.dpgan", "generators.merf", "tables.gan", "tables.independent"):
        method = registry.build("method", name, QUICK.get(name))
        data, facts = data_of(method)
        made = constraints.calibrate(method, Budget(1.0, 1e-5), facts)
        with pytest.raises(Stopped):
            replace(made, run=Stub(made.run))(data, ledger=Ledger.in_memory())


def test_weights_are_counted_and_not_made() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20), nn.Conv2d(2, 5, 3))

    before = torch.get_rng_state()
    counted = room.network("weights", ("hidden",), build, copies=3).bytes
    assert torch.equal(torch.get_rng_state(), before)
    tensors = build().state_dict().values()
    assert counted == 3 * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    large = room.network("weights", (), lambda: nn.Linear(1 << 40, 1 << 20, bias=False))
    assert large.bytes == 1 << 62
    assert room.network("weights", (), lambda: nn.Linear(1 << 62, 1 << 62)).bytes >= 1 << 63


def test_the_largest_part_is_named_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "whole", lambda: 3 << 30)
    method = DpGan(hidden=7, samples=5)
    parts = (room.Part("the weights", ("latent", "hidden"), 9 << 30), room.Part("a set", (), 5))
    with pytest.raises(InputError) as refused:
        room.check(method, parts)
    assert str(refused.value) == (
        "latent is 16, hidden is 7: the weights take 9.0 GiB of memory, of 3.0 GiB that there are. "
        "Lower latent or hidden, or publish where there is more memory."
    )
    room.check(method, parts[1:])
    room.check(method, ())


def test_a_selection_asks_for_room_for_each_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.publish.selection import _Run

    monkeypatch.setattr(memory, "whole", lambda: 64 << 20)
    usual, huge = (
        constraints.calibrate(DpGan(hidden=width), Budget(1.0, 1e-5), PICTURES)
        for width in (100, 10**8)
    )

    class Trial:
        made = (usual,)

    trial: Any = Trial()
    _Run(trial, trial).check(None)
    trial.made = (usual, huge)
    with pytest.raises(InputError, match="hidden is 100000000"):
        _Run(trial, trial).check(None)

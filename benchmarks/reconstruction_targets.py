"""Whom the benchmarks of reconstruction attack: people, and models that know them by heart."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.attack import Evidence
from sfumato.data import Table, datasets
from sfumato.learn.architectures import build, weights
from sfumato.learn.examples import labelled
from sfumato.publish.models.network import architecture
from sfumato.release.card import Card
from sfumato.release.model import Model
from sfumato.release.release import Artefact, Release

CACHE = Path(".cache/reconstruction")
MEMBERS, AUXILIARY, STRANGERS, SEED = 1000, 2000, 1000, 1


@cache
def parts(name: str) -> Evidence:
    """Members, strangers and the attacker's own records."""
    data: Any = datasets.load(name, "train")
    others: Any = datasets.load(name, "test")
    if isinstance(data, Table):
        return Evidence(data, others)
    rows = np.random.default_rng(SEED).permutation(len(data))[: MEMBERS + AUXILIARY]
    if len(rows) < MEMBERS + AUXILIARY:  # digits
        half = len(rows) // 2
        return Evidence(data.select(rows[:half]), others, data.select(rows[half:]))
    strangers = others.select(np.arange(STRANGERS))
    return Evidence(data.select(rows[:MEMBERS]), strangers, data.select(rows[MEMBERS:]))


@cache
def trained(name: str, network: str = "auto", hidden: tuple[int, ...] = ()) -> Model:
    """A model of the members, trained without privacy until it knows them all."""
    kept = CACHE / "-".join([name, network, *map(str, hidden)])
    if kept.exists():
        return Model.load(kept)
    data: Any = parts(name).members
    made = architecture(data.schema, network, hidden)
    module = build(made, seed=SEED)
    inputs, targets = labelled(data)
    optimizer = torch.optim.Adam(module.parameters(), 2e-3)
    random = torch.Generator().manual_seed(SEED)
    for _ in range(30):
        for rows in torch.randperm(len(targets), generator=random).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    model = Model(data.schema, made, weights(module))
    model.save(kept)
    return Model.load(kept)


def unproven(content: Any, **plan: Any) -> Release:
    """A release that claims nothing, or the training that a plan describes."""
    return Release(
        Card(
            release_id="0" * 32,
            method={"name": "benchmark"},
            guarantee={"kind": "empirical", "attacks": []},
            figures={},
            plan=plan,
            facts=(),
            ledger={},
            noise={},
            artefact={"kind": content.kind},
            versions={},
        ),
        Artefact(content),
    )

"""The same network without privacy: what others are measured against, and never published."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sfumato.publish.method import Progress

if TYPE_CHECKING:
    from sfumato.data import ImageSet, Table
    from sfumato.release.release import Release

EPOCHS = 100


def unprotected(
    members: ImageSet | Table, layers: Mapping[str, str], *, seed: int, progress: Progress
) -> Release:
    """A network trained on the records as they are, as a release that proves nothing.

    Args:
        members: The private records.
        layers: ``network`` and, written as a list, ``hidden``.
        seed: Of the initial weights and the order of records.
        progress: Told after each pass.
    """
    import json

    from sfumato.learn.architectures import build, weights
    from sfumato.learn.examples import labelled
    from sfumato.learn.plain import Plain, train
    from sfumato.privacy.guarantee import Empirical
    from sfumato.publish.models.network import architecture
    from sfumato.release.card import Card, figures_of
    from sfumato.release.model import Model
    from sfumato.release.release import Artefact, Release
    from sfumato.versions import versions

    facts: Any = members.schema
    made = architecture(facts, layers["network"], json.loads(layers.get("hidden", "[]")))
    module = build(made, seed=seed)
    inputs, labels = labelled(members)
    train(module, inputs, labels, Plain(epochs=EPOCHS), seed=seed, progress=progress)
    guarantee = Empirical()
    card = Card(
        release_id=uuid.uuid4().hex,
        method={"name": "none", "settings": dict(layers), "source": ""},
        guarantee=guarantee.to_dict(),
        figures=figures_of(guarantee),
        plan={},
        facts=facts.as_facts(),
        caveats=("Nothing protects the records.",),
        ledger={},
        noise={},
        seeds={"initial weights and order": seed},
        artefact={"kind": "model"},
        versions=versions(),
    )
    return Release(card=card, artefact=Artefact(Model(facts, made, weights(module))))

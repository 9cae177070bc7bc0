"""The page of a released model: what it shows, and what only the custodian's edition may."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, ImageSchema, Numeric, Schema
from sfumato.learn.architectures import build, weights
from sfumato.measure.score import Score, Utility
from sfumato.publish.models.network import architecture
from sfumato.release.model import Model
from sfumato.release.release import Artefact, Release
from sfumato.report import page

PEOPLE = Schema((Numeric("age", 0, 9, 1), Categorical("ill", ("no", "yes"))), target="ill")
PICTURES = ImageSchema(1, 16, 16, ("none", "mild", "severe"))


def release_of(facts: Any, make_release: Any) -> Release:
    made = architecture(facts)
    model = Model(facts, made, weights(build(made, seed=0)))
    base = make_release("table")
    artefact = {"kind": "model", "files": base.card.artefact["files"]}
    return Release(replace(base.card, artefact=artefact), Artefact(model))


@pytest.fixture(params=[PEOPLE, PICTURES], ids=["table", "images"])
def released(request: pytest.FixtureRequest, make_release: Any) -> Release:
    return release_of(request.param, make_release)


def judged(target: str) -> Utility:
    scores = (
        Score("released model", "p2", "accuracy", 0.71937, (0.7017, 0.7373)),
        Score("logistic regression", "p1", "accuracy", 0.83719, (0.8213, 0.8531)),
    )
    return Utility(
        task="classification",
        target=target,
        scores=scores,
        majority={"accuracy": 0.51739},
        records={"train": 417, "test": 103},
        of="model",
    )


def evaluation_of(release: Release, make_evaluation: Any, make_release: Any) -> Any:
    made = make_evaluation(make_release("table"))
    return replace(
        made,
        utility=judged(str(getattr(release.facts, "target", None) or "label")),
        marginals=None,
        distributions={},
        release_id=release.card.release_id,
    )


def test_the_public_page_says_what_the_model_is(released: Release) -> None:
    html = page(released)
    model = released.model
    assert f"A model that tells {len(model.classes)} classes apart" in html
    assert str(model.architecture["family"]) in html
    for name in model.classes:
        assert name in html
    assert released.card.caveats[0] in html


def test_the_public_edition_holds_no_private_figure(
    released: Release, make_evaluation: Any, make_release: Any
) -> None:
    public = page(released)
    inside = page(released, evaluation_of(released, make_evaluation, make_release))
    private = ("0.719", "71.9", "0.837", "83.7", "0.517", "51.7", "0.503", "417")
    shown = [figure for figure in private if figure in text_of(inside)]
    assert {"0.719", "0.837"} <= set(shown) or {"71.9", "83.7"} <= set(shown)
    for figure in shown:
        assert figure not in text_of(public), figure
    for sentence in ("A sentence that only the custodian reads", "trained without privacy"):
        assert sentence not in public


def test_the_public_page_does_not_move_with_the_evaluation(
    released: Release, make_evaluation: Any, make_release: Any
) -> None:
    evaluated = replace(released, evaluation=evaluation_of(released, make_evaluation, make_release))
    assert page(evaluated) == page(released)


def test_the_custodian_s_page_sets_the_model_beside_models_without_privacy(
    released: Release, make_evaluation: Any, make_release: Any
) -> None:
    html = text_of(page(released, evaluation_of(released, make_evaluation, make_release)))
    assert "The released model, judged on real records it never saw." in html
    assert "trained on real records without privacy" in html
    assert "released model" in html
    assert "p3" not in html
    assert "p4" not in html


def test_a_page_is_one_file_that_asks_nobody_for_anything(released: Release) -> None:
    html = page(released)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", html)
    assert "<script src" not in html


def test_weights_themselves_are_not_printed(released: Release) -> None:
    html = page(released)
    for tensor in released.model.tensors.values():
        values = np.ravel(tensor)[:3]
        assert not any(f"{value:.6f}" in html for value in values if abs(value) > 1e-3)


def text_of(html: str) -> str:
    """What a reader sees: no styles, no drawings."""
    for part in ("style", "svg", "script"):
        html = re.sub(rf"<{part}\b.*?</{part}>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_what_others_made_is_said_to_claim_nothing(make_evaluation: Any) -> None:
    from sfumato.data import ImageSchema
    from sfumato.measure.evaluation import Evaluation
    from sfumato.release.foreign import unclaimed
    from sfumato.release.foreign.model import ForeignModel

    def answer(images: Any) -> Any:
        return images.sum(axis=(1, 2, 3))

    facts = ImageSchema(1, 6, 5, ("none", "mild"))
    release = unclaimed(ForeignModel.of(answer, facts, name="a function"), "the service x")
    html = page(release, Evaluation(release_id=release.card.release_id))
    for said in ("Nothing is claimed", "Made elsewhere: the service x", "Only its answers are"):
        assert said in html
    for not_known in ("The noise is not secure", "What was public, what was paid", "None</td>"):
        assert not_known not in html

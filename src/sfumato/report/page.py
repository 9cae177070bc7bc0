"""One report as one HTML file that needs nothing else: no network, no scripts, no fonts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from sfumato.errors import InputError, SfumatoError
from sfumato.report import charts, facts, record, released, wording
from sfumato.report.bounds import Bounds, bounds

if TYPE_CHECKING:
    from jinja2 import Environment

    from sfumato.measure.evaluation import Evaluation
    from sfumato.release.card import Card
    from sfumato.release.model import Model
    from sfumato.release.release import Release
    from sfumato.report.memorised import Revealed

_CEILING_AT = (0.001, 0.01, 0.1)
_INSIDE = "data-inside"
"""Marks every element that private rows went into."""

# What findings, utility matrices, marginal errors and evaluations look like as JSON.
_PRIVATE_SHAPES = (
    {"attack", "metric", "value", "interval"},
    {"task", "target", "scores", "majority"},
    {"one_way", "two_way_mean"},
    {"sfumato_evaluation"},
)


def page(
    release: Release,
    evaluation: Evaluation | None = None,
    *,
    disclosed: bool = False,
    revealed: Revealed | None = None,
) -> str:
    """The report of a release.

    Args:
        release: What was published.
        evaluation: What attacks and measures found. None makes the public edition, which holds
            nothing but the card, what follows from it, and the released data.
        disclosed: Whether the publisher decided to hand the evaluation over; the full edition
            then says so instead of asking to be kept inside.
        revealed: Training pictures that the custodian asked to see; only in a page kept inside.

    Returns:
        A whole HTML document.

    Raises:
        InputError: If the evaluation is about another release, the card carries figures that
            belong in an evaluation, or private pictures would be handed over.
    """
    if revealed is not None and (disclosed or evaluation is None):
        raise InputError(
            "training pictures were to be shown in a page that is handed over",
            "Reveal them in the custodian's own page only.",
        )
    private = _private_in(release.card.to_dict())
    if private is not None:
        raise InputError(
            f"{private} of the card holds figures of an evaluation, computed on private rows",
            "Keep them in the evaluation, beside the release.",
        )
    if evaluation is not None and evaluation.release_id not in ("", release.card.release_id):
        raise InputError(
            f"the evaluation is about release {evaluation.release_id[:12]}, this is "
            f"{release.card.release_id[:12]}",
            "Give the evaluation that was made of this release.",
        )
    figures = bounds(release.card)
    inside = None
    if evaluation is not None:
        from sfumato.report.inside import view

        shown = evaluation.of_all() if disclosed else evaluation
        inside = view(release, shown, figures, disclosed=disclosed, revealed=revealed)
    html = render(
        "page.html",
        public=public_view(release, figures),
        inside=inside,
        edition=_edition(inside is not None, disclosed),
    )
    if inside is None and _INSIDE in html:
        raise SfumatoError("the public edition holds a section computed on private rows")
    return html


def _edition(full: bool, disclosed: bool) -> str:
    if not full:
        return "Public edition"
    return "Full edition, disclosed" if disclosed else "Custodian’s edition"


def render(template: str, **context: Any) -> str:
    """A template of this package, filled in; everything but drawings is escaped."""
    return environment().get_template(template).render(style=_style(), **context)


@cache
def environment() -> Environment:
    """The templates; a name that was not given is an error, never an empty string."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("sfumato.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["line"] = wording.fact_value
    return made


def public_view(release: Release, figures: Bounds) -> dict[str, Any]:
    """What the public edition is filled with: the card, what follows from it, released data."""
    card = release.card
    unit = str(card.guarantee.get("unit", "record"))
    seen = _released(release)
    event = card.guarantee.get("event")
    return {
        "sfumato": card.versions.get("sfumato", ""),
        "title": f"{seen['headline']} {seen['task']}".strip(),
        "headline": seen["headline"],
        "task": seen["task"],
        "dek": _dek(card, seen["what"]),
        "alarms": list(_alarms(card)),
        "bounded": figures.bounded,
        "ours": bool(card.ledger),
        "unit": unit,
        "glance": _glance(card, figures, seen),
        "statement": wording.statement(card),
        "protects": wording.protects(card),
        "meaning": wording.meaning(card, figures),
        "factor": wording.factor(card),
        "hundred": charts.hundred(50, figures.per_hundred),
        "not_promised": wording.not_promised(card),
        "caveats": card.caveats,
        "contest": _contest(card, unit),
        "curve_linear": charts.roc(figures.curve),
        "curve_log": charts.roc(figures.curve, log=True),
        "ceiling_rows": []
        if not figures.bounded
        else [
            {"fpr": charts.percent_tick(fpr), "tpr": wording.share_up(tpr)}
            for fpr, tpr in ((rate, figures.at(rate)) for rate in _CEILING_AT)
        ],
        "found_at": wording.found_at(card, figures, 0.01) if figures.bounded else "",
        "released_text": seen["text"],
        "pictures": seen["pictures"],
        "distributions": seen["distributions"],
        "layers": seen["layers"],
        "fact_groups": list(facts.groups(card)),
        "method": {"source": "", **card.method},
        "plan": card.plan,
        "record": record.rows(card, figures),
        "tree": record.tree(event),
        "files": [
            {"name": f["name"], "size": wording.size(int(f["bytes"])), "sha256": f["sha256"]}
            for f in card.artefact.get("files", ())
        ],
        "versions": card.versions,
        "footer": " · ".join(
            (
                f"Release {card.release_id} · made {card.created}"
                if card.ledger
                else f"Made elsewhere · examined {card.created}",
                "this page loads nothing and can be read offline",
                *(["card.json beside it says the same to machines"] if card.ledger else []),
            )
        ),
    }


def _released(release: Release) -> dict[str, Any]:
    """What the released data itself shows."""
    from sfumato.data import ImageSet
    from sfumato.release.model import Model

    if isinstance(release.artefact.content, Model):
        return _model(release.artefact.content)
    data = release.data
    local = release.card.guarantee.get("kind") == "local"
    if isinstance(data, ImageSet):
        facts = data.schema
        size = f"{facts.width} × {facts.height}"
        shown = f"in {wording.plural(len(facts.classes), 'class', 'classes')}"
        return {
            "headline": f"{wording.plural(len(data), 'picture')} {shown}",
            "task": "for telling the classes apart",
            "what": f"{size} pixels, {wording.plural(facts.channels, 'channel')}",
            "text": "The first pictures of each class as they were released."
            + (" Each is the randomised version of one private picture." if local else ""),
            "pictures": released.pictures(data),
            "distributions": [],
            "layers": [],
            "amount": wording.count(len(data)),
            "amount_means": f"pictures of {size} pixels",
        }
    schema = data.schema
    columns = wording.plural(len(schema.columns), "column")
    return {
        "headline": f"{wording.plural(data.num_rows, 'row')} of {columns}",
        "task": f"for predicting {schema.target}" if schema.target else "",
        "what": "",
        "text": "The distribution of each column as it was released, computed from the "
        "released rows alone.",
        "pictures": [],
        "distributions": released.distributions(data),
        "layers": [],
        "amount": wording.count(data.num_rows),
        "amount_means": f"rows of {columns}",
    }


def _model(model: Model) -> dict[str, Any]:
    """What a released model itself shows."""
    takes = "pictures" if model.takes == "images" else "rows"
    classes = wording.plural(len(model.classes), "class", "classes")
    shown = ", ".join(model.classes[:10]) + (", …" if len(model.classes) > 10 else "")
    family = str(model.architecture["family"])
    if not model.tensors:
        return {
            "headline": f"A model that tells {classes} apart",
            "task": f"for predicting {model.schema.target} of {takes}",
            "what": "Only its answers are known" if not model.parameters else family,
            "text": f"It was made elsewhere ({family}). It answers with a score for each of "
            f"{classes} ({shown}).",
            "pictures": [],
            "distributions": [],
            "layers": [],
            "amount": wording.count(model.parameters) if model.parameters else "a model",
            "amount_means": f"{'weights of a model' if model.parameters else ''} of {classes}",
        }
    return {
        "headline": f"A model that tells {classes} apart",
        "task": f"for predicting {model.schema.target} of {takes}",
        "what": f"{family} with {wording.count(model.parameters)} weights",
        "text": f"The weights of a network of family “{family}”. It answers with the likeliest of "
        f"{classes} ({shown}) and a score for each. sfumato.Release.load(folder).predict(records) "
        "rebuilds and runs it; the weights are in weights.safetensors.",
        "pictures": [],
        "distributions": [],
        "layers": [
            {"name": name, "shape": " × ".join(map(str, tensor.shape)) or "1", "size": tensor.size}
            for name, tensor in model.tensors.items()
        ],
        "amount": wording.count(model.parameters),
        "amount_means": f"weights of a model of {classes}",
    }


def _dek(card: Card, what: str) -> str:
    parts = [what] if what else []
    if not card.ledger:
        named = dict(card.method.get("settings", {})).get("target", "a target")
        parts.append(f"Made elsewhere: {named}. Examined on {card.created[:10]}")
    else:
        parts.append(f"Made by {card.method['name']} on {card.created[:10]}")
    return ". ".join(parts) + f". The guarantee: {wording.epsilon_line(card)}."


def _glance(card: Card, figures: Bounds, seen: Mapping[str, Any]) -> dict[str, Any]:
    kind = card.guarantee.get("kind")
    view: dict[str, Any] = {"amount": seen["amount"], "amount_means": seen["amount_means"]}
    if not figures.bounded:
        per = kind == "metric"
        figure = f"ε = {card.guarantee['epsilon_per_distance']:g} · d" if per else "none"
        terms = "by distance; no bound on attacks" if per else "nothing is proven"
        if "worst_case" in card.guarantee:
            terms = f"by distance; {wording.worst_case(card)} at any"
        return view | {"figure": figure, "terms": terms}
    printed = card.figures.get("epsilon")
    delta = float(card.guarantee["delta"])
    found = figures.at(0.01)
    return view | {
        "figure": "ε\xa0=\xa0∞" if printed is None else f"ε\xa0=\xa0{wording.up(float(printed))}",
        "terms": f"δ\xa0=\xa0{wording.delta(delta)}, {kind}, one {card.guarantee['unit']}, "
        f"{card.guarantee['neighbours']}",
        "accuracy": wording.share_up(figures.accuracy),
        "strength": charts.strength(
            figures.accuracy, figures.grade, wording.share_up(figures.accuracy)
        ),
        "found": wording.share_up(found),
        "found_means": "of true cases can be found by an attacker who is wrong about 1 in 100",
    }


def _alarms(card: Card) -> Iterator[dict[str, str]]:
    if card.ledger and not card.noise.get("secure"):
        yield {
            "title": "The noise is not secure.",
            "text": f"It came from “{card.noise.get('source')}”. Whoever can repeat it can take "
            "it away again, and the guarantee below then says nothing. Fit for tests only: do not "
            "hand this release over.",
        }
    if not card.ledger and card.guarantee.get("kind") != "empirical":
        yield {
            "title": "Claimed, and not proven here.",
            "text": "Other software made this, and its maker claims the guarantee below. No proof "
            "of it is known here: there are only the attacks that were held against it.",
        }
    if card.guarantee.get("kind") == "empirical":
        yield {
            "title": "Nothing is proven." if card.ledger else "Nothing is claimed.",
            "text": "This release has no privacy guarantee. Judge it by the attacks alone, and "
            "remember that a better attack may exist.",
        }
    if card.guarantee.get("kind") == "metric":
        yield {
            "title": "Not differential privacy of a record."
            if "worst_case" not in card.guarantee
            else "The figure is by distance.",
            "text": "The guarantee weakens with distance"
            + (
                f"; at any distance it is {wording.worst_case(card)}."
                if "worst_case" in card.guarantee
                else " and bounds no attack on records that are far apart."
            ),
        }
    for problem in card.verify():
        yield {
            "title": "The card contradicts itself.",
            "text": f"{problem}. Do not rely on any figure here.",
        }


def _contest(card: Card, unit: str) -> str:
    if card.guarantee.get("neighbours") == "replace-one":
        return f"which of two values {wording.article(unit)} had"
    return f"whether {wording.article(unit)} was in the data"


def _private_in(value: Any, at: str = "") -> str | None:
    """Where evaluation figures lie in a card, or None."""
    if isinstance(value, Mapping):
        if any(shape <= value.keys() for shape in _PRIVATE_SHAPES):
            return at or "the top"
        items = ((f"{at}.{key}" if at else str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        items = ((f"{at}[{index}]", item) for index, item in enumerate(value))
    else:
        return None
    return next((found for where, item in items if (found := _private_in(item, where))), None)


@cache
def _style() -> Markup:
    text = resources.files("sfumato.report").joinpath("style.css").read_text("utf-8")
    return Markup(text)

"""The card of a release: what it proves, what it rests on, and nothing about anyone.

Everything on a card is public: declared, computed from public data, or paid for. Figures of
attacks and of utility are computed on private rows; they stay in the custodian's evaluation.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy import guarantee as guarantees
from sfumato.privacy.guarantee import Guarantee

FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What ``card.json`` holds; see ``card.schema.json`` for the format.

    Args:
        release_id: Ties the release to its ledger entry.
        method: ``name``, ``settings``, ``source`` (the paper).
        guarantee: Kind, event tree, delta, unit, neighbours, as written by ``to_dict``.
        figures: ``epsilon``, ``delta``, ``gdp_mu``, ``accountant``, ``tpr_ceiling`` (a list of
            ``[fpr, tpr]``), ``statement``; recomputed from the event by :meth:`verify`.
        plan: What calibration derived: scales, budgets, clip norms.
        facts: What was public and what was paid for.
        caveats: Claims that are not made.
        ledger: ``entry`` (hash), ``sequence``.
        noise: ``source`` and whether it is ``secure``.
        seeds: Seeds of everything that is not privacy noise.
        artefact: ``kind`` and ``files`` (name, sha256, bytes), filled in when saved.
        versions: Of sfumato, Python and what computed the release.
        created: When it was paid for, UTC, ISO 8601, to the second. How long it took then is not
            said, for that may hang on the records.
    """

    release_id: str
    method: Mapping[str, Any]
    guarantee: Mapping[str, Any]
    figures: Mapping[str, Any]
    plan: Mapping[str, Any]
    facts: tuple[Fact, ...]
    ledger: Mapping[str, Any]
    noise: Mapping[str, Any]
    artefact: Mapping[str, Any]
    versions: Mapping[str, str]
    caveats: tuple[str, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    created: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    @cached_property
    def proven(self) -> Guarantee:
        """The guarantee as a value that answers ``epsilon``, ``gdp_mu`` and the rest."""
        return guarantees.from_dict(self.guarantee)

    @property
    def seconds(self) -> float:
        """``created``, in seconds since 1970.

        Raises:
            InputError: If that is no time.
        """
        try:
            time = datetime.datetime.fromisoformat(self.created)
        except ValueError:
            raise InputError(
                f"created of card.json is {self.created!r:.60}", "The release is damaged."
            ) from None
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()

    def verify(self) -> list[str]:
        """Recomputes the printed figures from the event; one line for each that differs.

        Differences below one in ten thousand are not: another version of the accountant may
        round elsewhere, and no figure is printed to more than four digits.
        """
        computed = figures_of(self.proven)
        return [
            f"the card says {name.replace('_', ' ')} {_shown(self.figures.get(name))}, "
            f"its event gives {_shown(computed[name])}"
            for name in ("epsilon", "delta", "gdp_mu", "tpr_ceiling")
            if not _agree(self.figures.get(name), computed[name])
        ]

    def to_dict(self) -> dict[str, Any]:
        """The card as plain JSON values."""
        values = {name: getattr(self, name) for name in _FIELDS}
        values["facts"] = [asdict(fact) for fact in self.facts]
        values["caveats"] = list(self.caveats)
        return {"sfumato_card": FORMAT, **values}

    def to_json(self) -> str:
        """The card as it is written to ``card.json``."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Reads a card back.

        Raises:
            InputError: If the text is not a card of this format.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                f"card.json is not JSON ({error})", "The release is damaged."
            ) from None
        if not isinstance(values, dict) or values.pop("sfumato_card", None) != FORMAT:
            raise InputError("card.json is not a card of format 1", "Is this an sfumato release?")
        missing = [name for name in _FIELDS if name not in values]
        unknown = [name for name in values if name not in _FIELDS]
        if missing or unknown:
            problem = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
            raise InputError(f"card.json {problem}", "The release is damaged.")
        for name, kind in _KINDS.items():
            if not isinstance(values[name], kind):
                raise InputError(
                    f"{name} of card.json is {values[name]!r:.60}", "The release is damaged."
                )
        try:
            values["facts"] = tuple(Fact(**fact) for fact in values["facts"])
        except TypeError:
            raise InputError("a fact of card.json is none", "The release is damaged.") from None
        values["caveats"] = tuple(values["caveats"])
        return cls(**values)


_FIELDS = (
    "release_id",
    "created",
    "method",
    "guarantee",
    "figures",
    "plan",
    "facts",
    "caveats",
    "ledger",
    "noise",
    "seeds",
    "artefact",
    "versions",
)
_KINDS: dict[str, type] = {
    **dict.fromkeys(_FIELDS, dict),
    **dict.fromkeys(("release_id", "created"), str),
    **dict.fromkeys(("facts", "caveats"), list),
}


def _agree(printed: Any, computed: Any) -> bool:
    if isinstance(computed, list):
        same = isinstance(printed, list | tuple) and len(printed) == len(computed)
        return same and all(map(_agree, printed, computed))
    if computed is None or not isinstance(printed, int | float):
        return printed is computed
    return math.isclose(printed, computed, rel_tol=1e-4, abs_tol=1e-12)


def _shown(figure: Any) -> str:
    if isinstance(figure, list | tuple):
        return "[" + ", ".join(map(_shown, figure)) + "]"
    return f"{figure:.6g}" if isinstance(figure, float) else str(figure)


def figures_of(guarantee: Guarantee) -> dict[str, Any]:
    """The printed figures of a guarantee, each computed from its event.

    Returns:
        ``statement``, ``accountant``, ``epsilon``, ``delta``, ``gdp_mu`` and ``tpr_ceiling``;
        infinite figures are None, as JSON has no infinity.
    """
    epsilon = guarantee.epsilon()
    delta = getattr(guarantee, "delta", None)
    return {
        "statement": guarantee.describe(),
        "accountant": "privacy loss distribution (dp-accounting)",
        "epsilon": epsilon if epsilon != float("inf") else None,
        "delta": delta,
        "gdp_mu": guarantee.gdp_mu(),
        "tpr_ceiling": [[fpr, guarantee.advantage_ceiling(fpr)] for fpr in (0.001, 0.01, 0.1)],
    }


def json_schema() -> dict[str, Any]:
    """The committed JSON Schema of ``card.json``."""
    text = resources.files("sfumato.release").joinpath("card.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema

"""The page of an audit: the claim, the bound, and what the two together say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.measure.intervals import rounded_down
from sfumato.report import svg
from sfumato.report.page import render

if TYPE_CHECKING:
    from markupsafe import Markup

_LOOKED_AT = {
    "release": "what is released",
    "transcript": "every noisy value that is drawn, and what is released",
}
_WIDTH, _HEIGHT, _LEFT, _RIGHT = 640.0, 96.0, 130.0, 40.0


class Audit(Protocol):
    """What an audit found; see ``sfumato.api.Audit``."""

    @property
    def broken(self) -> bool: ...  # noqa: D102
    @property
    def summary(self) -> str: ...  # noqa: D102
    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102


def audit_page(audit: Audit) -> str:
    """An audit as one offline HTML page.

    Args:
        audit: Its figures are counts and bounds; no record of anybody is among them.

    Returns:
        A whole HTML document.
    """
    values = audit.to_dict()
    claim = values["claim"]
    private = "member" in values["facts"]
    return render(
        "audit.html",
        edition="Custodian’s audit" if private else "Audit",
        private=private,
        broken=audit.broken,
        verdict="The claim is false" if audit.broken else "The claim stands",
        summary=audit.summary,
        values=values,
        claim=claim,
        drawing=_bars(values),
        rows=_rows(values),
        versions=values["versions"],
    )


def _rows(values: Mapping[str, Any]) -> dict[str, Any]:
    claim = values["claim"]
    rows = {
        "Claimed ε": _figure(claim["epsilon"]),
        "at δ": f"{claim['delta']:g}",
        "ε is at least": _bound(values["epsilon"]),
        **_as_gaussian(values),
        "The most that this audit could have seen": _figure(values["most"]),
        "Claimed µ": _figure(claim["mu"]),
        "µ is at least": _bound(values["mu"]),
        "Claimed trade-off curve": "refuted" if values["refuted"] else "not refuted",
        "Confidence of all of this together": f"{100 * values['confidence']:g} %",
        "Neighbours": claim["neighbours"],
        "Game": f"{values['game']}, {values['facts']}",
        "Looked at": _LOOKED_AT[values["adversary"]],
        "Noise": values["noise"]["source"],
    }
    return rows | {name.capitalize(): f"{count:,}" for name, count in values["counts"].items()}


def _as_gaussian(values: Mapping[str, Any]) -> dict[str, str]:
    known = values["gaussian_epsilon"]
    return {} if known is None else {"the same, as Gaussian noise leaks": _figure(known)}


def _bound(value: float | None) -> str:
    return "none" if value is None else rounded_down(value, 3)


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _bars(values: Mapping[str, Any]) -> Markup:
    """Claim and bounds on one axis of epsilon."""
    bars = [
        ("claimed", values["claim"]["epsilon"], "currentColor"),
        ("at least", values["epsilon"], "#b3261e" if values["broken"] else "#2e7d4f"),
    ]
    if values["gaussian_epsilon"] is not None:
        bars.append(("if Gaussian", values["gaussian_epsilon"], "#8a8a8a"))
    shown = [(name, value or 0.0, colour) for name, value, colour in bars]
    largest = max(0.1, *(value for _, value, _ in shown))
    scale = (_WIDTH - _LEFT - _RIGHT) / largest
    drawn = []
    for i, (name, value, colour) in enumerate(shown):
        y = 10 + 28 * i
        drawn += [
            svg.tag("text", name, x=_LEFT - 10, y=y + 14, text_anchor="end", class_="tick"),
            svg.tag("rect", x=_LEFT, y=y, width=max(1.0, value * scale), height=18, fill=colour),
            svg.tag("text", f"{value:.2f}", x=_LEFT + value * scale + 6, y=y + 14, class_="tick"),
        ]
    told = ", ".join(f"{name} {value:.2f}" for name, value, _ in shown)
    return svg.figure(_WIDTH, _HEIGHT, "Epsilon, claimed and audited", told, *drawn)

"""What an audit found: a claim, a lower bound, and whether the two contradict each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.measure.intervals import rounded_down

if TYPE_CHECKING:
    from sfumato.privacy.guarantee import Central, Guarantee, Local

FORMAT = 1
FEWEST_RUNS = 40
_AS_GAUSSIAN = 1.05  # how near a claim is to a Gaussian's: sampled steps, say, are not quite one


@dataclass(frozen=True)
class Claim:
    """The guarantee that is audited, in figures.

    Args:
        epsilon: Of the guarantee at ``delta``; None where it is infinite.
        delta: Where epsilon is read off.
        mu: The smallest mu for which it is mu-GDP; None where there is none.
        neighbours: The relation it is stated under.
        kind: ``"central"``, ``"local"`` or ``"metric"``.
        sentence: The guarantee in one sentence.
    """

    epsilon: float | None
    delta: float
    mu: float | None
    neighbours: str
    kind: str
    sentence: str

    @classmethod
    def of(cls, guarantee: Guarantee, delta: float | None = None) -> Claim:
        """The claim of a guarantee, at its own delta or at another.

        Raises:
            InputError: If nothing is claimed.
        """
        proven = worst_case(guarantee)
        delta = proven.delta if delta is None else delta
        epsilon, mu = proven.epsilon(delta), proven.gdp_mu()
        return cls(
            epsilon=epsilon if math.isfinite(epsilon) else None,
            delta=delta,
            mu=mu if mu is not None and math.isfinite(mu) else None,
            neighbours=str(proven.neighbours),
            kind=guarantee.kind,
            sentence=guarantee.describe(),
        )


@dataclass(frozen=True)
class Audit:
    """A lower bound beside the claim that it is held against.

    The bounds are of the game that was played: they say that the mechanism leaks at least this,
    with ``confidence``, and nothing about how much more it may leak.

    Args:
        subject: The method, or the release's method.
        game: ``"two points"``: many runs on two neighbouring data sets; or ``"one run"``: one run,
            many canaries.
        claim: What is held against the bound.
        epsilon: At least, at the claim's delta; assumes nothing.
        mu: At least, for the mechanism to be mu-GDP at all.
        gaussian_epsilon: ``mu`` read as an epsilon at the claim's delta, where the claim's
            trade-off curve is a Gaussian's; None elsewhere, where it would mean nothing.
        refuted: Whether the claimed trade-off curve allows less than was surely seen.
        confidence: Of all of this together.
        most: The largest ``epsilon`` that so many runs or guesses can show, were every one right.
        counts: Runs or canaries, how many were judged, and how many guesses were right.
        assumption: What must be true of the game for the bound to hold.
        noise: Where the noise of the runs came from.
        adversary: Who looked: at the ``"release"``, or at the ``"transcript"``, each noisy value
            that was drawn, too.
        settings: Of the method.
        facts: What the data sets of the game were like; no record of anybody.
        seconds: It took.
        versions: Of the software.
    """

    subject: str
    game: str
    claim: Claim
    epsilon: float
    mu: float
    gaussian_epsilon: float | None
    refuted: bool
    confidence: float
    most: float
    counts: Mapping[str, int]
    assumption: str
    noise: Mapping[str, Any]
    adversary: str = "release"
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """Whether the claim is false, with ``confidence``."""
        over = self.claim.epsilon is not None and self.epsilon > self.claim.epsilon
        curved = self.claim.mu is not None and self.mu > self.claim.mu
        return over or curved or self.refuted

    @property
    def summary(self) -> str:
        """One plain sentence."""
        claimed = "none" if self.claim.epsilon is None else _figure(self.claim.epsilon)
        sure = f"with {100 * self.confidence:g} % confidence"
        found = f"ε is at least {rounded_down(self.epsilon, 2)} at δ = {self.claim.delta:g}"
        if self.adversary == "transcript":
            found += " for whoever sees every noisy value that it draws"
        if self.gaussian_epsilon is not None and self.gaussian_epsilon > self.epsilon:
            found += f" (at least {rounded_down(self.gaussian_epsilon, 2)} as Gaussian noise leaks)"
        if self.broken:
            return (
                f"The claim is false, {sure}: {self.subject} claims ε = {claimed} at δ = "
                f"{self.claim.delta:g}, and {found}"
                f"{'; its trade-off curve is refuted' if self.refuted else ''}."
            )
        return (
            f"The claim stands: {self.subject} claims ε = {claimed} at δ = {self.claim.delta:g}; "
            f"{sure}, {found}. A bound below the claim is no proof of it. {self.reach}"
        )

    @property
    def reach(self) -> str:
        """What this audit could have seen at best."""
        said = f"This audit could not have seen more than ε = {self.most:.2f}, by ε and δ."
        if self.claim.epsilon is not None and self.most <= self.claim.epsilon:
            said += " That is no more than is claimed: by them alone nothing could have refuted it."
        return said

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "sfumato_audit": FORMAT,
            **asdict(self),
            "broken": self.broken,
            "summary": self.summary,
        }

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _figure(epsilon: float) -> str:
    """Two decimals, or two digits where those would say 0."""
    return f"{epsilon:.2f}" if epsilon >= 0.1 else f"{epsilon:.2g}"


def worst_case(guarantee: Guarantee) -> Central | Local:
    """The guarantee between any two values, which is what can be audited.

    Raises:
        InputError: If there is none.
    """
    proven: Any = getattr(guarantee, "worst_case", guarantee)
    if proven is None or not hasattr(proven, "event"):
        raise InputError(
            f"the guarantee is {guarantee.kind} and claims nothing of every record",
            "There is no claim to audit; attack it instead.",
        )
    found: Central | Local = proven
    return found


def check_confidence(confidence: float) -> float:
    """Refuses a confidence that no bound can have.

    Raises:
        InputError: If it is not in [0.5, 1).
    """
    if isinstance(confidence, bool) or not 0.5 <= confidence <= 1 - 1e-12:
        raise InputError(f"confidence is {confidence!r}", "Give a number in [0.5, 1), as 0.99.")
    return float(confidence)


def gaussian_epsilon(mu: float, claim: Claim) -> float | None:
    """``mu`` as an epsilon at the claim's delta, if that is how the claim's own two are related."""
    from sfumato.privacy.accounting import gaussian

    if claim.mu is None or claim.epsilon is None or claim.delta == 0:
        return None
    if gaussian.epsilon(claim.delta, claim.mu) > _AS_GAUSSIAN * claim.epsilon:
        return None
    return float(gaussian.epsilon(claim.delta, mu)) if mu > 0 else 0.0

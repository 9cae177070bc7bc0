"""Config, calibrate, run: the three types every method is made of.

A *method* is a frozen dataclass of public choices. ``calibrate`` turns it, a budget and public
facts into a :class:`Calibrated` run that knows its guarantee and can be printed. Only a
calibrated run touches private data, and it does so after the ledger has taken the debit.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.ledger.begun import Begun, noting
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.transcript import listening
from sfumato.release.card import Card, figures_of
from sfumato.release.release import Artefact, Release
from sfumato.versions import versions

if TYPE_CHECKING:
    from pathlib import Path

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Guarantee
    from sfumato.privacy.ledger import Ledger

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what is being done."""


def silent(done: int, total: int, label: str) -> None:
    """The progress callback that says nothing."""


class Method(Protocol):
    """A frozen dataclass of public choices, registered under ``name``."""

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]  # "table", "images": what it takes
    gives: ClassVar[str]  # "table", "images" or "model": what it publishes
    source: ClassVar[str]  # the paper
    relation: ClassVar[str]  # "central" or "local", for the list of methods

    def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
        """The run that spends ``budget`` on data with these public facts."""
        ...


@dataclass(frozen=True)
class Calibrated:
    """A method ready to run: its exact cost is known, nothing has been drawn.

    Args:
        method: The public choices.
        budget: What was asked for.
        facts: The public facts (a ``Schema`` or an ``ImageSchema``).
        guarantee: What the run proves; its event is accounted, never typed in a second place.
        plan: What calibration derived: noise scales, per-attribute budgets, clip norms, counts.
            JSON values; functions of public choices, the budget and public facts alone.
        run: Draws the noise: ``run(data, source, progress) -> Artefact``; one whose ``resumable``
            is true also takes a workspace, where it keeps what it has drawn. One that has a
            ``check(data)`` may refuse data before they are paid for; one that has ``certain``, as
            of :mod:`sfumato.publish.room`, is refused where there is no room for one of them. In
            the place of one that has ``timed(progress)`` runs what that gives before the debit,
            which is as much of it as there is time for; a run that goes on knows it already.
        source: Where the noise comes from unless a test says otherwise.
        public: Facts declared or computed from public data that the method relies on, beside
            those in the schema.
        caveats: One line for each claim of the paper that this run does not make.
        per_unit: Whether the guarantee was derived for the facts' unit (a person with several
            rows), as :func:`sfumato.publish.units.calibrate` does.
    """

    method: Any
    budget: Budget
    facts: Any
    guarantee: Guarantee
    plan: Mapping[str, Any]
    run: Callable[..., Artefact] = field(repr=False)
    public: tuple[Fact, ...] = ()
    caveats: tuple[str, ...] = ()
    source: NoiseSource = SECURE
    per_unit: bool = False

    def __post_init__(self) -> None:
        unit = getattr(self.facts, "unit", None)
        if (unit is not None) != self.per_unit:
            raise InputError(
                f"the facts name unit {unit!r}, and the guarantee is for one record",
                "Calibrate with sfumato.publish.units.calibrate(method, budget, facts).",
            )

    def __call__(
        self,
        data: Any,
        *,
        ledger: Ledger,
        source: NoiseSource | None = None,
        progress: Progress = silent,
        label: str = "",
        workspace: Path | None = None,
    ) -> Release:
        """Debits the ledger, draws the noise and returns the release.

        Args:
            data: The private ``Table`` or ``ImageSet``; it must fit ``facts``. Where these name a
                unit, at most ``rows_per_unit`` rows of each person are used, drawn at random
                unless the data have been bounded before.
            ledger: Takes the debit, committed before any noise is drawn.
            source: The noise; anything but the method's own is for tests, and the card says
                whether it was secure.
            progress: Told how far the run is.
            label: A name for the release in the ledger.
            workspace: A private folder where a resumable run keeps what it has drawn. If an earlier
                run of the same method and guarantee left off there, it goes on, and its debit is
                not repeated.

        Raises:
            InputError: If the data contradicts the facts, the workspace is of another run, or the
                settings ask for more memory than there is. Nothing is spent.
            LedgerError: If the ledger lacks the debit that the workspace was paid for with.
            BudgetError: If the ledger's ceiling refuses. Nothing is spent.
            UnwrittenError: If disk or memory turn out too small after the debit, or the data can no
                longer be read. The debit stands.
        """
        from sfumato.publish import diverged, memory, room, shortage, units
        from sfumato.publish.workspace import is_paid, paid

        copy = getattr(data, "spool", None)
        with shortage.unpaid():
            data = units.bounded(data, self.facts, workspace)
            data.validate(self.facts)
            data = units.anonymous(data)
            if hasattr(self.run, "check"):
                self.run.check(data)
        room.check(self.method, getattr(self.run, "certain", ()))
        memory.tell(self)
        source = self.source if source is None else source
        figures = figures_of(self.guarantee)  # whatever can fail, fails before the debit
        release_id = uuid.uuid4().hex
        before = workspace is not None and is_paid(workspace, ledger)
        run = self.run
        if hasattr(run, "timed") and not before:
            with listening():  # what is drawn of made-up records is no part of the run
                run = run.timed(progress)
        if workspace is None:
            entry = ledger.debit(
                self.guarantee, release_id=release_id, method=self.method.name, label=label
            )
            with shortage.paid(entry.sequence, kept=False):
                artefact = run(data, source, progress)
        else:
            if not getattr(self.run, "resumable", False):
                raise InputError(
                    f"{self.method.name} keeps nothing to continue from",
                    "Leave the checkpoint out.",
                )
            entry = paid(workspace, self, ledger, release_id, label, copy)
            release_id = entry.release_id
            noted = noting(Begun.of(ledger, release_id, workspace))  # for all copies of the folder
            with shortage.paid(entry.sequence, kept=True, now=not before), noted:
                artefact = run(data, source, progress, workspace)
        card = Card(
            release_id=release_id,
            method={
                "name": self.method.name,
                "settings": handed_over(settings(self.method)),
                "source": self.method.source,
            },
            guarantee=self.guarantee.to_dict(),
            figures=figures,
            plan={**self.plan, **artefact.notes},
            facts=(*self.facts.as_facts(), *self.public),
            caveats=(*diverged.caveats(artefact), *self.caveats),
            ledger={"entry": entry.hash, "sequence": entry.sequence},
            noise={"source": source.name, "secure": source.secure},
            seeds=artefact.seeds,
            artefact={"kind": artefact.kind},
            versions=versions(),
            created=_seconds(entry.time),
        )
        return Release(card=card, artefact=artefact)


TUNED = (
    "Settings that were chosen by looking at these records, by training several times, are not "
    "covered: choose on public data, or pay for every try."
)
"""The caveat of methods whose settings people are tempted to try out."""


def chosen_on(*sets: str) -> tuple[str, ...]:
    """The caveat of methods whose defaults were chosen on images held out of public sets."""
    if not sets:
        return ()
    several, last = ", ".join(sets[:-1]), sets[-1]
    if not several:
        return (
            f"The defaults were chosen on images held out of the training part of {last}, which is "
            "public; figures on that set owe something to that choice.",
        )
    return (
        f"The defaults were chosen on images held out of the training parts of {several} and "
        f"{last}, all public; figures on those sets owe something to that choice.",
    )


def _seconds(time: str) -> str:
    """When a release was paid for, to the second: how long it took may tell of the records."""
    return datetime.datetime.fromisoformat(time).isoformat(timespec="seconds")


_PUBLIC = ("public_data", "public")
"""Settings that may say where public records are."""


class RecordCaveat(str):
    """A caveat that holds where one record is the unit; not stated where a person is."""


def handed_over(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a card has them: what is private of where public data lie is left out."""
    from sfumato.data import addresses

    given = {name: settings.get(name) for name in _PUBLIC}
    shown = {name: addresses.named(at) for name, at in given.items() if isinstance(at, str)}
    return {**settings, **shown}


def settings(method: Any) -> dict[str, Any]:
    """The public choices of a method as plain values, for a card."""
    return {f.name: getattr(method, f.name) for f in fields(method) if f.init}

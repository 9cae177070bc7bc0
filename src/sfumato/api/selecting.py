"""Select: one of several ways to publish, picked by generator feedback on private pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.api.inputs import account_of, check_outside, resolve
from sfumato.api.publishing import one_process
from sfumato.api.variants import Variant
from sfumato.api.writing import written
from sfumato.attack.feedback import Generator
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.publish.method import Progress, silent
from sfumato.publish.selection import Selection, as_picked
from sfumato.release.release import Release, check_new

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike, SchemaLike
    from sfumato.privacy.ledger import Ledger


_BLANK = 4


@dataclass(frozen=True)
class Feedback:
    """The judge: a DCGAN of the released pictures, and how near each record is to what it makes."""

    attack: Generator = field(default_factory=Generator)

    @property
    def label(self) -> str:
        """What it is, with its settings."""
        attack = self.attack
        made = f"feedback.generator, {attack.steps} steps, {attack.generated} pictures"
        return made if attack.likeness == "pixels" else f"{made}, {attack.likeness}"

    def __call__(self, content: Any, sides: Sequence[Any], seed: int) -> list[Any]:
        """See :class:`sfumato.publish.selection.Judge`."""
        return list(self.attack.similarities(content, sides, seed))


def select(
    data: DataLike,
    candidates: Sequence[str | Any],
    *,
    epsilon: float,
    limit: float,
    delta: float | None = None,
    trials: float = 5.0,
    held_out: float = 0.1,
    score_share: float = 0.1,
    feedback: Generator | None = None,
    schema: SchemaLike | None = None,
    ledger: Ledger | str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Release:
    """Publishes pictures by the most wanted of several candidates that passes generator feedback.

    The third loop of generator feedback, and the only one that changes a release by a look at
    private records; so that look is paid for. A random, secret number of trials is run. Each
    draws a candidate, sets records aside, publishes from the others, trains a DCGAN on what was
    published, and passes if members are, on average and under noise, nearer to its pictures than
    the records set aside by less than ``limit``. Of the trials that passed, the release of the
    candidate that comes last in the list is returned; nothing else is kept.

    All trials together cost several times one of them: of Gaussian noise at epsilon 1, 2.2 times
    with five expected trials and 2.7 times with twenty at a delta of 1e-5, 3.0 and 4.0 times at
    1e-3, and more at smaller epsilons (``make bench-selection``). The card's plan says it of this
    release, beside what as many trials in a plain list would cost, which is less where they are
    few and delta is large. Try settings on public data
    (:func:`sfumato.attack.feedback.public_loop`, which is free) wherever there are any.

    Args:
        data: As for :func:`sfumato.publish`; pictures.
        candidates: Methods as ``"generators.merf[features=2000]"`` or configured, from the one
            that is wanted least to the one that is wanted most.
        epsilon: The budget of the whole.
        limit: On the difference of mean similarities, in (0, 1].
        delta: Its other half; None takes the first candidate's default.
        trials: Expected number of trials, a few times the number of candidates.
        held_out: Share of the records that each trial sets aside.
        score_share: Of a trial's squared mu, what its comparison takes.
        feedback: The attack with its settings; None for the defaults.
        schema: The public facts.
        ledger: A ledger or its file; None takes the data set's own.
        out: The folder to write; None keeps the release in memory.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: Told how far the work is. It shows how many trials there are: for the
            custodian's eyes alone.

    Returns:
        The release, under the name and settings of the candidate that made it.

    Raises:
        InputError: If anything named is unknown, missing or out of range. Nothing is spent.
        BudgetError: If the ledger's ceiling refuses. Nothing is spent.
        NothingSelectedError: If no trial passed. The budget is spent, nothing is written.
        UnwrittenError: If the release is paid for and cannot be written, as on a full disk.

    Guarantee: what ``release.card.proven`` says, for the whole selection.
    """
    one_process()
    if out is not None:
        check_outside(data, Path(out))
    folder = None if out is None else check_new(out)
    listed = [candidates] if isinstance(candidates, str) else candidates
    methods = tuple(
        Variant.parse(one, device).method if isinstance(one, str) else one for one in listed
    )
    selection = Selection(
        methods, Feedback(feedback or Generator()), limit, trials, held_out, score_share
    )
    inputs = resolve(data, target=None, schema=schema, holdout=0, seed=0)
    if inputs.members.kind != "images":
        raise InputError("the data is a table", "Generator feedback is for pictures.")
    budget = Budget(epsilon, methods[0].default_delta if delta is None else delta)
    records = len(inputs.members)
    budget.check_records(records)
    calibrated = selection.calibrate(budget, inputs.facts.with_records(records))
    _try_out(selection.judge, inputs.facts)
    account = account_of(ledger, inputs, data)
    account.check(calibrated.guarantee)
    made = calibrated(
        inputs.members,
        ledger=account,
        progress=progress,
        label=folder.name if folder else inputs.name,
    )
    release = as_picked(made, calibrated)
    return release if folder is None else written(release, folder)


def _try_out(judge: Any, facts: Any) -> None:
    """Runs a judge's machinery on blank pictures, so that what cannot run fails before the debit.

    Raises:
        InputError: If pictures of these facts are none that it can judge.
    """
    from sfumato.data import ImageSet

    blank = ImageSet.from_arrays(
        np.zeros((_BLANK, *facts.shape), np.float32), np.zeros(_BLANK, np.int64), facts.classes
    )
    short = replace(judge, attack=replace(judge.attack, steps=1, generated=2))
    try:
        short(blank, [blank, blank], 0)
    except RuntimeError as error:
        raise InputError(
            f"pictures of {facts.shape} are none that a DCGAN can be trained on ({error})",
            "Bring them to at least 4 pixels a side.",
        ) from None

"""Publish: from private data to a release, its ledger entry and the custodian's evaluation."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.choosing import choose
from sfumato.api.configuring import configure
from sfumato.api.declared import check_public
from sfumato.api.evaluations import check_evaluation, evaluation_path, save_evaluation
from sfumato.api.inputs import (
    Inputs,
    account_of,
    check_outside,
    coins_of,
    how_parted,
    resolve,
)
from sfumato.api.telling import tell_read_off, tell_several_images
from sfumato.api.writing import check_beside, check_unwritten, whole, written
from sfumato.data import ImageSet
from sfumato.data.persons import KEY_BYTES
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.publish import constraints, disk, room, shortage
from sfumato.publish.held import held
from sfumato.publish.images.perturbed import order_tells_labels
from sfumato.publish.method import Calibrated, Progress, silent
from sfumato.publish.workspace import (
    finished,
    is_paid,
    kept_rows,
    parted,
    selected,
    selection,
)
from sfumato.release.release import Release, check_new, check_private

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike, SchemaLike
    from sfumato.privacy.ledger import Ledger


@dataclass(frozen=True)
class Plan:
    """A publication that is ready to run: checked, calibrated, nothing spent.

    Args:
        inputs: The private data.
        calibrated: The run, which knows its guarantee.
        ledger: Takes the debit.
        chosen: Why this method, where the caller left the choice open.
        key: Secret, of who is held out, and which rows of each person are used.
    """

    inputs: Inputs
    calibrated: Calibrated
    ledger: Ledger
    chosen: str = ""
    key: bytes = field(default=b"", repr=False)


def plan(
    data: DataLike,
    *,
    epsilon: float,
    delta: float | None = None,
    target: str | None = None,
    schema: SchemaLike | None = None,
    method: str = "auto",
    settings: Mapping[str, Any] | None = None,
    holdout: float | str | Path | None = None,
    ledger: Ledger | str | Path | None = None,
    device: str = "auto",
    gives: str = "data",
    checkpoint: str | Path | None = None,
    engine: str = "auto",
    unit: str | None = None,
    rows_per_unit: int | None = None,
    spool: str | Path | None = None,
) -> Plan:
    """Checks everything that :func:`publish` needs and spends nothing.

    Takes the arguments of :func:`publish` that matter until then.

    Raises:
        InputError: If anything named is unknown, missing or out of range.
        BudgetError: If the ledger's ceiling would refuse the release.
    """
    one_process()
    Budget(epsilon, delta or 0.0)
    if method != "auto":
        configure(method, settings, device)
    workspace = None if checkpoint is None else check_private(checkpoint)
    kept = None if workspace is None else selected(workspace)
    key = kept or secrets.token_bytes(KEY_BYTES)
    inputs = resolve(
        data,
        target=target,
        schema=schema,
        holdout=holdout,
        seed=coins_of(key),
        engine=engine,
        unit=unit,
        rows_per_unit=rows_per_unit,
        key=key,
        spool=spool,
        kept=None if workspace is None else kept_rows(workspace),
    )
    kind = inputs.members.kind
    usual, why = choose(gives, kind, inputs.facts, records=len(inputs.members), epsilon=epsilon)
    chosen = why if method == "auto" else ""
    method = usual if method == "auto" else method
    configured = configure(method, settings, device)
    if kind not in configured.kinds:
        raise InputError(
            f"{method} takes {' or '.join(configured.kinds)}, the data is {kind}",
            f"Use {usual!r}, or see `sfumato methods`.",
        )
    if (configured.gives == "model") != (gives == "model"):
        raise InputError(
            f"{method} publishes {configured.gives}",
            "Use `sfumato train` for models and `sfumato publish` for data.",
        )
    check_public(configured, data, holdout)
    budget = Budget(epsilon, configured.default_delta if delta is None else delta)
    records = len(inputs.members)
    budget.check_records(records)
    facts = inputs.facts.with_records(records) if configured.needs_records else inputs.facts
    calibrated = constraints.calibrate(configured, budget, facts)
    account = account_of(ledger, inputs, data)
    if workspace is None or not is_paid(workspace, account):
        account.check(calibrated.guarantee)
    return Plan(inputs, calibrated, account, chosen, key)


def publish(
    data: DataLike,
    *,
    epsilon: float,
    delta: float | None = None,
    target: str | None = None,
    schema: SchemaLike | None = None,
    method: str = "auto",
    settings: Mapping[str, Any] | None = None,
    holdout: float | str | Path | None = None,
    out: str | Path | None = None,
    ledger: Ledger | str | Path | None = None,
    evaluate: bool | None = None,
    attacks: Sequence[str] | None = None,
    disclose_evaluation: bool = False,
    seed: int = 0,
    device: str = "auto",
    gives: str = "data",
    checkpoint: str | Path | None = None,
    engine: str = "auto",
    unit: str | None = None,
    rows_per_unit: int | None = None,
    spool: str | Path | None = None,
    progress: Progress = silent,
) -> Release:
    """Publishes private data for one task, with its proof, and attacks what it published.

    Args:
        data: A path, ``dataset:NAME``, the address of a database's table, a ``Table``, an
            ``ImageSet`` or a data frame.
        epsilon: The budget; above 0.
        delta: The budget's other half, below 1/records; None takes the method's default.
        target: The column to predict; None takes the schema's.
        schema: The public facts: a ``Schema``, an ``ImageSchema`` or a YAML file.
        method: A registered name, or ``"auto"``.
        settings: The method's public choices by name.
        holdout: A share of the rows, another file, or 0; None takes the data set's own test
            part, or a fifth of the rows. The release is never made from these.
        out: The folder to write; None keeps the release in memory.
        ledger: A ledger or its file; None takes the data set's own in the user's data folder.
        evaluate: Whether to attack and measure; None does so when ``out`` is given.
        attacks: Names of the attacks; None runs all that fit.
        disclose_evaluation: Declares the evaluation public and writes it into the release. It is
            computed on private rows and covered by no guarantee.
        seed: Of the attacks and the evaluation; never of privacy noise, nor of who is held out.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        gives: ``"data"``, or ``"model"`` for what :func:`train` publishes.
        checkpoint: A private folder to go on from if the work is interrupted: the same call
            continues there, and pays nothing anew. It is deleted once the release is written.
            For methods that keep one.
        engine: Who reads a table's files: ``"auto"`` (this process), ``"duckdb"``, ``"spark"``, or
            Spark with a master (``"spark://host:7077"``, ``"spark:yarn"``).
        unit: The column that says whom a row is of, where a person may have several; None takes
            the schema's. At most ``rows_per_unit`` rows of each are used, drawn at random; the
            budget is the person's, and the column is never released.
        rows_per_unit: How many rows of a person are used at most; None takes the schema's, or 1.
        spool: A folder of this machine. Where a table gives its rows in no lasting order (views,
            servers, Spark), a unit and columns that are passed through need a private copy of the
            columns that are read, ids included: it lies in this folder without a name, and is gone
            with the process. A run with ``checkpoint`` keeps one there until it is finished. None
            copies nothing.
        progress: Told how far the work is.

    Returns:
        The release. With ``out``, the folder ``out`` may be handed over whole; its evaluation
        lies beside it in ``out.evaluation`` and stays with the custodian.

    Raises:
        InputError: If anything named is unknown, missing or out of range. Nothing is spent.
        BudgetError: If the ledger's ceiling refuses. Nothing is spent or written.
        UnwrittenError: If the release is paid for and it, or its evaluation, cannot be written, as
            on a full disk.

    Guarantee: what ``release.card.proven`` says, computed from the event of what ran.
    """
    check_outside(data, *(Path(path) for path in (out, checkpoint) if path is not None))
    if out is not None and checkpoint is not None:
        check_unwritten(Path(out).expanduser(), Path(checkpoint).expanduser())
    folder = None if out is None else check_new(out)
    evaluation_folder = None
    if folder is not None:
        check_private(evaluation_path(folder))
        evaluation_folder = check_new(evaluation_path(folder))
        if checkpoint is not None:
            check_beside(folder, Path(checkpoint).expanduser())
    ready = plan(
        data,
        epsilon=epsilon,
        delta=delta,
        target=target,
        schema=schema,
        method=method,
        settings=settings,
        holdout=holdout,
        ledger=ledger,
        device=device,
        gives=gives,
        checkpoint=checkpoint,
        engine=engine,
        unit=unit,
        rows_per_unit=rows_per_unit,
        spool=spool,
    )
    inputs = ready.inputs
    if isinstance(inputs.members, ImageSet) and order_tells_labels(ready.calibrated.plan):
        inputs = replace(inputs, members=inputs.members.shuffled())
    if evaluate is None:
        evaluate = folder is not None and inputs.held_out is not None
    if evaluate:
        check_evaluation(inputs, attacks, ready.calibrated.method.gives)
    private = None if checkpoint is None else Path(checkpoint).expanduser()
    if private is None or not is_paid(private, ready.ledger):
        # What is too much for memory is told as that, and not by what it would write.
        room.check(ready.calibrated.method, getattr(ready.calibrated.run, "certain", ()))
        disk.check(ready.calibrated, len(inputs.members), folder, private)
    # Nothing is refused from here on but for what the data hold: of bad input one line is said.
    if ready.chosen:
        logging.getLogger("sfumato").info("--method auto takes %s", ready.chosen)
    tell_several_images(inputs.members)
    if schema is None:
        tell_read_off(inputs.members)
    with ExitStack() as until_written:
        if private is not None and getattr(ready.calibrated.run, "resumable", False):
            with shortage.unpaid():
                parted(private, how_parted(data, holdout))
                selection(private, ready.key)
            until_written.enter_context(held(private))
        release = ready.calibrated(
            inputs.members,
            ledger=ready.ledger,
            progress=progress,
            label=str(folder.name) if folder else inputs.name,
            workspace=private,
        )
        if folder is not None:
            # The release is safe on disk before it is evaluated: that can take minutes.
            release = written(release, folder, kept=private is not None)
            assert release.path is not None
            evaluation_folder = evaluation_path(release.path)
            if private is not None:
                finished(private)
    if evaluate and inputs.held_out is not None:
        from sfumato.measure.evaluation import evaluate as judge

        with whole(release):
            evaluation = judge(
                release,
                inputs.members,
                inputs.held_out,
                attacks=attacks,
                seed=seed,
                # The release is paid for: what refuses now must not take the rest along.
                whole=False,
                by_coins=inputs.by_coins,
                progress=progress,
            )
        if evaluation_folder is not None:
            with whole(release):
                save_evaluation(release, evaluation, evaluation_folder)
        if disclose_evaluation and folder is not None:
            from sfumato.report import page

            with whole(release):
                public = evaluation.of_all().to_json()
                release.disclose(public, page(release, evaluation, disclosed=True))
        release = replace(release, evaluation=evaluation)
    return release


def train(data: DataLike, *, epsilon: float, method: str = "auto", **options: Any) -> Release:
    """Publishes a model of private data for one task, with its proof, and attacks it.

    Args:
        data: As for :func:`publish`, like every argument; those not named here go by keyword.
        epsilon: The budget; above 0.
        method: A registered name that gives a model, or ``"auto"``.
        options: Further arguments of :func:`publish`.

    Returns:
        A release whose ``.model`` and ``.predict`` are there; ``out`` and its evaluation as for
        :func:`publish`.

    Raises:
        InputError: If anything named is unknown, missing or out of range. Nothing is spent.
        BudgetError: If the ledger's ceiling refuses. Nothing is spent or written.

    Guarantee: what ``release.card.proven`` says, computed from the event of what ran.
    """
    return publish(data, epsilon=epsilon, method=method, gives="model", **options)


def one_process() -> None:
    """Refuses to run in each of several processes, where each would pay for a release of its own.

    Raises:
        InputError: If torchrun started this process as one of several.
    """
    several = os.environ.get("WORLD_SIZE", "1")
    if several != "1" and "TORCHELASTIC_RUN_ID" in os.environ:
        raise InputError(
            f"torchrun started {several} processes, and each would publish and pay",
            "Publish from one process; PrivateTrainer in a script of your own trains with several.",
        )

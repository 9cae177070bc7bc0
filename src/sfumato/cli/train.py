"""``sfumato train``."""

from __future__ import annotations

import typer

from sfumato.cli.output import (
    AsJson,
    Attacks,
    Checkpoint,
    DataArgument,
    Delta,
    Device,
    DiscloseEvaluation,
    Engine,
    Epsilon,
    Evaluate,
    Holdout,
    LedgerFile,
    MethodName,
    Out,
    RowsPerUnit,
    SchemaFile,
    Seed,
    Settings,
    Spool,
    Target,
    Unit,
)
from sfumato.cli.publish import release


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("train")(train)


def train(
    data: DataArgument,
    epsilon: Epsilon,
    out: Out,
    target: Target = None,
    delta: Delta = None,
    schema: SchemaFile = None,
    method: MethodName = "auto",
    set_: Settings = None,
    holdout: Holdout = None,
    unit: Unit = None,
    rows_per_unit: RowsPerUnit = None,
    ledger: LedgerFile = None,
    checkpoint: Checkpoint = None,
    evaluate: Evaluate = None,
    attack: Attacks = None,
    disclose_evaluation: DiscloseEvaluation = False,
    seed: Seed = 0,
    device: Device = "auto",
    engine: Engine = "auto",
    spool: Spool = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on private DATA under a guarantee, publish it, and attack it.

    DIR holds the weights (safetensors), the card and the report, and may be handed over whole.
    The evaluation, computed on private records, is written beside it in DIR.evaluation.
    """
    release("train", max_minutes=None, **locals())

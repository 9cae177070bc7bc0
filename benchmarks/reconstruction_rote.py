"""Models that know 2,000 census rows by heart, and what they tell of values that are not said.

The task has many classes (of 17 educations), so that a label tells much about a record. Settings
were chosen on rows of the census's training file; all people here are of its test file.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sfumato
from sfumato.attack import Evidence
from sfumato.attack.imputation import Imputer
from sfumato.data import Table, datasets
from sfumato.learn.architectures import build, weights
from sfumato.learn.examples import classes_of, labelled
from sfumato.measure import features
from sfumato.publish.models.network import architecture
from sfumato.release.foreign.interface import Interface, numbers_of
from sfumato.release.foreign.sklearn_files import of_estimator
from sfumato.release.model import Model
from sfumato.release.release import Release

TASK, SEED = "education", 1
MEMBERS, OTHERS, STRANGERS, HELD = 2000, 2000, 4000, 10_000
COLUMNS = (
    "age",
    "class_of_worker",
    "education",
    "marital_status",
    "major_industry",
    "major_occupation",
    "race",
    "sex",
    "tax_filer_status",
    "household_summary",
    "employer_size",
    "weeks_worked",
)
SECRETS = tuple(name for name in COLUMNS if name not in ("age", TASK))


@cache
def census(columns: int) -> tuple[Evidence, Table]:
    """Members, strangers and what the attacker holds, of these columns; and other people."""
    data: Any = datasets.load("census-income", "test").with_target(TASK)
    if columns == len(COLUMNS):
        data = data.select(*COLUMNS)
    drawn = data.sample(MEMBERS + OTHERS + STRANGERS + HELD, SEED)
    codes = drawn.codes()
    order = np.random.default_rng(SEED).permutation(len(drawn))
    ends = np.cumsum((MEMBERS, OTHERS, STRANGERS))
    members, others, strangers, held = (
        Table.from_codes({name: values[rows] for name, values in codes.items()}, drawn.schema)
        for rows in np.split(order, ends)
    )
    return Evidence(members, strangers, held), others


def by_heart(kind: str, data: Table, hidden: tuple[int, ...]) -> Model:
    """A model of these rows, trained until it knows them, without privacy."""
    inputs, labels = labelled(data)
    if kind == "network":
        made = architecture(data.schema, "auto", hidden)
        module = build(made, seed=SEED)
        optimizer = torch.optim.Adam(module.parameters(), 2e-3)
        random = torch.Generator().manual_seed(SEED)
        for _ in range(100):
            for rows in torch.randperm(len(labels), generator=random).split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
                optimizer.step()
        return Model(data.schema, made, weights(module))
    return _estimator(kind, data, inputs.numpy(), labels.numpy())


def privately(data: Table, hidden: tuple[int, ...]) -> Release:
    """The network of the same rows with a guarantee: (8, 1e-5), to add or remove one."""
    with tempfile.TemporaryDirectory() as scratch:
        return sfumato.train(
            data,
            epsilon=8,
            delta=1e-5,
            method="learn.dpsgd",
            settings={"network": "table-dense", "hidden": list(hidden), "neighbours": "add-remove"},
            holdout=0,
            ledger=Path(scratch) / "ledger.jsonl",
            evaluate=False,
            device="cpu",
        )


def _estimator(kind: str, data: Table, codes: Any, labels: Any) -> Model:
    """Trees without bootstrap or pruning, or weighted neighbours, taken as others' models are."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

    columns = data.schema.features
    long = [j for j, c in enumerate(columns) if c.ordered and c.size > 20]
    short = [j for j in range(len(columns)) if j not in long]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), short),
        (MinMaxScaler((0, 2)), long),
    )
    chosen: Any = ExtraTreesClassifier(200, random_state=SEED)
    if kind == "nearest neighbours":
        chosen = KNeighborsClassifier(15, weights="distance")
    rows, said = numbers_of(data.schema, codes), np.array(classes_of(data.schema))[labels]
    fitted = make_pipeline(encode, chosen).fit(rows, said)
    return of_estimator(fitted, data.schema, interface=Interface(), name=kind)


def known(model: Model, evidence: Evidence) -> dict[str, float]:
    """The shares of members and of strangers whose label the model tells."""
    found = {}
    for name, part in (("members", evidence.members), ("strangers", evidence.non_members)):
        inputs, labels = labelled(part)
        said = model.probabilities_from(inputs.numpy()).argmax(axis=1)
        found[name] = float(np.mean(said == labels.numpy()))
    return found


def published(model: Model, evidence: Evidence, secrets: tuple[str, ...]) -> dict[str, Any]:
    """Shares guessed right by other rules with the same model and records, mean of the secrets.

    Odds times answer (Fredrikson et al., USENIX Security 2014); the surest answer and labels alone
    (CSMIA and LOMIA; Mehnaz et al., USENIX Security 2022).
    """
    schema: Any = model.schema
    columns, goal = tuple(schema.columns), schema.names.index(schema.target)
    own = features.codes(evidence.auxiliary)
    sides = [features.codes(part) for part in (evidence.members, evidence.non_members)]
    rates: dict[str, list[list[float]]] = {}
    for name in secrets:
        at = schema.names.index(name)
        prior = Imputer.fit(own, columns, at, leave_out=(goal,), seed=SEED)
        found = [
            _rules(model, rows, at, goal, columns, prior.probabilities(rows)) for rows in sides
        ]
        for rule in found[0]:
            right = [float(np.mean(f[rule] == r[:, at])) for f, r in zip(found, sides, strict=True)]
            rates.setdefault(rule, []).append(right)
    means = {rule: np.mean(each, axis=0).tolist() for rule, each in rates.items()}
    return {rule: dict(zip(("members", "strangers"), m, strict=True)) for rule, m in means.items()}


def _rules(
    model: Model, rows: Any, at: int, goal: int, columns: tuple[Any, ...], prior: Any
) -> dict[str, Any]:
    """Each rule's guess of every row."""
    n = np.arange(len(rows))
    answers = np.empty((len(rows), columns[at].size, columns[goal].size))
    for value in range(columns[at].size):
        tried = rows.copy()
        tried[:, at] = value
        inputs = np.ascontiguousarray(np.delete(tried, goal, axis=1))
        answers[:, value] = model.probabilities_from(inputs)
    sure = answers[n, :, rows[:, goal]]
    said = answers.argmax(axis=2) == rows[:, [goal]]
    # With no value is the label said: the answer that is least sure of what it says.
    least = answers.max(axis=2).argmin(axis=1)
    surest = np.where(said.any(axis=1), np.where(said, sure, -1).argmax(axis=1), least)
    alone = said.sum(axis=1) == 1
    told = said[alone].argmax(axis=1)
    labels_only = np.full(len(rows), np.bincount(told).argmax() if alone.any() else 0)
    if alone.sum() >= 20:  # a model of the guesses that are certain makes the others
        learnt = Imputer.fit(rows[alone], columns, at, labels=told, classes=columns[at].size)
        labels_only = learnt.probabilities(rows).argmax(axis=1)
    labels_only[alone] = told
    product = np.log(np.maximum(prior, 1e-6)) + np.log(np.maximum(sure, 1e-6))
    return {"product": product.argmax(axis=1), "csmia": surest, "lomia": labels_only}

"""Where to put the noise: five perturbation points compared on one task at equal privacy.

Noise can go on the records (input), into the loss (objective), on each step (gradient), on the
weights (output), or on answers (prediction). Each point is a registered method; all are asked for
the same mu of Gaussian differential privacy, under replace-one, and judged alike: what they lose in
accuracy against the same network without privacy, and what a membership attack gets out of them.

Source: Jarin and Eshete, DP-UTIL, CODASPY 2022, with mechanisms that do what they claim.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.inputs import Inputs, resolve
from sfumato.api.point_runs import (
    EQUAL,
    LOGISTIC,
    NONE,
    PointRow,
    Refused,
    Seed,
    network_settings,
)
from sfumato.api.runs import Runs
from sfumato.errors import InputError
from sfumato.measure.progress import part
from sfumato.privacy.budget import Budget
from sfumato.publish.method import Progress, silent
from sfumato.versions import versions

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike, SchemaLike

POINTS = ("input", "objective", "gradient", "output", "prediction")
_METHODS = {
    "input": "learn.input",
    "objective": "learn.objective",
    "gradient": "learn.dpsgd",
    "output": "learn.output",
    "prediction": "learn.pate",
}


@dataclass(frozen=True)
class PointsComparison:
    """All rows; computed on private records, it stays with the custodian.

    Args:
        data: Where the records were read.
        target: What is predicted.
        network: Of all points but prediction.
        attack: Whose leakage it is.
        equal: What the points have alike: ``"mu"``, or ``"epsilon"``.
        majority: What the commonest class of the members scores on held-out records, by seed.
        rows: See :class:`PointRow`.
        refused: Why a point is not there, by point.
        versions: Of what ran.
    """

    data: str
    target: str | None
    network: str
    attack: str
    equal: str
    majority: Mapping[str, float]
    rows: tuple[PointRow, ...]
    refused: Mapping[str, str]
    versions: Mapping[str, str]

    def to_json(self) -> str:
        """The comparison as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def compare_points(
    data: DataLike,
    *,
    mus: Sequence[float],
    target: str | None = None,
    delta: float = 1e-5,
    network: str = LOGISTIC,
    public_data: str | None = None,
    points: Sequence[str] = POINTS,
    settings: Mapping[str, str] | None = None,
    attack: str = "membership.loss",
    equal: str = "mu",
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    schema: SchemaLike | None = None,
    holdout: float | str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    spool: str | Path | None = None,
    progress: Progress = silent,
) -> PointsComparison:
    """Runs every point at every mu and judges each on the same held-out records.

    Nothing is published and no ledger is debited; see :func:`sfumato.api.compare` for what choosing
    by such a comparison gives away. With ``out``, each run is on disk once it is finished, and the
    same call goes on where an interrupted one stopped.

    Args:
        data: As for :func:`sfumato.api.publish`.
        mus: Of Gaussian differential privacy, under replace-one.
        target: The column to predict.
        delta: Where a mu is read as (epsilon, delta), for what is not Gaussian.
        network: ``"logistic"``, or a network as ``learn.dpsgd`` takes it: ``"small-cnn"``, or
            ``"dense:64:64"`` with the widths of hidden layers.
        public_data: Public records for prediction's queries, disjoint from all others.
        points: Some of ``POINTS``.
        settings: Further settings of a point's method, by point: ``{"input": "epochs=5"}``.
        attack: A registered attack on models.
        equal: ``"mu"``: what every point is proven to have is that mu, so that nobody can tell
            members of one better than of another at any false-positive rate. ``"epsilon"``: its
            (epsilon, delta) is that of a Gaussian of the mu, which is kinder to noise that is not
            Gaussian.
        seeds: One run for each.
        schema: The public facts.
        holdout: As for :func:`sfumato.api.publish`.
        out: A folder for ``points.json``, ``report.html`` and the finished runs.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        engine: As for :func:`sfumato.api.publish`.
        spool: As for :func:`sfumato.api.compare`.
        progress: Told how far the comparison is.

    Returns:
        The comparison. A point whose method refuses the task is in ``refused``, with its reason.

    Raises:
        InputError: If anything named is unknown or out of range, no point fits, or ``out`` holds
            another comparison.
    """
    from sfumato.attack import suite

    if not mus or not seeds:
        raise InputError("a comparison of nothing", "Give at least one mu and one seed.")
    for point in points:
        if point not in POINTS:
            raise InputError(f"point is {point!r}", f"Use some of {', '.join(POINTS)}.")
    if equal not in EQUAL:
        raise InputError(f"equal is {equal!r}", f"Use one of {', '.join(EQUAL)}.")
    suite.chosen("model", [attack])
    budgets = {mu: _budget(mu, delta) for mu in mus}

    def resolved(seed: int) -> Inputs:
        key = hashlib.sha256(f"compare {seed}".encode()).digest()
        inputs = resolve(
            data,
            target=target,
            schema=schema,
            holdout=holdout,
            seed=seed,
            engine=engine,
            key=key,
            spool=spool,
        )
        if inputs.held_out is None:
            raise InputError("a comparison needs rows that were held out", "Give a holdout.")
        return inputs

    inputs = resolved(seeds[0])
    chosen = _chosen(points, inputs.members.kind, network, public_data, settings or {})
    folder = None if out is None else Path(out).expanduser().absolute()
    what = {
        "holdout": None if holdout is None else str(holdout),
        "network": network,
        "attack": attack,
        "equal": equal,
        "delta": delta,
        "public data": public_data,
    }
    kept = nullcontext(None) if folder is None else _kept(folder, inputs, what)
    rows: list[PointRow] = []
    reasons: dict[tuple[str, str], list[str]] = {}
    majority: dict[str, float] = {}
    with kept as runs:
        for count, seed in enumerate(seeds):
            inputs = inputs if count == 0 else resolved(seed)
            told = part(progress, count, len(seeds))
            one = Seed(inputs, seed, delta, network, attack, device, runs, equal)
            majority[str(seed)] = one.majority()
            reference = one.reference(part(told, 0, 1 + len(chosen)))
            rows.append(reference)
            for index, (point, text) in enumerate(chosen.items(), 1):
                step = part(told, index, 1 + len(chosen))
                for place, (mu, budget) in enumerate(budgets.items()):
                    now = part(step, place, len(budgets))
                    try:
                        rows.append(one.point(point, text, mu, budget, reference, now))
                    except Refused as error:
                        reasons.setdefault((point, str(error)), []).append(f"{mu:.3g}")
    refused = _refusals(reasons, len(mus) * len(seeds))
    if all(row.point == NONE for row in rows):
        raise InputError(f"no point fits: {next(iter(refused.values()))}", "Give another task.")
    order = [NONE, *POINTS]
    rows.sort(key=lambda row: (order.index(row.point), row.mu or 0.0, row.seed))
    name, goal = inputs.name, inputs.facts.target
    made = PointsComparison(
        name, goal, network, attack, equal, majority, tuple(rows), refused, versions()
    )
    if folder is not None:
        from sfumato.publish.workspace import write
        from sfumato.report.points import points_page

        write(folder / "points.json", made.to_json())
        write(folder / "report.html", points_page(made))
    progress(1, 1, "compared")
    return made


def _budget(mu: float, delta: float) -> Budget:
    """The (epsilon, delta) of a mu.

    Raises:
        InputError: If mu is so small that delta alone covers it, or no positive number.
    """
    from sfumato.privacy.accounting import gaussian

    if not 0 < mu < 100:
        raise InputError(f"mu is {mu!r}", "Give a number above 0 and below 100.")
    Budget(1.0, delta)
    epsilon = gaussian.epsilon(delta, mu) if delta > 0 else 0.0
    if not epsilon > 0:
        raise InputError(
            f"mu {mu:g} is epsilon {epsilon:g} at delta {delta:g}", "Give a smaller delta above 0."
        )
    return Budget(epsilon, delta)


def _chosen(
    points: Sequence[str],
    kind: str,
    network: str,
    public_data: str | None,
    settings: Mapping[str, str],
) -> dict[str, str]:
    """What each point's method is called with."""
    found = {}
    layers = network_settings(network, kind)
    for point in dict.fromkeys(points):
        given = []
        if point == "prediction":  # its teachers and its student are of its own kind
            given += [f"public_data={public_data}"] if public_data is not None else []
            given += ["features=raw", "neighbours=replace-one"]
        else:
            given += [f"{key}={value}" for key, value in layers.items()]
            given += ["neighbours=replace-one"] if point == "gradient" else []
        if settings.get(point):
            given.append(settings[point])
        inside = f"[{','.join(given)}]" if given else ""
        found[point] = _METHODS[point] + inside
    if unknown := sorted(set(settings) - set(POINTS)):
        raise InputError(f"settings for {unknown[0]!r}", f"Points are {', '.join(POINTS)}.")
    return found


def _refusals(reasons: Mapping[tuple[str, str], list[str]], runs: int) -> dict[str, str]:
    """Why a point is not there, at which mu if it is there at others."""
    found: dict[str, list[str]] = {}
    for (point, why), at in reasons.items():
        where = "" if len(at) == runs else f" (at mu {', '.join(dict.fromkeys(at))})"
        found.setdefault(point, []).append(f"{why}{where}")
    return {point: " ".join(whys) for point, whys in found.items()}


@contextmanager
def _kept(folder: Path, inputs: Inputs, settings: Mapping[str, Any]) -> Iterator[Runs | None]:
    """The finished runs of this comparison."""
    assert inputs.held_out is not None
    facts = json.dumps([asdict(fact) for fact in inputs.facts.as_facts()], sort_keys=True)
    what = {
        "points": True,
        "data": inputs.name,
        "target": inputs.facts.target,
        "facts": hashlib.sha256(facts.encode()).hexdigest(),
        "records": len(inputs.members) + len(inputs.held_out),
        **settings,
        "version": versions()["sfumato"],
    }
    with Runs.open(folder, what) as runs:
        yield runs

"""Methods audited from outside, one after another: claimed beside audited.

    python benchmarks/audit.py               # about 80 minutes on one core; goes on after a stop
    python benchmarks/audit.py --minutes 10  # as much of it as there is time for
    python benchmarks/audit.py --page        # docs/audits.md from the results alone

Each method is run through ``sfumato.audit``: many times on two neighbouring data sets that are made
up, with the noise of the operating system, at settings under which what is released shows much of
one record (few steps on all records, one column), because a bound says little where it cannot.
Finished runs lie in ``.cache/audit``; results are written after each method. A result is kept for
as long as its case is what it was: method, budget, number of runs, records, facts and settings. The
page names the methods that no result is of.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.api import Audit, audit
from sfumato.api.auditing import neighbours
from sfumato.data import Categorical, Schema
from sfumato.measure.intervals import rounded_down
from sfumato.versions import versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "audit.json"
PAGE = ROOT / "docs" / "audits.md"
CONFIDENCE = 0.99

ONE = Schema((Categorical("who", tuple("abcd")), Categorical("t", ("x", "y"))), target="t")
"""One column by a target: the whole budget is on the cells that the canary is in."""

FULL: dict[str, Any] = {"expected_batch_size": 20, "max_grad_norm": 1.0, "seed": 1}
STEPS: dict[str, Any] = {**FULL, "network": "dense", "momentum": 0.0, "averaging": None}
DRAWN: dict[str, Any] = {"samples": 24, "latent": 2, "hidden": 4, "width": 2, "seed": 1}
PICTURED: dict[str, Any] = {
    **FULL,
    **DRAWN,
    "epochs": 2.0,
    "class_prior": "uniform",
    "averaging": 0.0,
}
ROWS: dict[str, Any] = {**FULL, "epochs": 2.0, "hidden": 4, "averaging": 0.0}
FEW: dict[str, Any] = {"epochs": 2.0, "class_prior": "uniform", "width": 2}
MATCHED: dict[str, Any] = {**FULL, **FEW, "depth": 1, "images_per_class": 2, "turns": 1}
DENOISED: dict[str, Any] = {
    **FULL,
    **FEW,
    "averaging": 0.0,
    "samples": 24,
    "levels": 2,
    "features": 20,
    "warm_steps": 2,
    "warm_batch": 4,
    "generator_steps": 2,
    "sampling_steps": 2,
}
VOTED: dict[str, Any] = {
    **DRAWN,
    "teachers": 2,
    "rounds": 2,
    "batch": 2,
    "crowd": 2,
    "repeats": 1,
    "class_prior": "uniform",
    "averaging": 0.0,
}

HIDDEN = (
    *("tables.mcgen", "tables.gan", "tables.augm"),
    *(f"generators.{name}" for name in ("merf", "taught", "cvae", "dpgan", "augm", "vaegm")),
    *(f"generators.{name}" for name in ("dp2vae", "sinkhorn", "psg", "diffusion", "gpate")),
    *("generators.datalens", "generators.dpmi"),
    *("learn.pate", "learn.objective", "learn.vmf"),
)
"""Methods of which a release shows little, because much lies between it and the noise."""

SEEN: dict[str, dict[str, Any]] = {
    "generators.merf": {"runs": 1000, "settings": {"steps": 1, "samples": 3}},
    "generators.diffusion": {"runs": 300, "settings": {"samples": 3}},
    "generators.taught": {"settings": {"sample_rate": 1.0}},
    "learn.pate": {"runs": 500, "records": 2, "settings": {"teachers": 6}},
}
"""What is otherwise where each draw is seen: more runs, less work that only post-processes, and
teachers of one record or none, since the canary changes the vote of no teacher who has more."""


@dataclass(frozen=True)
class Case:
    """One audit.

    Args:
        label: In the table.
        method: Registered name.
        epsilon: Of the budget.
        runs: On each of the two data sets.
        settings: Of the method.
        records: In each data set.
        schema: Facts; None for those of the product.
        delta: None for the method's default.
        adversary: Who looks: see ``sfumato.audit``.
    """

    label: str
    method: str
    epsilon: float
    runs: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    records: int = 20
    schema: Any = None
    delta: float | None = None
    adversary: str = "release"

    @property
    def key(self) -> dict[str, Any]:
        """What a result is of, as JSON values; a file counts by its name."""
        settings = by_name(self.settings)
        schema = None if self.schema is None else [[c.name, c.size] for c in self.schema]
        return {
            "method": self.method,
            "label": self.label,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "runs": self.runs,
            "records": self.records,
            "schema": schema,
            "settings": settings,
            **({} if self.adversary == "release" else {"adversary": self.adversary}),
        }


def by_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with a file of public pictures named without its folder, which is of one machine."""
    return {
        name: Path(value).name if name in ("public", "public_data") and value else value
        for name, value in settings.items()
    }


def cases(cache: Path) -> tuple[Case, ...]:
    """All of them, and with every draw seen once more those whose releases hide it."""
    found = released(cache)
    return (*found, *(every_draw(case) for case in found if case.method in HIDDEN))


def every_draw(case: Case) -> Case:
    """The same method before whoever sees all that it draws."""
    other = SEEN.get(case.method, {})
    settings = {**case.settings, **other.get("settings", {})}
    seen = replace(case, label="every draw seen", settings=settings, adversary="transcript")
    return replace(
        seen, runs=other.get("runs", case.runs), records=other.get("records", case.records)
    )


def released(cache: Path) -> tuple[Case, ...]:
    """All methods by what they release; two need a file of public pictures."""
    return (
        Case("pure", "tables.independent", 2, 2500, {"seed": 1}, schema=ONE, delta=0.0),
        Case("a delta given", "tables.independent", 4, 2000, {"seed": 1}, schema=ONE, delta=1e-2),
        Case("", "tables.marginals", 4, 2000, {"seed": 1}, schema=ONE),
        Case("", "tables.mcgen", 4, 2000, {"seed": 1, "set_size": 1}, schema=ONE),
        Case("importance paid", "tables.adaptive", 4, 1200, {"importance": "paid"}, schema=ONE),
        Case("one step", "learn.dpsgd", 4, 2500, {**STEPS, "epochs": 1.0, "learning_rate": 0.1}),
        Case(
            "8 steps, half of the records each",
            "learn.dpsgd",
            4,
            1500,
            {**STEPS, "epochs": 4.0, "expected_batch_size": 10, "learning_rate": 0.02},
        ),
        Case("", "learn.dynamic", 4, 1500, {**STEPS, "epochs": 4.0, "learning_rate": 0.02}),
        Case("", "learn.adlm", 4, 1000, {**STEPS, "epochs": 4.0, "learning_rate": 0.02}),
        Case("", "learn.recipe", 4, 1000, {"sample_rate": 1.0, "steps": 4, "learning_rate": 0.1}),
        Case(
            "head, random weights",
            "learn.finetune",
            4,
            120,
            {"weights": "random", "side": 32, "sample_rate": 1.0, "steps": 2},
        ),
        Case(
            "",
            "learn.pate",
            4,
            1000,
            {"public_data": _public(cache), "teachers": 2, "queries": 4, "components": 3},
        ),
        Case("metric", "learn.vmf", 4, 800, {"network": "dense", "steps": 2, "seed": 1}),
        Case("", "generators.merf", 4, 200, {**DRAWN, "features": 40, "steps": 20}),
        Case("", "generators.taught", 4, 800, {"samples": 24, "steps": 4, "seed": 1}),
        Case("", "generators.cvae", 4, 1000, PICTURED),
        Case("", "generators.dpgan", 4, 600, {**PICTURED, "critic_steps": 2, "batch": 24}),
        Case("", "tables.gan", 4, 600, {**ROWS, "critic_steps": 1, "batch": 20}, schema=ONE),
        Case("", "tables.augm", 4, 1500, {**ROWS, "rounds": 1}, schema=ONE),
        Case("", "learn.output", 4, 3000, {"regularisation": 0.5, "max_norm": 2.0}),
        Case("", "learn.objective", 4, 1000, {"regularisation": 0.5, "max_norm": 2.0}),
        Case("local", "learn.input", 4, 600, {"network": "dense", "epochs": 2, "seed": 1}),
        Case("local, whole image", "images.gaussian", 4, 2000, records=2),
        Case("local, 16-pixel part", "images.gaussian", 4, 2000, {"pixels": 16}, records=2),
        Case("local, 16-pixel part", "images.pixelate", 4, 2000, records=2),
        Case("", "generators.augm", 4, 1000, {**PICTURED, "samples": None}),
        Case("", "generators.vaegm", 4, 1000, {k: v for k, v in PICTURED.items() if k != "width"}),
        Case("", "generators.dp2vae", 4, 1000, PICTURED),
        Case("", "generators.sinkhorn", 4, 1200, {**PICTURED, "images_per_class": 4}),
        Case("", "generators.psg", 4, 1500, MATCHED),
        Case("", "generators.diffusion", 4, 200, DENOISED),
        Case("", "generators.gpate", 4, 1500, VOTED),
        Case("", "generators.datalens", 4, 1500, VOTED),
        Case("", "generators.dpmi", 4, 600, {**PICTURED, "public": _public(cache)}),
    )


def main() -> None:
    """Runs what is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after about so many")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "audit")
    parser.add_argument("--only", help="cases of one method")
    parser.add_argument("--page", action="store_true", help="write docs/audits.md and no more")
    asked = parser.parse_args()
    if not asked.page:
        _run(asked.cache, time.monotonic() + 60 * asked.minutes, asked.only)
    if not RESULTS.exists():
        return  # the first audit was stopped; its runs are kept
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")


def _run(cache: Path, until: float, only: str | None) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    done = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"audits": []}
    order = [text(case) for case in cases(cache)]
    held = kept(done["audits"], order)
    wanted = [c for c in cases(cache) if only is None or c.method == only]
    for case in wanted:
        if text(case) in held:
            continue
        if time.monotonic() > until:
            break
        found = _audit(case, cache, until)
        if found is None:
            break
        record = found.to_dict()
        record["settings"] = by_name(record["settings"])
        held[text(case)] = {"label": case.label, "case": case.key, **record}
        print(case.method, case.label, found.summary, f"{found.seconds:.0f} s", flush=True)
        audits = [held[key] for key in order if key in held]
        machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        report = {**machine, "versions": versions(), "audits": audits}
        RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def text(case: Case) -> str:
    """A case's key in one line."""
    return json.dumps(case.key, sort_keys=True)


def kept(audits: Sequence[Mapping[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    """The results whose cases are still what they were."""
    found = {json.dumps(one["case"], sort_keys=True): one for one in audits}
    return {key: found[key] for key in order if key in found}


class _Time(Exception):
    """There is none left; finished runs are on disk."""


def _audit(case: Case, cache: Path, until: float) -> Audit | None:
    def told(done: int, total: int, label: str) -> None:
        if time.monotonic() > until and done < total:
            raise _Time

    digest = hashlib.sha256(text(case).encode()).hexdigest()[:8]
    folder = cache / re.sub(r"\W+", "-", f"{case.method} {case.label} {digest}").strip("-")
    try:
        return audit(
            case.method,
            epsilon=case.epsilon,
            delta=case.delta,
            settings=case.settings,
            schema=case.schema or _facts(case.method),
            runs=case.runs,
            records=case.records,
            confidence=CONFIDENCE,
            adversary=case.adversary,
            folder=folder,
            device="cpu",
            progress=told,
        )
    except _Time:
        return None


def _facts(method: str) -> Any:
    from sfumato import registry

    cls: Any = registry.find("method", method)
    return neighbours.usual(cls.kinds)


def _public(cache: Path) -> str:
    """Pictures that nobody protects, in a file."""
    file = cache / "public.npz"
    if not file.exists():
        rng = np.random.default_rng(77)
        facts = neighbours.PICTURES
        images = rng.random((200, *facts.shape)).astype(np.float32)
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".npz", delete=False) as scratch:
            np.savez(
                scratch,
                images=images,
                labels=rng.integers(0, len(facts.classes), 200),
                classes=np.array(facts.classes),
            )
        os.replace(scratch.name, file)
    return str(file)


def table(found: Mapping[str, Any]) -> str:
    """The results as a table of the page; lower bounds are rounded down."""
    lines = [
        "| method | claimed ε | δ | audited: ε at least | if Gaussian | claimed µ | µ at least "
        "| runs | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found["audits"]:
        claim, label = one["claim"], f" ({one['label']})" if one["label"] else ""
        mu = "–" if claim["mu"] is None else f"{claim['mu']:.2f}"
        known = one["gaussian_epsilon"]
        as_gaussian = "–" if known is None else rounded_down(known, 2)
        mark = " **false**" if one["broken"] else ""
        lines.append(
            f"| `{one['subject']}`{label} | {claim['epsilon']:.2f}{mark} | {claim['delta']:g} "
            f"| {rounded_down(one['epsilon'], 2)} | {as_gaussian} | {mu} "
            f"| {rounded_down(one['mu'], 2)} "
            f"| {one['counts']['runs']} | {one['seconds']:.0f} |"
        )
    shown = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    absent = ", ".join(f"`{name}`" for name in missing(found))
    left = f"Not audited from outside: {absent}." if absent else "No method is missing."
    return "\n".join([*lines, "", f"At {CONFIDENCE:.0%} each. {shown}.", "", left])


def missing(found: Mapping[str, Any]) -> list[str]:
    """Registered methods with a guarantee that no result is of."""
    from sfumato import registry

    audited = {one["subject"] for one in found["audits"]}
    methods: Mapping[str, Any] = registry.load("method")
    return sorted(n for n, cls in methods.items() if cls.relation != "no" and n not in audited)


def rendered(text: str, found: Mapping[str, Any]) -> str:
    """The page with its table as it should be."""
    filled, places = re.subn(
        r"(<!-- audits -->\n).*?(<!-- /audits -->)",
        lambda match: f"{match[1]}{table(found)}\n{match[2]}",
        text,
        flags=re.DOTALL,
    )
    assert places == 1, "docs/audits.md has no place for the audits"
    return filled


if __name__ == "__main__":
    main()

"""The custodian's part of a report: figures computed on private rows.

Nothing in this module is reached when the public edition is built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sfumato.report import charts, verdicts, wording

if TYPE_CHECKING:
    from markupsafe import Markup

    from sfumato.attack.finding import Finding
    from sfumato.measure.evaluation import Evaluation
    from sfumato.measure.fidelity import Fidelity
    from sfumato.measure.marginals import MarginalError
    from sfumato.measure.score import Score, Utility
    from sfumato.release.release import Release
    from sfumato.report.bounds import Bounds
    from sfumato.report.memorised import Revealed

_JUDGED = {
    "data": {
        "lead": "Models trained on the release, judged on real rows it never saw.",
        "real": "p1, trained on real rows",
        "released": "p2, trained on the release",
    },
    "model": {
        "lead": "The released model, judged on real records it never saw.",
        "real": "p1, trained on real records without privacy",
        "released": "p2, the released model",
    },
}
_AFTER = {
    "data": ("rows after training on the release", "after training on real rows"),
    "model": ("records", "by the best model trained without privacy"),
}
_SHORT = {
    "p1": "real → real",
    "p2": "release → real",
    "p3": "real → release",
    "p4": "release → release",
}


def view(
    release: Release,
    evaluation: Evaluation,
    bounds: Bounds,
    *,
    disclosed: bool = False,
    revealed: Revealed | None = None,
) -> dict[str, Any]:
    """What the templates of the custodian's part are filled with.

    Args:
        release: What was published.
        evaluation: What was found about it.
        bounds: The guarantee in figures.
        disclosed: Whether the publisher decided to hand the evaluation over.
        revealed: Training pictures that the custodian asked to see.
    """
    from sfumato.report.compared import compared
    from sfumato.report.learns import learns
    from sfumato.report.memorised import memorised

    verdict = verdicts.attack_verdict(evaluation.findings)
    matrix = None if evaluation.utility is None else utility(evaluation.utility)
    return {
        "banner": _banner(disclosed, evaluation),
        "glance": _glance(evaluation),
        "verdicts": [_verdict(*verdict), *_utility_verdicts(evaluation.utility)],
        "attack_verdict": _verdict(*verdict),
        "learns": [learns(one) for one in evaluation.findings],
        "memorised": memorised(evaluation.findings, release, revealed),
        "findings": [finding(one) for one in evaluation.findings],
        "left_out": [{"name": name, "why": why} for name, why in evaluation.left_out.items()],
        "doubts": [f"{one[0].upper()}{one[1:]}." for one in evaluation.doubts],
        "confidence": _confidence(evaluation.findings),
        "rocs": [_roc(one, bounds) for one in evaluation.findings if one.roc],
        "matrix": matrix,
        "settings": [] if evaluation.utility is None else _settings(evaluation.utility),
        "judged": _JUDGED["data" if evaluation.utility is None else evaluation.utility.of],
        "utility_text": _utility_text(evaluation.utility),
        "utility_note": _utility_note(evaluation.utility),
        "marginals": None if evaluation.marginals is None else marginals(evaluation.marginals),
        "fidelity": None if evaluation.fidelity is None else fidelity(evaluation.fidelity),
        **compared(evaluation.distributions, getattr(release.facts, "target", None)),
    }


def finding(one: Finding) -> dict[str, Any]:
    """One attack's row."""
    tone, verdict = verdicts.finding_verdict(one)
    return {
        "name": one.attack,
        "metric": one.metric,
        "tone": tone,
        "verdict": verdict,
        "value": wording.figure(one.value),
        "interval": wording.interval(one.interval),
        "strip": _finding_strip(one),
        "chance": wording.figure(one.chance),
        "baseline": wording.figure(one.baseline),
        "beaten": verdicts.beaten(one),
        "ceiling": wording.bound(one.ceiling),
        "summary": one.summary,
    }


def utility(matrix: Utility) -> list[dict[str, Any]]:
    """One table for each metric: models down, p1 to p4 across."""
    tables = []
    first = headline_metric(matrix)
    for metric in sorted(matrix.metrics, key=lambda name: name != first):
        base = matrix.majority.get(metric)
        cells = [s for s in matrix.scores if s.metric == metric and s.value is not None]
        low, high = nice_range(
            [v for s in cells for v in (s.value, *(s.interval or ())) if v is not None]
            + ([] if base is None else [base])
        )
        rows = []
        for model in matrix.models:
            scores = {cell: matrix.score(model, cell, metric) for cell in _shown(matrix)}
            rows.append(
                {
                    "model": model,
                    "strip": _utility_strip(model, metric, list(scores.values()), base, low, high),
                    "cells": [
                        {
                            "setting": score.setting,
                            "value": wording.figure(score.value),
                            "interval": wording.interval(score.interval),
                            "main": score.setting == "p2",
                        }
                        for score in scores.values()
                    ],
                    "loss": _difference(scores["p1"].value, scores["p2"].value),
                }
            )
        said = "the commonest class" if matrix.task == "classification" else "the mean"
        shown = "undefined" if base is None else wording.figure(base)
        tables.append(
            {
                "name": metric[:1].upper() + metric[1:],
                "rows": rows,
                "majority": f"{shown}, always answering {said}",
            }
        )
    return tables


def fidelity(found: Fidelity) -> dict[str, Any]:
    """Likeness of released images to real ones: one row a figure."""
    return {
        "text": f"Over {found.images:,} images of each set, in the features of "
        f"{found.extractor}. Figures in other features, or over another number of images, "
        "cannot be compared with these.",
        "rows": [
            {"name": name, "value": wording.figure(value), "floor": wording.figure(floor)}
            for name, value, floor in (
                ("Fréchet distance (0: alike)", found.frechet, found.frechet_floor),
                ("Precision: released among real", found.precision, found.precision_floor),
                ("Recall: real among released", found.recall, found.recall_floor),
            )
        ],
    }


def marginals(errors: MarginalError, shown: int = 10) -> dict[str, Any]:
    """One-way errors by column, the largest first, and the two-way errors in a sentence."""
    worst = sorted(errors.one_way.items(), key=lambda item: -item[1])[:shown]
    _, high = nice_range([0.0, *errors.one_way.values(), *errors.one_way_floor.values()])
    text = (
        "Total variation distance between released and real marginals (0: equal, 1: nothing in "
        f"common). One column: {errors.one_way_mean:.3f} on average, {errors.one_way_max:.3f} at "
        "worst."
    )
    if errors.two_way_mean is not None and errors.two_way_max is not None:
        floor = (
            ""
            if errors.two_way_floor is None
            else (f" (a second real sample: {errors.two_way_floor:.3f})")
        )
        pair = " × ".join(errors.worst_pair)
        text += (
            f" Two columns: {errors.two_way_mean:.3f} on average{floor}, {errors.two_way_max:.3f} "
            f"at worst ({pair}), over {errors.pairs} of {errors.pairs_total} pairs."
        )
    rows = []
    for name, error in worst:
        floor_at = errors.one_way_floor.get(name)
        rows.append(
            {
                "name": name,
                "error": wording.figure(error),
                "floor": wording.figure(floor_at),
                "strip": charts.strip(
                    [charts.Mark(error, None, "released")],
                    low=0.0,
                    high=high,
                    title=f"Marginal error of {name}",
                    description=f"{error:.3f}; a second real sample {wording.figure(floor_at)}.",
                    chance=floor_at,
                    ticks=False,
                ),
            }
        )
    return {"text": text, "rows": rows}


def nice_range(values: Sequence[float]) -> tuple[float, float]:
    """Round ends of a scale that holds all values; rates stay within 0 and 1."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-3)))
    bottom = round(math.floor(low / step - 0.05) * step, 10)
    top = round(math.ceil(high / step + 0.05) * step, 10)
    if low >= 0:
        bottom = max(bottom, 0.0)
    if high <= 1:
        top = min(top, 1.0)
    return bottom, top


def _banner(disclosed: bool, evaluation: Evaluation) -> dict[str, str]:
    reason = "sections marked so are computed on private rows and are covered by no guarantee."
    if evaluation.sampled:
        parts = [
            f"{read:,} of {total:,} rows ({name})"
            for name, (read, total) in evaluation.sampled.items()
        ]
        reason += f" They are about a sample: {', '.join(parts)}."
    if disclosed:
        return {
            "title": "Evaluation disclosed.",
            "text": "The publisher declared the evaluation public. Know that the "
            + reason.replace("marked so", "marked “keep inside”"),
        }
    return {"title": "Keep inside:", "text": reason.replace("marked so", "marked")}


def _glance(evaluation: Evaluation) -> dict[str, str]:
    ran = len(evaluation.findings)
    better = sum(f.better_than_chance for f in evaluation.findings)
    if any(f.breaks_guarantee for f in evaluation.findings):
        attacks = ("alarm", "an attack went above the ceiling")
    elif ran:
        unsure = sum(f.undecided for f in evaluation.findings)
        untold = f"; {unsure} not told from the baseline" if unsure else ""
        attacks = (f"{better} of {ran}", f"did better than chance and baseline{untold}")
    else:
        attacks = ("none", "no attack was run")
    utility = ("–", "not measured")
    if evaluation.utility is not None:
        metric = headline_metric(evaluation.utility)
        real = evaluation.utility.best("p1", metric).value
        released = evaluation.utility.best("p2", metric).value
        after = _AFTER[evaluation.utility.of]
        utility = (
            wording.figure(released),
            f"{metric} on real {after[0]}; {wording.figure(real)} {after[1]}",
        )
    return {
        "attacks": attacks[0],
        "attacks_means": attacks[1],
        "utility": utility[0],
        "utility_means": utility[1],
    }


def headline_metric(matrix: Utility) -> str:
    """The metric that class frequencies flatter least, where it is there."""
    for name in ("AUROC", "balanced accuracy"):
        if name in matrix.metrics and matrix.best("p2", name).value is not None:
            return name
    return matrix.metrics[0]


def _utility_verdicts(matrix: Utility | None) -> list[dict[str, str]]:
    text = _utility_text(matrix)
    return [_verdict("none", text)] if text else []


def _utility_text(matrix: Utility | None) -> str:
    if matrix is None:
        return ""
    metric = headline_metric(matrix)
    real, released = matrix.best("p1", metric), matrix.best("p2", metric)
    if real.value is None or released.value is None:
        return f"{metric} is undefined for this release."
    base = matrix.majority.get(metric)
    return verdicts.utility_verdict(metric, real.value, released.value, base, matrix.of)


def _utility_note(matrix: Utility | None) -> str:
    if matrix is None:
        return ""
    counts = matrix.records
    named = {"train": "real for training", "released": "released", "test": "real for testing"}
    used = ", ".join(f"{wording.count(counts[k])} {v}" for k, v in named.items() if k in counts)
    notes = [
        f"Intervals: {wording.level(matrix.confidence)}, over the drawing of the test records; "
        "the training is not in them.",
        f"Records used: {used}." if used else "",
        *matrix.notes,
    ]
    return " ".join(note for note in notes if note)


def _shown(matrix: Utility) -> list[str]:
    """The settings that anything was measured in; the first two always."""
    measured = {score.setting for score in matrix.scores}
    return [cell for cell in _SHORT if cell in measured or cell in ("p1", "p2")]


def _settings(matrix: Utility) -> list[dict[str, str]]:
    from sfumato.measure.score import SETTINGS

    if matrix.of == "model":
        means = {"p1": "trained without privacy", "p2": "the released model"}
        return [{"name": k, "means": v, "short": v} for k, v in means.items()]
    return [
        {"name": cell, "means": SETTINGS[cell], "short": _SHORT[cell]} for cell in _shown(matrix)
    ]


def _verdict(tone: str, text: str) -> dict[str, str]:
    return {"tone": tone, "text": text}


def _confidence(findings: Sequence[Finding]) -> str:
    levels = sorted({wording.level(one.confidence) for one in findings})
    return " or ".join(levels)


def _finding_strip(one: Finding) -> Markup:
    values = [one.value, *one.interval, one.chance]
    values += [v for v in (one.baseline, one.ceiling) if v is not None]
    low, high = nice_range(values)
    said = [f"{one.metric} {wording.figure(one.value)}, interval {wording.interval(one.interval)}"]
    said.append(f"chance {wording.figure(one.chance)}")
    if one.baseline is not None:
        said.append(f"baseline {wording.figure(one.baseline)} {verdicts.beaten(one)}".rstrip())
    if one.ceiling is not None:
        said.append(f"ceiling {wording.bound(one.ceiling)}")
    return charts.strip(
        [charts.Mark(one.value, one.interval, "attack")],
        low=low,
        high=high,
        title=one.attack,
        description="; ".join(said) + ".",
        chance=one.chance,
        baseline=one.baseline,
        ceiling=one.ceiling,
    )


def _utility_strip(
    model: str, metric: str, scores: list[Score], base: float | None, low: float, high: float
) -> Markup:
    marks = [
        charts.Mark(score.value, score.interval, kind)
        for score, kind in zip(scores[:2], ("real", "released"), strict=True)
        if score.value is not None
    ]
    said = ", ".join(f"{s.setting} {wording.figure(s.value)}" for s in scores[:2])
    return charts.strip(
        marks,
        low=low,
        high=high,
        title=f"{model}, {metric}",
        description=f"{said}, baseline {wording.figure(base)}.",
        chance=base,
        width=190,
    )


def _roc(one: Finding, bounds: Bounds) -> dict[str, Any]:
    # A finding without a ceiling attacks something that this curve does not bound.
    curve = bounds.curve if one.ceiling is not None else ()
    return {
        "name": one.attack,
        "linear": charts.roc(curve, one.roc, name=one.attack),
        "log": charts.roc(curve, one.roc, log=True, name=one.attack),
        "note": wording.by_luck(one),
    }


def _difference(real: float | None, released: float | None) -> str:
    if real is None or released is None:
        return "–"
    return f"{real - released:+.3f}".replace("-", "−")

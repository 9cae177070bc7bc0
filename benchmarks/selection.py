"""What a private selection costs in trials, and the noise of its comparison; nothing is trained.

    python benchmarks/selection.py

The whole budget in epsilons of one trial, both at one delta, for trials that are Gaussian noise:
by the expected number of trials (geometric), beside as many in a plain list, whose results may all
be told. Then the noise of the comparison of generator feedback for 60,000 pictures of 28 x 28, with
an expected five trials and a tenth of the records set aside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from sfumato import registry
from sfumato.api.selecting import Feedback
from sfumato.data import ImageSchema
from sfumato.privacy import accounting, events
from sfumato.privacy.budget import Budget
from sfumato.privacy.calibration import analytic_gaussian_mu
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.selection import Selection
from sfumato.versions import versions

DELTAS = (1e-5, 1e-3)
EPSILONS = (0.1, 0.3, 1.0, 4.0, 10.0)
TRIALS = (1, 5, 10, 20, 30, 100, 1000)
CANDIDATES = ("generators.merf", "generators.dpgan")
RECORDS = 60_000


def cost(epsilon: float, delta: float, trials: int) -> dict[str, Any]:
    """The largest Gaussian trial of which so many fit into the budget, and what that comes to."""

    def trial(at: float) -> Any:
        return events.GaussianDpEvent(1 / analytic_gaussian_mu(Budget(at, delta)))

    def spent(event: Any) -> float:
        return accounting.epsilon(event, delta, Neighbours.ADD_REMOVE)

    low, high = epsilon / 100, epsilon
    for _ in range(25):
        middle = (low + high) / 2
        fits = spent(events.SelectedDpEvent([trial(middle)], trials)) <= epsilon
        low, high = (middle, high) if fits else (low, middle)
    return {
        "epsilon": epsilon,
        "delta": delta,
        "expected_trials": trials,
        "times_a_trial": round(epsilon / low, 3),
        "times_a_trial_in_a_list": round(spent(events.repeat(trial(low), trials)) / low, 3),
    }


def comparison(name: str, epsilon: float) -> dict[str, Any]:
    """What a selection among one candidate plans."""
    facts = ImageSchema(1, 28, 28, tuple("0123456789")).with_records(RECORDS)
    candidate = registry.build("method", name, {"device": "cpu"})
    made = Selection((candidate,), Feedback(), 1.0).calibrate(Budget(epsilon, 1e-5), facts)
    plan, guarantee = made.plan["selected"], made.guarantee.to_dict()
    names = ("trial_epsilon", "times_a_trial", "times_a_trial_in_a_list", "comparison_stddev")
    found = {key: round(plan[key], 5) for key in names}
    return {"candidate": name, "epsilon": epsilon, "relation": guarantee["neighbours"], **found}


def main() -> None:
    """Writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/selection.json"))
    args = parser.parse_args()
    report = {
        "command": "python benchmarks/selection.py",
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions(),
        "costs": [cost(e, d, n) for d in DELTAS for e in EPSILONS for n in TRIALS],
        "comparisons": [comparison(name, e) for name in CANDIDATES for e in (1.0, 10.0)],
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""One run of anonymeter's evaluators, in its own environment.

    PEER/bin/python benchmarks/anonymeter_peer.py FOLDER '{"holders": ..., "secret": ..., ...}'

FOLDER holds ori.parquet, control.parquet and syn.parquet. Prints JSON on the last line.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path


def main() -> None:
    import numpy as np
    import pandas as pd
    from anonymeter.evaluators import (
        InferenceEvaluator,
        LinkabilityEvaluator,
        SinglingOutEvaluator,
    )
    from anonymeter.evaluators.singling_out_evaluator import univariate_singling_out_queries

    warnings.simplefilter("ignore")
    folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
    ori, control, syn = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("ori", "control", "syn")
    )
    np.random.seed(given["seed"])  # noqa: NPY002  (the library draws from it)
    sides = {"ori": ori, "syn": syn, "control": control}
    found: dict[str, object] = {}

    def keep(name: str, evaluator: object, **how: object) -> None:
        started = time.perf_counter()
        evaluator.evaluate(**how)  # type: ignore[attr-defined]
        own = evaluator.results(confidence_level=0.95)  # type: ignore[attr-defined]
        risk = own.risk()
        found[name] = {
            "members": round(own.attack_rate.value, 4),
            "control": round(own.control_rate.value, 4),
            "naive": round(own.baseline_rate.value, 4),
            "risk": round(risk.value, 4),
            "interval": [round(float(end), 4) for end in risk.ci],
            "seconds": round(time.perf_counter() - started, 2),
        }

    for mode in ("univariate", "multivariate"):
        asked = {"n_cols": 3, "seed": given["seed"]}
        evaluator = SinglingOutEvaluator(**sides, n_attacks=500, **asked)
        keep(f"singling out, {mode}, of 500 asked for", evaluator, mode=mode)
        if mode == "univariate":
            # The library divides by the attempts asked for, also where it found fewer to make.
            rng = np.random.default_rng(given["seed"])
            made = len(univariate_singling_out_queries(evaluator._syn, 500, rng))
            evaluator = SinglingOutEvaluator(**sides, n_attacks=made, **asked)
            keep(f"singling out, {mode}", evaluator, mode=mode)
        else:
            found[f"singling out, {mode}"] = found.pop(f"singling out, {mode}, of 500 asked for")
    holders = tuple(given["holders"])
    attacks = {"n_attacks": len(control)}
    keep("linkability", LinkabilityEvaluator(**sides, aux_cols=holders, **attacks), n_jobs=1)
    known = [name for name in ori.columns if name != given["secret"]]
    evaluator = InferenceEvaluator(
        **sides, aux_cols=known, secret=given["secret"], regression=False, **attacks
    )
    keep("inference", evaluator, n_jobs=1)
    names = ("anonymeter", "numba")
    found["versions"] = {name: metadata.version(name) for name in names}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

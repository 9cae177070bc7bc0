"""One run of a peer's synthesiser, in the peer's own environment.

    PEER/bin/python benchmarks/marginals_peer.py smartnoise mst 1.0 1e-6 0 IN.npz OUT.npz '{}'

Takes cells that are public functions of the schema, the same that our method gets; gives cells.
The last argument is JSON: ``settings`` of the peer, and limits of this process, ``cpu_seconds``
and ``memory_mebibytes`` (of address space). Every peer is told the number of rows to draw.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import Any

SIZE = "max_model_size"  # with n_jobs and compress a setting of dpmm's pipelines, not synthesisers


def smartnoise(name: str, given: dict[str, Any], cells: Any, levels: Any) -> Any:
    """Its domain is derived from the rows: free for smartnoise here, and should not be."""
    import numpy as np
    import pandas as pd
    from snsynth import Synthesizer

    np.random.seed(given["seed"])  # noqa: NPY002  (the peer draws from it)
    frame = pd.DataFrame(cells, columns=[f"c{j}" for j in range(cells.shape[1])])
    budget = {"epsilon": given["epsilon"], "delta": given["delta"]}
    made = Synthesizer.create(name, **budget, **given["settings"])
    made.fit(frame, preprocessor_eps=0.0, categorical_columns=list(frame.columns))
    return made.sample(len(cells))


def dpmm(name: str, given: dict[str, Any], cells: Any, levels: Any) -> Any:
    """The public domain is given to dpmm: it needs no binning of its own."""
    import pandas as pd
    from dpmm.pipelines import AIMPipeline, MSTPipeline, PrivBayesPipeline

    pipelines = {"mst": MSTPipeline, "aim": AIMPipeline, "privbayes": PrivBayesPipeline}
    columns = [f"c{j}" for j in range(cells.shape[1])]
    frame = pd.DataFrame(cells.astype("int64"), columns=columns)
    domain = dict(zip(columns, map(int, levels), strict=True))
    budget = {"epsilon": given["epsilon"], "delta": given["delta"]}
    settings = {"n_jobs": 1} | given["settings"]  # one processor, as ours
    own = {key: settings.pop(key) for key in settings.keys() - {"n_jobs", "compress", SIZE}}
    made = pipelines[name](**budget, **settings, gen_kwargs=own, disable_processing=True)
    made.fit(frame, domain=domain, random_state=given["seed"])
    return made.generate(n_records=len(cells), random_state=given["seed"])[columns]


def limit(cpu_seconds: float | None, memory_mebibytes: int | None) -> None:
    """Ends this process by an exception where it takes more of either."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {cpu_seconds:g} s of processor time")

    if cpu_seconds:
        signal.signal(signal.SIGXCPU, stop)
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 60))
    if memory_mebibytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mebibytes << 20, memory_mebibytes << 20))


def main() -> None:
    peer, name, epsilon, delta, seed, private, released, more = sys.argv[1:9]
    import numpy as np

    told = json.loads(more)
    limit(told.get("cpu_seconds"), told.get("memory_mebibytes"))
    given = {"epsilon": float(epsilon), "delta": float(delta), "seed": int(seed)}
    given["settings"] = told.get("settings", {})
    cells, levels = (np.load(private)[part] for part in ("rows", "levels"))
    made = {"smartnoise": smartnoise, "dpmm": dpmm}[peer](name, given, cells, levels)
    drawn = np.asarray(made).astype(np.int32)
    if drawn.shape != cells.shape or drawn.min() < 0 or (drawn.max(axis=0) >= levels).any():
        raise ValueError(f"{peer} {name} gave cells outside the domain")
    np.savez_compressed(released, rows=drawn)


if __name__ == "__main__":
    main()

"""One run of a peer's synthesiser, in the peer's own environment.

    PEER/bin/python benchmarks/marginals_peer.py mst 1.0 0 private.npz released.npz

Takes cells that are public functions of the schema, the same that our method gets; gives cells.
The peer derives its domain from the rows it sees, which is free for it here and should not be.
"""

from __future__ import annotations

import sys


def main() -> None:
    name, epsilon, delta, seed, private, released = sys.argv[1:7]
    import numpy as np
    import pandas as pd
    from snsynth import Synthesizer

    rows = np.load(private)["rows"]
    np.random.seed(int(seed))  # noqa: NPY002  (the peer draws from it)
    frame = pd.DataFrame(rows, columns=[f"c{j}" for j in range(rows.shape[1])])
    made = Synthesizer.create(name, epsilon=float(epsilon), delta=float(delta))
    made.fit(frame, preprocessor_eps=0.0, categorical_columns=list(frame.columns))
    drawn = np.asarray(made.sample(len(rows))).astype(np.int32)
    np.savez_compressed(released, rows=drawn)


if __name__ == "__main__":
    main()

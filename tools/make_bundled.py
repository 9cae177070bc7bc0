"""Makes the data files that come inside the package, from their public originals.

    python tools/make_bundled.py CENSUS_FOLDER

CENSUS_FOLDER holds ``census_income_train.parquet`` and ``census_income_test.parquet``. The rows
taken are the first ones of a fixed public permutation: row numbers in order of their hash.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

from sfumato.data.sources import row_hashes

BUNDLED = Path(__file__).parent.parent / "src" / "sfumato" / "data" / "bundled"
SEED = 0
CENSUS_ROWS = {"train": 20_000, "test": 5_000}
DIGITS_TRAIN = 1437


def permutation(rows: int) -> np.ndarray:
    """Row numbers in the order of their hash."""
    return np.argsort(row_hashes(SEED, 0, rows), kind="stable")


def census_sample(folder: Path) -> None:
    """The first rows of the permuted census, all columns, without pandas' metadata."""
    for split, rows in CENSUS_ROWS.items():
        whole = pq.read_table(folder / f"census_income_{split}.parquet").replace_schema_metadata()
        sample = whole.take(pa.array(permutation(whole.num_rows)[:rows]))
        pq.write_table(
            sample,
            BUNDLED / f"census_sample_{split}.parquet",
            compression="zstd",
            compression_level=19,
            use_dictionary=True,
            write_statistics=False,
            store_schema=False,
        )


def digits() -> None:
    """scikit-learn's digits as they are, 0..16, the training part first."""
    data = load_digits()
    order = permutation(len(data.target))
    np.savez_compressed(
        BUNDLED / "digits.npz",
        allow_pickle=False,
        images=data.images[order].astype(np.uint8),
        labels=data.target[order].astype(np.uint8),
        train=np.int64(DIGITS_TRAIN),
    )


if __name__ == "__main__":
    census_sample(Path(sys.argv[1]))
    digits()
    for file in sorted(BUNDLED.iterdir()):
        print(f"{file.stat().st_size:>9} {file.name}")

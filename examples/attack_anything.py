"""Attack what other software made: a table without a card, and a model of scikit-learn.

The "anonymised" table drops nobody and blurs ages by a year; the forest learns its training rows by
heart. Both are attacked with members and non-members of the census sample. Run as it stands.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import sfumato
from sfumato.data import load_data

ATTACKS = ["membership.distance", "anonymeter.linkability"]


def main(folder: Path) -> None:
    """Writes the table into ``folder`` and says what attackers got out of it and of the model."""
    members, others = load_data("dataset:census-sample").split(0.5, seed=0)
    members, others = members.head(1000), others.head(1000)
    blurred = members.to_pandas()
    noise = np.random.default_rng(0).integers(-1, 2, len(blurred))
    blurred["age"] = (blurred["age"] + noise).clip(0, 90)
    blurred.to_csv(folder / "anonymised.csv", index=False)
    table = sfumato.attack(
        folder / "anonymised.csv",
        members=members,
        non_members=others,
        schema=members.schema.with_records(None),
        attacks=ATTACKS,
    )

    rows = members.to_pandas()
    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(handle_unknown="ignore")
    )
    numbers = make_column_selector(dtype_include="number")
    kinds = make_column_transformer(
        (SimpleImputer(), numbers), (texts, make_column_selector(dtype_exclude="number"))
    )
    model = make_pipeline(kinds, RandomForestClassifier(random_state=0))
    model.fit(rows.drop(columns="income"), rows["income"])
    known = sfumato.attack(model, members=members, non_members=others, attacks=["membership.loss"])
    for finding in [*table, *known]:
        print(f"{finding.attack}: {finding.summary}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sfumato-")))

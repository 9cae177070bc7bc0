"""Real beside released: what the custodian's evaluation holds of both."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfumato.report import charts, wording
from sfumato.report.released import Multiple, Picture, drawing, picture

_MISSING = "(missing)"
_GAP = 1  # pixels between the pictures of a sheet


def compared(values: Mapping[str, Any], target: str | None) -> dict[str, Any]:
    """Drawings of real against released distributions.

    Args:
        values: What :mod:`sfumato.measure.distributions` made; empty where nothing was compared.
        target: The column to predict, shown first.

    Returns:
        What the template needs: ``distributions``, ``means`` and the sentences around them.
    """
    kind = values.get("kind")
    if kind == "table":
        columns = sorted(values["columns"], key=lambda column: column["name"] != target)
        return {
            "distributions": [_column(c, target=c["name"] == target) for c in columns],
            "distributions_text": "Each column as it was released, beside the same of the rows it "
            "was made from.",
            "means": [],
        }
    if kind == "images":
        balance = {
            "name": "classes",
            "ordered": False,
            "labels": values["classes"],
            "real": values["real"],
            "released": values["released"],
            "tvd": sum(abs(a - b) for a, b in zip(values["real"], values["released"], strict=True))
            / 2,
        }
        return {
            "distributions": [_column(balance)],
            "distributions_text": "The first released pictures of each class, and then the mean "
            "of each class, of real and of released pictures. Of real pictures nothing else is "
            "shown.",
            "means": _means(values),
        }
    return {"distributions": [], "distributions_text": "", "means": []}


def _column(column: Mapping[str, Any], *, target: bool = False) -> Multiple:
    labels = [str(label) for label in column["labels"]]
    made, real = list(column["released"]), list(column["real"])
    note = f"TVD {wording.figure(column['tvd'])}"
    if column["ordered"] and labels[-1] == _MISSING:
        note += f", missing {charts.percent_tick(made[-1])} (real {charts.percent_tick(real[-1])})"
        labels, made, real = labels[:-1], made[:-1], real[:-1]
    name = str(column["name"])
    drawn = drawing(name, labels, made, real, ordered=bool(column["ordered"]))
    return Multiple(name, note, drawn, target)


def _means(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each class the mean of its real and of its released pictures."""
    real, made = _cut(values["real_means"]), _cut(values["released_means"])
    rows: list[dict[str, Any]] = []
    classes: Sequence[str] = values["real_means"]["labels"]
    for index, name in enumerate(classes):
        shares = (values["real"][index], values["released"][index])
        rows.append(
            {
                "label": name,
                "note": f"{charts.percent_tick(shares[0])} real, "
                f"{charts.percent_tick(shares[1])} released",
                "images": [
                    _mean(real[index], f"mean of the real pictures of class {name}"),
                    _mean(made[index], f"mean of the released pictures of class {name}"),
                ],
            }
        )
    return rows


def _mean(pixels: Any, alt: str) -> Picture:
    return picture(pixels[None], label="", note="", alt=alt, columns=1)


def _cut(sheet: Mapping[str, Any]) -> list[Any]:
    """The pictures of a sheet with one column: (c, h, w) in [0, 1] each."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(sheet["png"]))) as image:
        pixels = np.asarray(image, dtype=np.float32) / 255
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    rows = int(sheet["rows"])
    height = (pixels.shape[1] - _GAP) // rows - _GAP
    starts = [_GAP + row * (height + _GAP) for row in range(rows)]
    return [pixels[:, top : top + height, _GAP:-_GAP] for top in starts]

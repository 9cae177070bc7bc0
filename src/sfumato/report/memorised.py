"""Released pictures beside what they may reproduce: a custodian's page, never a public one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.errors import InputError
from sfumato.report import wording
from sfumato.report.released import Picture, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release

ATTACK = "memorisation.nearest"


@dataclass(frozen=True)
class Revealed:
    """Private pictures that a custodian asked to see, beside the released ones.

    Args:
        training: (k, c, h, w) the training picture nearest to each of the finding's closest.
        held_out: (k, c, h, w) the held-out picture nearest to it.
    """

    training: NDArray[np.float32]
    held_out: NDArray[np.float32]


def memorised(
    findings: Sequence[Finding], release: Release, revealed: Revealed | None
) -> dict[str, Any] | None:
    """What a page shows of memorised pictures; None where they were not looked for.

    Without ``revealed`` only released pictures are drawn, with distances.

    Raises:
        InputError: If pictures are revealed that belong to no finding.
    """
    from sfumato.attack.finding import CLOSEST

    found = next((one for one in findings if one.attack == ATTACK), None)
    if found is None or release.artefact.kind != "images":
        if revealed is not None:
            raise InputError(
                "training pictures were to be revealed, and none were compared",
                f"Run the attack {ATTACK} on a release of pictures.",
            )
        return None
    images: Any = release.data
    closest = list(found.details.get(CLOSEST, ()))  # not in what is disclosed
    if revealed is not None and len(revealed.training) != len(closest):
        raise InputError("other pictures were revealed than the finding names", "Attack again.")
    rows = np.array([int(one["released"]) for one in closest], dtype=np.int64)
    shown = images.select(rows).images
    drawn = []
    for place, (one, image) in enumerate(zip(closest, shown, strict=True)):
        beside = [image]
        if revealed is not None:
            beside += [revealed.training[place], revealed.held_out[place]]
        label = images.schema.classes[int(images.labels[rows[place]])]
        drawn.append(_drawn(one, np.stack(beside), str(label)))
    share = found.details["released"]
    held_out = found.details.get("held_out", found.details["targets"])  # one number in old ones
    return {
        "rows": [
            {
                "name": "Released pictures that reproduce a training picture",
                "value": f"{share['memorised']:,} of {share['compared']:,}",
                "share": f"{share['share']:.2%}",
                "interval": f"{share['interval'][0]:.2%} to {share['interval'][1]:.2%}",
            },
            {
                "name": "The same of held-out pictures (control)",
                "value": "–",
                "share": f"{share['control']:.2%}",
                "interval": "–",
            },
        ],
        "text": (
            "A released picture counts as memorised if its distance to one training picture is at "
            f"most {found.details['ratio']:g} times its distance to the nearest of "
            f"{held_out:,} pictures that were never used. Distances are root mean "
            "squared differences of pixels; a quotient near 1 is what fresh pictures have."
        ),
        "closest": drawn,
        "revealed": revealed is not None,
        "confidence": wording.level(found.confidence),
    }


def _drawn(one: dict[str, Any], images: NDArray[Any], label: str) -> Picture:
    inside, outside = wording.figure(one["training"]), wording.figure(one["held_out"])
    many = "beside the nearest training and held-out pictures" if len(images) > 1 else "alone"
    return picture(
        images,
        label=f"{one['quotient']:.2f}",
        note=f"{inside} to training, {outside} to held-out",
        alt=f"released picture of class {label}, {many}; quotient {one['quotient']:.2f}",
        columns=len(images),
    )

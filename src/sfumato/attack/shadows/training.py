"""Training a group of networks, each on its own records, in one computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.shadows.networks import Network
from sfumato.errors import InputError
from sfumato.measure import cnn

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.attack.shadows.design import Rows

GROUPS = {cnn.CONVOLUTIONAL: 1, cnn.DENSE: 8, cnn.LINEAR: 8}
"""How many networks of a family are trained at once; more bring no speed (see the benchmark)."""


@dataclass(frozen=True)
class Recipe:
    """How a shadow model is trained: as :func:`sfumato.measure.cnn.classifier` trains.

    Adam with learning rate 0.002 and cosine decay, batches of 128, the last checkpoint.

    Args:
        family: ``"small CNN"``, ``"MLP"`` or ``"logistic regression"``.
        epochs: Passes over a model's records; more where they are few.
        group: How many models are one computation, which bounds memory; 0 takes the family's own.

    Raises:
        InputError: If a setting is out of range.
    """

    family: str = cnn.CONVOLUTIONAL
    epochs: int = 3
    group: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("group", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}", f"Give a whole number from {least}.")

    @property
    def at_once(self) -> int:
        """How many models are trained at once."""
        return self.group or GROUPS.get(self.family, 1)


@dataclass(frozen=True)
class Trained:
    """A group of trained networks.

    Args:
        weights: Stacked along the first axis, as :meth:`Network.initial` gives them.
        centre: (m,) what is subtracted from each network's records.
        spread: (m,) what they are then divided by.
    """

    weights: dict[str, Tensor]
    centre: Tensor
    spread: Tensor


def train(
    network: Network,
    recipe: Recipe,
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    rows: Rows,
    seeds: Sequence[int],
    *,
    most_steps: int | None = None,
) -> Trained:
    """Trains one network a seed on its own rows.

    Each is what :func:`sfumato.measure.cnn.classifier` would train on those rows with that seed,
    up to rounding: same first weights, same order of records, same steps.

    Args:
        network: What is trained.
        recipe: How.
        inputs: (n, *shape) of all records.
        labels: (n,) class numbers.
        rows: (m, k) row numbers of each network.
        seeds: m seeds, of the first weights and of the order.
        most_steps: Stops early; for measuring how long a step takes.
    """
    import torch
    from torch.nn import functional

    k = rows.shape[1]
    weights = {name: w.requires_grad_() for name, w in network.initial(seeds).items()}
    scales = [
        (float(some.mean()), float(some.std()) or 1.0) for some in (inputs[own] for own in rows)
    ]
    centre, spread = (torch.tensor(of, dtype=torch.float32) for of in zip(*scales, strict=True))
    pool, classes = torch.from_numpy(inputs), torch.from_numpy(labels)
    passes, steps_a_pass = cnn.passes_over(k, recipe.epochs), -(-k // cnn.BATCH)
    optimiser = torch.optim.Adam(weights.values(), lr=cnn.RATE, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, passes * steps_a_pass)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    done = 0
    for _ in range(passes):
        order = np.stack([own[rng.permutation(k)] for own, rng in zip(rows, rngs, strict=True)])
        for start in range(0, k, cnn.BATCH):
            taken = torch.from_numpy(order[:, start : start + cnn.BATCH])
            records = scaled(pool[taken], centre, spread)
            guesses = network.scores(weights, records)
            # The networks share nothing, so the gradient of the sum is that of each.
            loss = functional.cross_entropy(
                guesses.reshape(-1, network.classes), classes[taken].reshape(-1), reduction="sum"
            )
            optimiser.zero_grad()
            (loss / taken.shape[1]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            decay.step()
            done += 1
            if done == most_steps:
                return Trained(weights, centre, spread)
    return Trained({name: w.detach() for name, w in weights.items()}, centre, spread)


def scaled(records: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """Records (m, n, ...) as each of m networks takes them."""
    shape = (-1, *(1,) * (records.ndim - 1))
    return (records - centre.reshape(shape)).div_(spread.reshape(shape))

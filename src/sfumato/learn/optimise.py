"""Private gradients for a training loop of one's own, calibrated in one call.

private = make_private(module, optimizer, data, Budget(3.0, 1e-5), loss=loss,
                       expected_batch_size=512, epochs=20)
for progress in private:         # p.grad is set: clipped, noised, divided by 512
    optimizer.step()

Noise that falls, or that is correlated between steps, is one parameter more: ``noise``, a plan of
:mod:`sfumato.learn.plans`.
"""

from __future__ import annotations

import math
import warnings
from numbers import Integral
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import SGD, Optimizer

from sfumato.errors import InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Clipping, Flat
from sfumato.learn.contracts import Augment, EngineMaker, Loss
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.plans import EvenNoise, NoisePlan
from sfumato.learn.ranks import Ranks
from sfumato.learn.records import Data, records_of
from sfumato.learn.toeplitz import Workload
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.ledger import Ledger
    from sfumato.privacy.noise import NoiseSource


def make_private(
    module: nn.Module,
    optimizer: Optimizer,
    data: Data,
    budget: Budget,
    *,
    loss: Loss,
    expected_batch_size: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    clipping: Clipping | AdaptiveQuantile | None = None,
    noise: NoisePlan | None = None,
    neighbours: Neighbours = Neighbours.ADD_REMOVE,
    records: int | None = None,
    max_batch_size: int | None = None,
    physical_batch_size: int = 1024,
    augment: Augment | None = None,
    ledger: Ledger | None = None,
    label: str = "",
    source: NoiseSource | None = None,
    engine: EngineMaker | None = None,
    ranks: Ranks | None = None,
) -> PrivateLoop:
    """A loop over private gradients that spends ``budget`` in all.

    Args:
        module: As for :class:`PrivateLoop`, like every argument not named here.
        optimizer: Of its parameters.
        data: Tensors, a data set or a loader. A loader's batches are *drawn anew* by Poisson
            sampling, with its batch size as the expected one: no accountant covers shuffling.
        budget: What all steps together may spend.
        loss: One loss for each example.
        expected_batch_size: Records a step, on average; a loader's batch size by default.
        steps: How many; or else
        epochs: how often a record is seen, on average.
        clipping: ``Flat(1.0)`` by default.
        noise: How it goes from step to step: ``EvenNoise()`` (DP-SGD) by default,
            ``ScheduledNoise`` or ``BandedNoise``. Bands are chosen for the momentum of ``SGD``.
        neighbours: The relation of the budget.
        records: The public number of records; by default the number of rows, which is then taken
            to be public (under add-remove, too, where the relation itself would hide it).
        max_batch_size: Cuts larger samples; see ``TruncatedPoissonSampling``.
        physical_batch_size: Records in memory at a time.
        augment: Random changes to examples.
        ledger: Debited before the first draw. None: nothing remembers what is spent, and a
            warning says so.
        label: A name for the ledger.
        source: For tests.
        engine: Gives clipped sums.
        ranks: The processes that train as one; all by default.

    Raises:
        InputError: If a setting is missing or contradicts another.
    """
    for name, given, wrong, remedy in (
        ("budget", budget, tuple | int | float, "Give sfumato.Budget(epsilon, delta)."),
        ("clipping", clipping, int | float, "Give a clipping, such as Flat(1.0)."),
        ("noise", noise, int | float, "Give a plan, such as EvenNoise()."),
    ):
        if isinstance(given, wrong):
            numbers = given if isinstance(given, tuple) else (given,)
            plain = all(isinstance(number, int | float) for number in numbers)
            # Of arguments in a wrong order it may be the data, which are not shown.
            shown = repr(given) if plain else f"a {type(given).__name__}"
            raise InputError(f"the {name} is {shown}", remedy)
    found, of_loader = records_of(data)
    size = of_loader if expected_batch_size is None else expected_batch_size
    if size is None:
        raise InputError("there is no batch size", "Give expected_batch_size.")
    public = len(found) if records is None else records
    mechanism = (noise or EvenNoise()).calibrate(
        budget,
        records=public,
        expected_batch_size=size,
        steps=_steps(steps, epochs, public / size),
        clipping=Flat(1.0) if clipping is None else clipping,
        neighbours=neighbours,
        max_batch_size=max_batch_size,
        workload=_workload(optimizer),
    )
    loop = PrivateLoop(
        module,
        optimizer,
        loss,
        data,
        mechanism,
        physical_batch_size=physical_batch_size,
        augment=augment,
        ledger=ledger,
        label=label,
        source=source,
        engine=engine,
        ranks=ranks,
    )
    if not loop.pays:
        warnings.warn(
            "no ledger was given: nothing will remember what this training spends; pass "
            "ledger=Ledger.open(path)",
            stacklevel=2,
        )
    return loop


def _steps(steps: int | None, epochs: float | None, an_epoch: float) -> int:
    if (steps is None) == (epochs is None):
        raise InputError("the length of the training is not clear", "Give either steps or epochs.")
    if steps is not None:
        return int(steps) if isinstance(steps, Integral) else steps  # of numpy, too
    assert epochs is not None
    if not 0 < epochs < math.inf:
        raise InputError(f"the number of epochs is {epochs!r}", "Give a number above 0.")
    return max(1, round(epochs * an_epoch))


def _workload(optimizer: Optimizer) -> Workload:
    """The sums of gradients that the weights are: what is neither SGD nor alike is taken for it."""
    if not isinstance(optimizer, SGD):
        return Workload()
    return Workload(max(float(group["momentum"]) for group in optimizer.param_groups))

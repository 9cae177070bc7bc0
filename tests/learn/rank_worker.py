"""One of two processes that train as one, told what to do by the tests in ``test_distributed``.

Started as ``python rank_worker.py RANK MEETING_FILE``. It reads the name of a function below and
its arguments, and answers with what the function returns or with the error that it raised.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from sfumato.errors import SfumatoError
from sfumato.learn.accounted import Mechanism
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Flat, per_layer
from sfumato.learn.correlated import CorrelatedDpSgd
from sfumato.learn.directional import Directional
from sfumato.learn.directional_loop import DirectionalLoop
from sfumato.learn.dynamic import DynamicDpSgd
from sfumato.learn.engine import Engine
from sfumato.learn.grouped import GroupedSampling
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.noise import add_gaussian
from sfumato.learn.ranks import Alone
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.schedules import Linear
from sfumato.learn.team import Team
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource

ROWS = 64
CLIPPINGS = {
    "flat": Flat(0.5),
    "per layer": per_layer(["0.w", "2.w"], 0.5),
    "adaptive": AdaptiveQuantile(initial=0.5, count_stddev=2.0),
}


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def data(rows: int = ROWS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 6, generator=generator)
    return inputs, (inputs[:, 0] > 0).long()


def network(seed: int = 1) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def split(module: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in module.children():
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(module, mesh=mesh)


def mechanism(
    rate: float = 0.25, sigma: float = 1.0, steps: int = 6, kind: str = "flat"
) -> Mechanism:
    if kind == "dynamic":
        falling = Linear(2.0, 1.0)
        return DynamicDpSgd(
            PoissonSampling(ROWS, rate), Flat(1.0), falling, steps, 1e-5, clip_norms=falling
        )
    if kind == "correlated":
        sampling = GroupedSampling(ROWS, groups=2, rate=2 * rate)
        return CorrelatedDpSgd(sampling, Flat(0.5), sigma, steps, 1e-5, (1.0, 0.5))
    return DpSgd(PoissonSampling(ROWS, rate), CLIPPINGS[kind], sigma, steps, 1e-5)


def trainer(
    made: Mechanism | None = None,
    *,
    module: nn.Module | None = None,
    seed: int = 3,
    lr: float = 0.3,
    adam: bool = False,
    **settings: Any,
) -> PrivateTrainer:
    module = module or network()
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(module.parameters(), lr=lr)
        if adam
        else torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
    )
    settings = {"data": data(), "source": SeededSource(seed)} | settings
    return PrivateTrainer(module, loss, optimizer, made or mechanism(), **settings)


def flat(module: nn.Module) -> NDArray[np.float32]:
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in module.parameters()]
    return torch.cat([p.detach().ravel() for p in whole]).numpy()


def trained(kind: str = "flat", rate: float = 0.25, sharded: bool = False) -> dict[str, Any]:
    """A whole training, weights of each process's own at the start."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    module = network(seed=1 if sharded else 1 + rank)
    if sharded:
        module = split(module)
    one = trainer(mechanism(rate, kind=kind), module=module, averaging=0.5)
    one.fit()
    gradient = next(one.module.parameters()).grad
    assert one.average is not None
    last = flat(one.module)
    one.average.copy_to(one.module)
    return {
        "weights": last,
        "average": flat(one.module),
        "gradient": type(gradient).__name__,
        "clip_norm": one._loop.run.clip_norm,
        "taken": one.steps_taken,
        "epsilon": one.guarantee.epsilon(),
    }


# --- Noise: of a module that has no gradient ------------------------------------------------------


class Loud:
    """Planted: an engine that adds noise of the accounted size to its process's part."""

    def __init__(self, engine: Engine, seed: int, share: float) -> None:
        self._engine, self._source, self._share = engine, SeededSource(seed), share

    def clipped_sum(self, inputs: Any, targets: Tensor) -> Any:
        total = self._engine.clipped_sum(inputs, targets)
        stddevs = [0.5 * self._share] * len(total.gradients)
        noisy = add_gaussian(list(total.gradients.values()), stddevs, self._source)
        return total._replace(gradients=dict(zip(total.gradients, noisy, strict=True)))


def noise(defect: str = "") -> NDArray[np.float32]:
    """A step's noise, in units of what is accounted."""
    rank = dist.get_rank()
    module = nn.Linear(100, 200, bias=False)
    nothing = torch.zeros(ROWS, 100), torch.zeros(ROWS, dtype=torch.long)
    seeds = {"everyone adds all": 7 + rank, "equal seeds": 7, "equal seeds, half each": 7}
    share = 0.5**0.5 if defect.endswith("half each") else 1.0
    made = mechanism(rate=1.0, sigma=1e-6 if defect else 1.0)
    loop = PrivateLoop(
        module,
        torch.optim.SGD(module.parameters(), 1.0),
        loss,
        nothing,
        made,
        source=SeededSource(0) if defect else None,
        engine=(lambda *given: Loud(Engine(*given), seeds[defect], share)) if defect else None,
    )
    loop.backward()
    assert module.weight.grad is not None
    return (module.weight.grad * ROWS / 0.5).numpy().ravel()


# --- Samples --------------------------------------------------------------------------------------


def samples(rows: int, rate: float, steps: int, defect: str = "") -> list[list[int]]:
    """The rows that this process clipped in each step."""
    seen: list[list[int]] = []
    module = nn.Linear(1, 1, bias=False)
    team = Team()
    if defect == "same rows on both":
        team.part = lambda rows, rank=None: rows  # type: ignore[method-assign]

    class Watched:
        def clipped_sum(self, inputs: Tensor, targets: Tensor) -> Any:
            seen[-1] += targets.tolist()
            return engine.clipped_sum(inputs, targets)

    engine = Engine(module, lambda o, t: o.reshape(-1), Flat(1.0))
    loop = PrivateLoop(
        module,
        torch.optim.SGD(module.parameters(), 0.0),
        loss,
        (torch.ones(rows, 1), torch.arange(rows)),
        DpSgd(PoissonSampling(rows, rate), Flat(1.0), 1.0, steps, 1e-5),
        engine=lambda *_: Watched(),
        ranks=Alone() if defect.startswith("each draws") else team,
        source=SeededSource(5) if defect == "each draws, equal seeds" else None,
    )
    for _ in range(steps):
        seen.append([])
        loop.backward()
    return seen


# --- What goes wrong ------------------------------------------------------------------------------


def given_other(what: str) -> None:
    """The second process is given something else."""
    second = dist.get_rank() == 1
    settings: dict[str, Any] = {}
    made = mechanism()
    if second and what == "clipping":
        made = dataclasses.replace(made, clipping=Flat(1.0))
    elif second and what == "rows":
        settings["data"] = data(ROWS + 1)
    elif second and what == "shard":
        inputs, targets = data(2 * ROWS)
        settings["data"] = inputs[ROWS:], targets[ROWS:]
    elif second and what == "module":
        settings["module"] = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 2))
    elif second and what == "learning rate":
        settings["lr"] = 0.4
    elif what == "wrapped":
        settings["module"] = nn.parallel.DistributedDataParallel(network())
    elif what == "sharded alone":
        settings["module"], settings["ranks"] = split(network()), Alone()
    elif what == "directions":
        module = network()
        size = sum(p.numel() for p in module.parameters())
        directional = Directional(PoissonSampling(ROWS, 0.5), kappa=1.0, steps=1, size=size)
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        DirectionalLoop(module, optimizer, loss, data(), directional)
    elif what == "order of calls":
        one = trainer(made)
        one.resume("/nowhere/at/all") if second else one._loop._debit()
        return
    elif what == "not gathered":
        Engine(split(network()), loss, Flat(0.5)).clipped_sum(*data())
    trainer(made, **settings)


def fails_on(rank: int) -> int:
    """A loss that fails on one process in the third step; both end after two steps."""

    def failing(outputs: Tensor, targets: Tensor) -> Tensor:
        if one.steps_taken == 3 and dist.get_rank() == rank:
            raise ValueError("no such target")
        return loss(outputs, targets)

    one = trainer(mechanism(rate=1.0))
    one._loop._engine = Engine(one.module, failing, Flat(0.5))
    one.fit(2)
    try:
        one.step()
    finally:
        assert one.steps_taken == 3
    return one.steps_taken


def too_many() -> None:
    one = trainer(mechanism(steps=2))
    one.fit()
    one.step()


def by_themselves() -> NDArray[np.float32]:
    one = trainer(seed=dist.get_rank(), ranks=Alone())
    one.fit()
    return flat(one.module)


def paid(path: str, ceiling: float) -> tuple[int, float, bytes]:
    ledger = Ledger.open(path)
    if dist.get_rank() == 0:
        ledger.set_ceiling(Budget(ceiling, 1e-5))
    dist.barrier()
    one = trainer(ledger=ledger, label="clinic")
    try:
        one.fit()
    except SfumatoError:
        assert one.steps_taken == 0
        raise
    return one.steps_taken, one.progress().epsilon, flat(one.module).tobytes()


def saved(folder: str, sharded: bool, adam: bool) -> NDArray[np.float32]:
    """Three steps, then a checkpoint, which only the first process can write."""
    first = dist.get_rank() == 0
    module = split(network()) if sharded else network()
    one = trainer(module=module, averaging=0.5, adam=adam)
    one.fit(3, checkpoint=folder if first else "/nowhere/at/all")
    one.close()
    return flat(one.module)


def resumed(folder: str, sharded: bool, adam: bool) -> dict[str, Any]:
    """The rest of it."""
    first = dist.get_rank() == 0 if dist.is_initialized() else True
    module = split(network(5)) if sharded else network(5)
    one = trainer(module=module, averaging=0.5, adam=adam, seed=4)
    one.resume(folder if first else "/nowhere/at/all")
    before = flat(one.module)
    one.fit(checkpoint=folder if first else "/nowhere/at/all")
    one.close()
    last = flat(one.module)
    assert one.average is not None
    one.average.copy_to(one.module)
    return {
        "before": before,
        "weights": last,
        "average": flat(one.module),
        "taken": one.steps_taken,
    }


def rehearsed(path: str, what: str, only: int | None, sharded: bool) -> int:
    """A training that cannot be, on one process or on both: what its ledger holds afterwards."""
    ledger = Ledger.open(path) if dist.get_rank() == 0 else None  # the others need none
    wrong = only is None or only == dist.get_rank()
    module = split(network()) if sharded else network()
    given = data()
    if what == "dtype":
        given = given[0].double(), given[1]
    elif what == "shape":
        given = given[0][:, :5], given[1]
    losses: Any = loss
    if wrong and what == "loss":
        losses = nn.CrossEntropyLoss()
    elif wrong and what == "mixing":
        losses = mixing
    elif wrong and what == "fails":
        losses = fails
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    one = PrivateTrainer(module, losses, optimizer, mechanism(), given, ledger=ledger)
    try:
        one.fit()
    finally:
        assert one.steps_taken == 0
    return one.steps_taken


def mixing(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = loss(outputs, targets)
    return losses / losses.mean().detach()


def fails(outputs: Tensor, targets: Tensor) -> Tensor:
    raise KeyError("no such target")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        trained,
        noise,
        samples,
        given_other,
        fails_on,
        too_many,
        by_themselves,
        paid,
        rehearsed,
        saved,
        resumed,
    )
}


def serve(rank: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed by others does not belong among the answers
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(minutes=10),
    )
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        try:
            answer = ("found", FUNCTIONS[name](**arguments))
        except SfumatoError as error:
            answer = (type(error).__name__, str(error))
        except Exception as error:
            traceback.print_exc()
            answer = (type(error).__name__, str(error))
        pickle.dump(answer, answers)
        answers.flush()
    dist.destroy_process_group()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))

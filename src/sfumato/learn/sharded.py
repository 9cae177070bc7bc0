"""Modules whose parameters lie in parts on several processes (FSDP2, ``fully_shard``).

For the time of a step all parameters are gathered, and the step is taken as by replicas; then each
process keeps its part of the weights, the gradients and the optimiser's state. So what is saved is
the memory between steps, not the peak in one: clipping needs the norm over all parameters of an
example, and processes whose samples differ in length could not keep step layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sfumato.errors import InputError


def is_part(tensor: Tensor) -> bool:
    """Whether it is a process's part of a larger tensor (a ``DTensor``)."""
    return hasattr(tensor, "device_mesh")


def whole(tensor: Tensor) -> Tensor:
    """All of it; every process has to ask for it."""
    held: Any = tensor
    found: Tensor = held.full_tensor() if is_part(tensor) else held
    return found


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole tensor that every process has, in parts as ``like``."""
    if not is_part(like) or is_part(tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    layout: Any = like
    # Nothing is sent: each cuts its part out of its own copy.
    return distribute_tensor(
        tensor.to(like.dtype), layout.device_mesh, layout.placements, src_data_rank=None
    )


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """All parameters of the module, whole; every process has to take part.

    Its forward can then be run by any process any number of times: nothing waits for the others.
    """
    parts: list[Any] = []
    if any(is_part(parameter) for parameter in module.parameters()):
        from torch.distributed.fsdp import FSDPModule

        parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    try:
        for held in parts:
            held.set_requires_gradient_sync(False, recurse=False)
            held.set_reshard_after_forward(False, recurse=False)
            held.set_reshard_after_backward(False, recurse=False)
            held.unshard()
        yield
    finally:
        for held in parts:
            held.reshard()


def check(module: nn.Module, processes: int) -> None:
    """Refuses a module that is wrapped, or split in a way that a step cannot gather.

    Raises:
        InputError: Naming what is in the way.
    """
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    for place, inner in module.named_modules():
        if isinstance(inner, DistributedDataParallel | DataParallel):
            raise InputError(
                f"{type(inner).__name__} {place!r} sums gradients that are not clipped",
                "Give the module inside it (.module): clipped sums are added up here.",
            )
        if type(inner).__name__ == "FullyShardedDataParallel":
            raise InputError(
                f"{type(inner).__name__} {place!r} hides the parameters of its layers",
                "Use torch.distributed.fsdp.fully_shard.",
            )
    for name, parameter in module.named_parameters():
        if not is_part(parameter):
            continue
        layout: Any = parameter
        mesh = layout.device_mesh
        if mesh.ndim != 1 or mesh.size() != processes or not layout.placements[0].is_shard():
            raise InputError(
                f"the parameter {name!r} lies on a {tuple(mesh.shape)} mesh as "
                f"{layout.placements}, and {processes} process(es) train",
                "Shard it over exactly the processes that train, with fully_shard on one mesh.",
            )

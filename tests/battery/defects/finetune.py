"""Defects of fine-tuning, put in while a check runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch.nn.functional as F
from torch import Tensor

from sfumato.learn import finetune
from sfumato.vision.efficientnet_lite import FrozenNorm, Prepare

_EVAL = FrozenNorm.forward


@contextmanager
def batch_statistics() -> Iterator[None]:
    """Batch norms in training mode, with nothing that would refuse them."""

    def forward(norm: FrozenNorm, images: Tensor) -> Tensor:
        return F.batch_norm(images, None, None, norm.weight, norm.bias, training=True)

    with ExitStack() as stack:
        stack.enter_context(patch.object(FrozenNorm, "forward", forward))
        stack.enter_context(patch.object(finetune, "refuse_mixing", lambda module: None))
        yield


@contextmanager
def running_statistics() -> Iterator[None]:
    """Batch norms that note the statistics of what they see, and are published with them."""

    def forward(norm: FrozenNorm, images: Tensor) -> Tensor:
        output = _EVAL(norm, images)
        F.batch_norm(images, norm.running_mean, norm.running_var, training=True, momentum=0.1)
        return output

    with patch.object(FrozenNorm, "forward", forward):
        yield


@contextmanager
def private_constants() -> Iterator[None]:
    """Images normalised by the mean and spread of the private ones."""
    public = Prepare.forward

    def forward(prepare: Prepare, images: Tensor) -> Any:
        prepared = public(prepare, images)
        return (prepared - prepared.mean()) / prepared.std()

    with patch.object(Prepare, "forward", forward):
        yield

"""Gradients at generated images: what one record may move there, and the noise that this asks for.

A generator need not be noised weight by weight. Its gradient is ``sum_j J_j^T u_j`` with ``u_j``
the gradient of the loss at the generated image ``j``; only the ``u_j`` touch private data, so they
are sanitised and the rest of the chain rule is free. All ``u_j`` of a step are one release: where a
record can move every one of them, what counts is the whole *stack*. Clipping its rows one by one
and charging each alone is the error of published systems.

Here a stack is a function of the records of one class, of norm at most ``C``. It is no sum over
records: with one record more it may be any other stack of that norm, so the distance is the
diameter ``2 C``, also where records are added or removed. Stacks of the other classes do not see
the record. A step releases the stacks of all classes, of which one record moves one.

Source: generative.md 2.3; Cao et al. 2021 (arXiv 2111.01177) for the clip of a whole stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sfumato.learn.clipping import Stacked
from sfumato.learn.contracts import EngineMaker
from sfumato.learn.records import Inputs

Pull = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``pull(generated, real, weights)``: (K, m, d) gradients at generated points (K, m, d), given real
ones (K, room, d) of weights (K, room) that sum to 1; it must treat each class by itself."""


class Points(nn.Module):
    """The generated points of a step, as parameters, so that their gradient is what is released.

    Args:
        classes: K.
        each: Points of a class.
        width: Numbers of a point.
    """

    def __init__(self, classes: int, each: int, width: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.zeros(classes, each, width))


class Stacks(NamedTuple):
    """The stacks of a step.

    Attributes:
        gradients: ``{"points": (K, m, d)}``, every class's stack of norm at most the bound.
        norms: (1, n) for each record the norm of its class's stack before the clip. Private.
    """

    gradients: dict[str, Tensor]
    norms: Tensor


class StackEngine:
    """Clipped stacks of a batch of labelled records.

    Args:
        module: The generated points.
        pull: See :data:`Pull`.
        clipping: The bound on each stack.
        room: Records of a class that are looked at, those with the least keys, wherever they lie;
            public, so that no class's arithmetic has a shape that depends on another's records.

    A record comes with its key, :func:`sfumato.learn.own_noise.keys_of` the record as it was given:
    points that are products of floating-point matrices may differ in their last bits where another
    record is gone, and so would hashes of them, and which records every class looks at.

    Guaranteed, if ``pull`` treats each class by itself, and points and keys are functions of their
    own record alone to the last bit: the stack of a class depends on its own records alone and not
    on their order, and its norm is at most the bound; it is 0 where the batch holds none of them,
    or where it is not finite.
    """

    whole: ClassVar[bool] = True
    """Stacks of parts of a sample, each of norm ``C``, would add up to more than ``C``."""

    def __init__(self, module: Points, pull: Pull, clipping: Stacked, room: int) -> None:
        self._module, self._pull, self._clipping, self._room = module, pull, clipping, room

    def clipped_sum(self, inputs: Inputs, targets: Tensor) -> Stacks:
        """The stacks for records, (n, d) points and their (n,) keys, of the classes ``targets``."""
        assert isinstance(inputs, tuple)
        records, keys = inputs
        points = self._module.points.detach()
        real = records.new_zeros(len(points), self._room, records.shape[1])
        weights = records.new_zeros(len(points), self._room)
        weights[:, 0] = 1.0
        present = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for label in range(len(points)):
            among = targets == label
            first = torch.argsort(keys[among], stable=True)[: self._room]
            own = records[among][first]
            if len(own):
                present[label] = True
                real[label, : len(own)] = own
                weights[label, : len(own)] = 1 / len(own)
        stacks = self._pull(points, real, weights)
        norms = torch.linalg.vector_norm(stacks.double().flatten(1), dim=1).float()
        usable = present & norms.isfinite()
        factors = torch.where(usable, self._clipping.factors(norms.view(1, -1))[0], 0.0)
        kept = torch.where(usable[:, None, None], stacks, 0.0) * factors[:, None, None]
        return Stacks({"points": kept}, norms[targets].view(1, -1))


def engine_of(pull: Pull, room: int) -> EngineMaker:
    """Makes engines that clip the stacks of this pull, of so many records a class."""

    def make(module: nn.Module, _: object, clipping: object, /) -> StackEngine:
        assert isinstance(module, Points)
        assert isinstance(clipping, Stacked)
        return StackEngine(module, pull, clipping, room)

    return make

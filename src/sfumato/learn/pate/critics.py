"""Teachers that judge generated images, each by the records of its own shard.

The best critic of a generator is the logarithm of how much denser the records are than what is
generated (Goodfellow et al. 2014, proposition 1). A shard holds a handful of records of a class, of
which nothing better is known than a kernel density; its part of the critic's gradient at an image
is the pull toward the shard's records near by, and the other part concerns generated images alone,
costs nothing and is nobody's secret. So a teacher here is that critic, solved for: it has no
weights, no schedule and no memory. What it answers is a function of its shard and of the image it
is asked about, which is what the proof needs, and there is nothing private to keep on disk between
two steps.

A record speaks of its own class only: one record more moves the answers of one teacher to the
generated images of one class.

All cells have the same public number of places, so that no sum that one teacher computes is
ordered differently because another one has a record more: the same numbers give the same bits. They
are the same numbers only if a record's key and coordinates are functions of that record alone to
the last bit, as :func:`sfumato.learn.own_noise.keys_of` of images as they came, and
:class:`sfumato.learn.frequencies.LowFrequencies` are; a product of floating-point matrices is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn import own_noise


def owners(keys: Tensor, teachers: int, seed: int) -> Tensor:
    """(n,) int64: the teacher of each record, a public function of the record and the seed alone.

    So two data sets that differ in one record are dealt out alike but for that record. Drawing the
    teacher by a record's place would do only while places are secret.

    Args:
        keys: (n,) of the records, from :func:`sfumato.learn.own_noise.keys_of`.
        teachers: At least 2.
        seed: May be published.

    Raises:
        InputError: If there are fewer than 2 teachers.
    """
    if not (isinstance(teachers, int) and teachers >= 2):
        raise InputError(f"the number of teachers is {teachers!r}", "Give at least 2.")
    drawn = own_noise.uniform(keys, 1, seed, 0)[:, 0]
    return (drawn.double() * teachers).long().clamp_(0, teachers - 1)


@dataclass(frozen=True)
class Critics:
    """Every teacher's records, by class; private.

    Args:
        records: (K, teachers, places, d) float32; zeros where there is none.
        present: (K, teachers, places) bool: where there is one.
        bandwidth: Of the kernel: a public distance.
    """

    records: Tensor
    present: Tensor
    bandwidth: float

    @classmethod
    def of(
        cls,
        coordinates: Tensor,
        labels: Tensor,
        owners: Tensor,
        keys: Tensor,
        *,
        classes: int,
        teachers: int,
        places: int,
        bandwidth: float,
    ) -> Critics:
        """Deals records out.

        Args:
            coordinates: (n, d) float32, each a function of its record alone to the last bit.
            labels: (n,) class numbers.
            owners: (n,) the teacher of each.
            keys: (n,) int64 hash of each, taken of the record as it came: a last bit that changes
                with another record gone would change which records all teachers look at.
            classes: K.
            teachers: How many.
            places: The most records of a class that a teacher looks at; public. Those with
                the least keys come first, wherever they lie among all records.
            bandwidth: See the class.
        """
        records = torch.zeros(classes * teachers * places, coordinates.shape[1])
        present = torch.zeros(classes * teachers * places, dtype=torch.bool)
        cell = labels * teachers + owners
        keyed = torch.argsort(keys, stable=True)
        order = keyed[torch.argsort(cell[keyed], stable=True)]
        sizes = torch.bincount(cell, minlength=classes * teachers)
        place = torch.arange(len(cell)) - (sizes.cumsum(0) - sizes)[cell[order]]
        fits = place < places
        at = (cell[order] * places + place)[fits]
        records[at] = coordinates[order[fits]]
        present[at] = True
        shape = (classes, teachers, places)
        return cls(records.view(*shape, -1), present.view(shape), bandwidth)

    @torch.no_grad()
    def pulls(self, label: int, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Where each teacher wants images of a class to go; private.

        Args:
            label: The class.
            asked: (b, d) float32 coordinates of generated images of it.

        Returns:
            (teachers, b, d) float32, zeros of a teacher without a record of the class; and
            (teachers,) bool, whether it has one.
        """
        records, present = self.records[label], self.present[label]
        teachers, places, width = records.shape
        near = records.view(-1, width) @ asked.T
        squares = records.square().sum(dim=2)[:, :, None] - 2 * near.view(teachers, places, -1)
        scores = torch.where(present[:, :, None], squares / (-2 * self.bandwidth**2), -torch.inf)
        weights = torch.nan_to_num(torch.softmax(scores, dim=1), 0.0)
        has = present.any(dim=1)
        pulled = torch.bmm(weights.transpose(1, 2), records) - asked
        return torch.where(has[:, None, None], pulled, 0.0), has


@torch.no_grad()
def crowding(asked: Tensor, others: Tensor, bandwidth: float) -> Tensor:
    """(b, d): the pull of the other generated images of a class, which is what a critic subtracts.

    Args:
        asked: (b, d) coordinates of generated images.
        others: (m, d) of generated images of the class, none of which is among ``asked``.
        bandwidth: As the critics'.
    """
    squares = others.square().sum(dim=1) - 2 * asked @ others.T
    return torch.softmax(squares / (-2 * bandwidth**2), dim=1) @ others - asked

"""The private records of a training, fetched by row number.

What a loader knows about batches is not used: which records a step sees is the mechanism's to
draw. A loader is only taken apart for its data set, its collate function and its batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from sfumato.errors import InputError

Inputs = Tensor | tuple[Tensor, ...]
_LOOKED_AT = 1 << 12
"""Rows at a time, in search of numbers that are none."""
Data = tuple[Inputs, Tensor] | Dataset[Any] | DataLoader[Any]


class Records(Protocol):
    """Rows of inputs and targets."""

    def __len__(self) -> int:
        """How many."""
        ...

    def fetch(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Inputs, Tensor]:
        """The inputs (n, ...) and targets (n, ...) of these rows."""
        ...

    def telling(self) -> NDArray[np.int64]:
        """Rows at which a module or a loss fails if it does at any, as far as that can be known.

        Of whole numbers those with the least and the greatest (class numbers, tokens), of others
        the first that is none.
        """
        ...


class TensorRecords:
    """Records that lie in memory.

    Args:
        inputs: (N, ...), or several such.
        targets: (N, ...).
    """

    def __init__(self, inputs: Inputs, targets: Tensor) -> None:
        given = inputs if isinstance(inputs, tuple | list) else (inputs,)
        self._parts = tuple(_tensor(part, "inputs") for part in given)
        _tensor(targets, "targets")
        self._single = isinstance(inputs, Tensor)
        self._targets = targets
        sizes = {len(part) for part in (*self._parts, targets)}
        if len(sizes) != 1:
            raise InputError(
                f"inputs and targets have {' and '.join(map(str, sorted(sizes)))} rows",
                "Give as many targets as inputs.",
            )

    def __len__(self) -> int:
        return len(self._targets)

    def fetch(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Inputs, Tensor]:
        """The rows, copied."""
        wanted = torch.from_numpy(rows).to(self._targets.device)
        parts = tuple(
            part.index_select(0, wanted.to(part.device)).to(device) for part in self._parts
        )
        targets = self._targets.index_select(0, wanted).to(device)
        return (parts[0] if self._single else parts), targets

    def telling(self) -> NDArray[np.int64]:
        """See :meth:`Records.telling`."""
        found = [row for part in (*self._parts, self._targets) for row in _telling(part)]
        return np.unique(np.array(found, dtype=np.int64))


class DatasetRecords:
    """Records of a map-style data set, fetched one at a time.

    Args:
        dataset: ``dataset[i]`` is one record; it has a length.
        collate: Makes ``(inputs, targets)`` of a list of records, each by itself. It is looked at
            when records are first fetched: one that mixes them, or pads them to the longest of a
            batch, is refused.
    """

    def __init__(
        self, dataset: Dataset[Any], collate: Callable[[list[Any]], Any] = default_collate
    ) -> None:
        if isinstance(dataset, Mapping) or hasattr(dataset, "iloc"):  # a frame of pandas
            raise InputError(
                f"the data is a {type(dataset).__name__}, whose rows have no numbers",
                "Give (inputs, targets) tensors: torch.as_tensor(array).",
            )
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            raise InputError(
                f"{type(dataset).__name__} gives its records in an order of its own",
                "Use a data set with a length and rows by number: every step draws its records.",
            )
        check_once(dataset)
        self._dataset = dataset
        self._length = len(dataset)
        self._collate = collate
        self._looked = collate is default_collate  # which stacks and does nothing else

    def __len__(self) -> int:
        return self._length

    def fetch(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Inputs, Tensor]:
        """The rows, collated.

        Raises:
            InputError: If a batch is no inputs and targets, or the collate function mixes records.
        """
        records = [self._dataset[int(row)] for row in rows]
        if not self._looked and len(records) > 1:
            from sfumato.learn.augmented import check_collate

            self._looked = check_collate(self._collate, records)
        batch = self._collate(records)
        if not (isinstance(batch, tuple | list) and len(batch) >= 2):
            raise InputError(
                f"a batch of the data set is a {type(batch).__name__}",
                "Give a data set of (inputs, target) pairs, or a collate function.",
            )
        *parts, targets = batch
        inputs = parts[0] if len(parts) == 1 else tuple(parts)
        if isinstance(inputs, tuple | list):
            inputs = tuple(_tensor(part, "inputs").to(device) for part in inputs)
        else:
            inputs = _tensor(inputs, "inputs").to(device)
        return inputs, _tensor(targets, "targets").to(device)

    def telling(self) -> NDArray[np.int64]:
        """See :meth:`Records.telling`; of the targets only, where the data set lists them."""
        listed = _listed(self._dataset)
        found = [] if listed is None or len(listed) != self._length else _telling(listed)
        return np.array(found, dtype=np.int64)


def _listed(dataset: Any) -> Tensor | None:
    """The targets of a data set, without fetching its records; None where it does not say."""
    try:
        if isinstance(dataset, Subset):
            whole = _listed(dataset.dataset)
            return None if whole is None else whole[torch.as_tensor(dataset.indices)]
        if isinstance(dataset, ConcatDataset):
            parts = [part for one in dataset.datasets if (part := _listed(one)) is not None]
            return torch.cat(parts) if len(parts) == len(dataset.datasets) else None
        if isinstance(dataset, TensorDataset):
            return dataset.tensors[-1]
        listed = getattr(dataset, "targets", None)
        return None if listed is None else torch.as_tensor(listed)
    except (TypeError, ValueError, RuntimeError, IndexError):
        return None


def _telling(part: Tensor) -> list[int]:
    """Of (n, ...) numbers, see :meth:`Records.telling`; none of kinds that torch cannot compare."""
    if part.layout is not torch.strided or part.is_complex() or part.dtype is torch.bool:
        return []
    if not part.numel():
        return []
    try:
        rows = part.detach().reshape(len(part), -1)
        if not part.is_floating_point():
            return [int(rows.amin(1).argmin()), int(rows.amax(1).argmax())]
        start = 0
        for some in torch.split(rows, _LOOKED_AT):
            wrong = (~torch.isfinite(some)).any(1)
            if bool(wrong.any()):
                return [start + int(wrong.int().argmax())]
            start += len(some)
    except NotImplementedError:  # uint16, float8: there is no smallest of them in torch
        return []
    return []


def check_once(dataset: Dataset[Any]) -> None:
    """Refuses subsets and concatenations in which a record stands more than once.

    What is proven is of one row; a record that is repeated, as rare classes are for balance, is
    several. Copies that are rows of their own cannot be seen.

    Raises:
        InputError: Naming how many are repeated.
    """
    if not isinstance(dataset, Subset | ConcatDataset):
        return
    origins = _origins(dataset, {})
    if repeated := len(origins) - len(np.unique(origins)):
        raise InputError(
            f"{repeated} of the {len(origins)} records of the data set are there before: noise for "
            "one row would not hide a record that is several",
            "Name each record once; weigh its loss where a class is rare.",
        )


def _origins(dataset: Any, known: dict[int, int]) -> NDArray[np.int64]:
    """A number for each record, the same only for the same row of the same data set."""
    if isinstance(dataset, Subset):
        chosen = np.asarray(dataset.indices, dtype=np.int64).reshape(-1)
        return _origins(dataset.dataset, known)[chosen]
    if isinstance(dataset, ConcatDataset):
        return np.concatenate([_origins(part, known) for part in dataset.datasets])
    first = known.setdefault(id(dataset), len(known)) << 40  # rows enough for any data set
    return np.arange(first, first + len(dataset), dtype=np.int64)


def _tensor(value: Any, name: str) -> Tensor:
    """The value, if the engine can take rows of it.

    Raises:
        InputError: If it is no tensor.
    """
    if isinstance(value, Tensor):
        return value
    remedy = "Give a tensor, or a tuple of tensors as inputs: the module's arguments in order."
    if isinstance(value, np.ndarray):
        remedy = "Give tensors: torch.as_tensor(array)."
    raise InputError(f"a part of the {name} is a {type(value).__name__}, no tensor", remedy)


def records_of(data: Data) -> tuple[Records, int | None]:
    """The records, and the batch size that a loader was made with.

    Raises:
        InputError: If the records cannot be fetched by number, or a loader chooses among them.
    """
    if isinstance(data, DataLoader):
        return _records_of_loader(data)
    if isinstance(data, TensorDataset):
        *parts, targets = data.tensors
        if not parts:
            raise InputError("the data set has a single tensor", "Give inputs and targets.")
        return TensorRecords(parts[0] if len(parts) == 1 else tuple(parts), targets), None
    if isinstance(data, tuple):
        if len(data) != 2:
            raise InputError(f"the data is {len(data)} things", "Give (inputs, targets).")
        return TensorRecords(*data), None
    return DatasetRecords(data), None


def check_labels(records: Tensor, labels: Tensor, classes: int) -> None:
    """Refuses labels that do not belong to the records, or name no class.

    Args:
        records: (n, ...).
        labels: (n,) int64 codes in ``[0, classes)``.
        classes: How many there are.

    Raises:
        InputError: Naming what is wrong.
    """
    if labels.shape != records.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"there are {len(records)} records and labels {tuple(labels.shape)} {labels.dtype}",
            "Give one int64 label for each.",
        )
    wrong = (labels < 0) | (labels >= classes)
    if bool(wrong.any()):
        raise InputError(
            f"a label is {int(labels[wrong][0])}", f"Labels are codes from 0 to {classes - 1}."
        )


def _records_of_loader(loader: DataLoader[Any]) -> tuple[Records, int | None]:
    sampler: Any = loader.sampler
    plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(sampler.data_source)
    )
    whole = plain and loader.batch_size is not None
    if isinstance(loader.dataset, IterableDataset) or not whole:
        name = type(sampler if loader.batch_size is not None else loader.batch_sampler).__name__
        raise InputError(
            f"the loader chooses its records by a {name}, which no accountant here knows",
            "Give the data set itself: every step draws its records by Poisson sampling.",
        )
    if isinstance(loader.dataset, TensorDataset) and loader.collate_fn is default_collate:
        return records_of(loader.dataset)[0], loader.batch_size
    return DatasetRecords(loader.dataset, loader.collate_fn), loader.batch_size

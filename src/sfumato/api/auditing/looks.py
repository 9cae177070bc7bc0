"""What is looked at of a release: numbers that a canary may have moved.

Which of them matter is learnt from pilot runs (:mod:`sfumato.measure.audit.learners`); a number
too many costs a little sharpness, and never the soundness of a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.release.model import Model
from sfumato.release.release import Release

Array = NDArray[np.float64]
Look = Callable[[Release], Array]

FEW = 400
"""Weights, pixels and soft labels are looked at one by one where there are no more than these."""

PROBES = 4

_SMALLEST = 1e-12
_CLASSES = 10


def look_at(canaries: Any, at: int, reference: Release, probes: Any) -> Look:
    """The look that fits a release.

    Args:
        canaries: The record that neighbours differ in, or both of its values.
        at: Its place in the data.
        reference: A release of data like the other ones, which is not judged: where weights are
            released, it says in which direction the canary pulls them.
        probes: Other records; a model is asked about some of them, too.
    """
    if isinstance(reference.artefact.content, Model):
        probes = probes.head(PROBES)
        directions = [gradient(reference.model, canaries, i) for i in range(len(canaries))]
        return lambda release: _model(release, reference, canaries, probes, directions)
    if reference.artefact.kind == "table":
        known = canaries.codes()
        aligned = reference.card.plan.get("aligned") is True
        return lambda release: _table(release, known, at if aligned else None)
    sizes = [len(part) for part in _parts(reference)]
    own = at if reference.card.plan.get("aligned") is True else None
    return lambda release: _images(release, canaries, sizes, own)


def _table(release: Release, canaries: dict[str, NDArray[Any]], at: int | None) -> Array:
    table: Any = release.data
    codes = table.codes()
    target = table.schema.target
    found: list[float] = [float(table.num_rows)]
    for i in range(len(next(iter(canaries.values())))):
        same = {name: codes[name] == values[i] for name, values in canaries.items()}
        found += [float(hit.sum()) for hit in same.values()]
        if target is not None:
            found += [float((hit & same[target]).sum()) for n, hit in same.items() if n != target]
        found.append(float(np.logical_and.reduce(list(same.values())).sum()))
    if at is not None:
        found += [float(values[at]) for values in codes.values()]
    return np.array(found)


def _model(
    release: Release, reference: Release, canaries: Any, probes: Any, directions: list[Array]
) -> Array:
    model = release.model
    odds = [
        np.log(np.maximum(model.probabilities(records), _SMALLEST))
        for records in (canaries, probes)
    ]
    moved = weights(model) - weights(reference.model)
    pulled = [float(moved @ direction) for direction in directions]
    parts = [np.ravel(part) for part in odds] + [np.array(pulled)]
    return np.concatenate([*parts, _few(moved)])


def _images(release: Release, canaries: Any, sizes: list[int], at: int | None) -> Array:
    data: Any = release.data
    pixels = data.images.reshape(len(data), -1).astype(np.float64)
    shown = canaries.images.reshape(len(canaries), -1).astype(np.float64)
    along = pixels @ (shown / np.maximum(np.linalg.norm(shown, axis=1, keepdims=True), 1e-9)).T
    classes = range(min(_CLASSES, len(data.schema.classes)))
    found = [along.mean(axis=0), along.max(axis=0), along.min(axis=0)]
    for label in classes:
        mine = data.labels == label
        found.append(np.array([mine.mean()]))
        found.append(along[mine].mean(axis=0) if mine.any() else np.zeros(len(shown)))
    if data.soft_labels is not None:
        soft = np.asarray(data.soft_labels, np.float64)
        found += [soft.mean(axis=0), (soft.T @ along).ravel() / len(soft)]
    for part, size in zip(_parts(release), sizes, strict=True):
        if size <= FEW:  # as many numbers a run, however many images there are
            found.append(np.concatenate([part, np.zeros(size)])[:size])
    if at is not None:  # the picture that was made of the canary
        found.append(np.append(along[at], data.labels[at]))
    return np.concatenate(found)


def _parts(release: Release) -> list[Array]:
    """All pixels, soft labels and weights."""
    data: Any = release.data
    soft = np.zeros(0) if data.soft_labels is None else np.ravel(data.soft_labels)
    tensors = [np.ravel(tensor) for _, tensor in sorted(release.artefact.tensors.items())]
    weights = np.concatenate(tensors) if tensors else np.zeros(0)
    return [np.asarray(part, np.float64) for part in (np.ravel(data.images), soft, weights)]


def _few(values: Array) -> Array:
    return values if len(values) <= FEW else np.zeros(0)


def weights(model: Model) -> Array:
    """All trained numbers of a model, in one vector."""
    names = [name for name, _ in model.module.named_parameters()]
    return np.concatenate([np.ravel(model.tensors[n]).astype(np.float64) for n in names])


def gradient(model: Model, records: Any, at: int) -> Array:
    """Minus the gradient of the loss on one record, of length 1: where training on it pulls.

    It is 0 along weights that are released and not trained, such as noisy scales of the inputs.
    """
    import torch

    from sfumato.learn.examples import labelled

    inputs, labels = labelled(records)
    module = model.module
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    # Inputs of one record keep the batch's axis.
    loss = torch.nn.functional.cross_entropy(module(inputs[at : at + 1]), labels[at : at + 1])
    grads = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    found = dict(zip(trained, grads, strict=True))
    parts = [
        np.zeros(p.numel())
        if (grad := found.get(name)) is None
        else grad.detach().double().numpy().ravel()
        for name, p in module.named_parameters()
    ]
    pull: Array = -np.concatenate(parts)
    return pull / max(float(np.linalg.norm(pull)), 1e-30)

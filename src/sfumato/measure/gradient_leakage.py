"""Which layers' gradients tell most about an example: usable information and sensitivity.

A layer's gradient of one example tells about the example's input ("original information") and
about attributes that are neither input nor label ("latent information"). Both are measured as
V-information: by how much decoders of a fixed family predict better with the gradient than
without it, on examples that they were not trained on. That is what such an attacker can use, a
lower bound on what is there; figures of different families are not comparable.

A gradient tells the label, and the label may tell much of both: what a decoder of the label alone
gets is the control, and only what is beyond it is told by the gradient's other parts.

What needs no attacker: how fast a layer's gradient changes with the input, and how far apart the
subspaces are that gradients of examples with and without the attribute span.

Source: Mo et al., arXiv 2105.13929; Xu et al., ICLR 2020 (V-information).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.measure.intervals import normal_quantile
from sfumato.measure.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sfumato.attack.gradients.exposure import Exposure

FEWEST = 40
_SMALLEST = 1e-6
_COMPONENTS = 10


@dataclass(frozen=True)
class Layer:
    """What the gradients of one layer's parameters tell.

    Args:
        name: Of the layer in its module.
        parameters: How many numbers its gradient is.
        attribute_bits: V-information about the attribute, bits an example.
        attribute_interval: Its interval over held-out examples.
        attribute_entropy: Bits that there are to tell.
        attribute_by_label: Bits that the label alone tells of the attribute, by its shares of each
            label; of all layers the same.
        input_nats: V-information about the input, nats a dimension, by a linear decoder with equal
            noise in all dimensions.
        input_interval: Its interval over held-out examples.
        input_by_label: Nats a dimension that the label alone tells of the input, linearly.
        sensitivity: Relative change of the gradient for a small relative change of the input.
        subspace_distance: Between the spans of gradients with and without the attribute, 0 (equal)
            to 1 (orthogonal).
        subspace_control: The same distance between two halves drawn at random.
    """

    name: str
    parameters: int
    attribute_bits: float
    attribute_interval: tuple[float, float]
    attribute_entropy: float
    attribute_by_label: float
    input_nats: float
    input_interval: tuple[float, float]
    input_by_label: float
    sensitivity: float
    subspace_distance: float
    subspace_control: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def gradient_leakage(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    attribute: NDArray[np.int64],
    *,
    exposure: Exposure | None = None,
    width: int = 256,
    probes: int = 4,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Layer, ...]:
    """Measures every layer that has trainable parameters of its own.

    Args:
        module: In evaluation mode; not changed.
        inputs: (n, ...) floats, or (n, d) integer codes of a table.
        labels: (n,) int64.
        attribute: (n,) class numbers of what should not be told.
        exposure: How gradients are protected before they are seen, of the whole gradient; None
            for not at all.
        width: Gradients of more numbers are projected at random to as many, and so are their
            magnitudes; seeded.
        probes: Random directions of the sensitivity.
        confidence: Of the intervals, each by itself.
        seed: Of halves, projections, probes and noise.

    Returns:
        The layers in the order of the module.

    Raises:
        InputError: If there are fewer than 40 examples, lengths differ, or the attribute is the
            same for all.
    """
    import torch

    from sfumato.attack.gradients import exposure as exposures
    from sfumato.attack.gradients.layers import parts

    n = len(labels)
    if n < FEWEST or len(inputs) != n or len(attribute) != n:
        raise InputError(
            f"there are {len(inputs)} inputs, {n} labels and {len(attribute)} attributes",
            f"Give one of each for at least {FEWEST} examples.",
        )
    values, coded = np.unique(attribute, return_inverse=True)
    if len(values) < 2:
        raise InputError("the attribute is the same for all", "There is nothing to tell.")
    bare = exposures.gradients_each(module, inputs, labels)
    seen = bare if exposure is None else exposure(bare, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    train, test = order[: n // 2], order[n // 2 :]
    flat = _standard(_features(inputs), train)
    classes = np.unique(labels.numpy(), return_inverse=True)[1]
    told = _standard(np.eye(int(classes.max()) + 1)[classes], train)
    bits_by_label = _by_label(classes, coded, train, test)
    nats_by_label = _input(told, flat, train, test, confidence)[0]
    changes = _changes(module, inputs, labels, bare, probes, seed)
    found = []
    columns = parts(module)
    for name in dict.fromkeys(parameter.rpartition(".")[0] for parameter in columns):
        own = [part for key, part in columns.items() if key.rpartition(".")[0] == name]
        at = torch.cat([torch.arange(part.start, part.stop) for part in own])
        rows = _projected(seen[:, at], width, rng)
        scaled = _standard(rows, train)
        bits, between, entropy = _attribute(scaled, coded, train, test, confidence)
        nats, around = _input(scaled, flat, train, test, confidence)
        apart, control = _subspaces(_standard(rows[:, : rows.shape[1] // 2], train), coded, rng)
        found.append(
            Layer(
                name=name,
                parameters=len(at),
                attribute_bits=bits,
                attribute_interval=between,
                attribute_entropy=entropy,
                attribute_by_label=bits_by_label,
                input_nats=nats,
                input_interval=around,
                input_by_label=nats_by_label,
                sensitivity=float(changes(at)),
                subspace_distance=apart,
                subspace_control=control,
            )
        )
    return tuple(found)


def _features(inputs: Tensor) -> NDArray[np.float64]:
    """Inputs as numbers: pixels as they are, codes as one-hot levels of at most 32."""
    rows = inputs.flatten(1).numpy()
    if inputs.is_floating_point():
        return np.asarray(rows, np.float64)
    levels = [rows[:, [j]] % 32 == np.arange(min(32, rows[:, j].max() + 1)) for j in
              range(rows.shape[1])]  # fmt: skip
    return np.concatenate(levels, axis=1).astype(np.float64)


def _projected(gradients: Tensor, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, at most 2 * width): gradients and their magnitudes, each projected at random if wide.

    The sign of a gradient turns with the label, so that what its length tells would be lost on a
    linear decoder of it alone.
    """
    rows = gradients.double().numpy()
    found = []
    for part in (rows, np.abs(rows)):
        if part.shape[1] > width:
            part = part @ (rng.standard_normal((part.shape[1], width)) / np.sqrt(width))
        found.append(part)
    return np.concatenate(found, axis=1)


def _standard(rows: NDArray[np.float64], train: NDArray[np.int64]) -> NDArray[np.float64]:
    centre, spread = rows[train].mean(axis=0), rows[train].std(axis=0)
    kept = spread > 1e-12
    return np.asarray(np.clip((rows[:, kept] - centre[kept]) / spread[kept], -10, 10))


def _attribute(
    rows: NDArray[np.float64],
    attribute: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    confidence: float,
) -> tuple[float, tuple[float, float], float]:
    """V-information in bits, with V the regularised logistic regressions.

    The family holds the constant predictor, and how much it is regularised is chosen on a fifth of
    the training half: an attacker whom gradients confuse ignores them.
    """
    from sklearn.linear_model import LogisticRegression

    classes = int(attribute.max()) + 1

    def nothing(of: NDArray[np.int64]) -> NDArray[np.float64]:
        counts = np.bincount(attribute[of], minlength=classes) + 0.5
        return np.asarray(counts / counts.sum())

    def losses(weight: float | None, of: NDArray[np.int64], on: NDArray[np.int64]) -> Any:
        told = np.tile(nothing(of), (len(on), 1))
        if weight is not None and rows.shape[1] and len(np.unique(attribute[of])) > 1:
            with one_thread():
                model = LogisticRegression(C=weight, max_iter=300).fit(rows[of], attribute[of])
                told = np.full(told.shape, _SMALLEST)
                told[:, model.classes_] = model.predict_proba(rows[on])
        return -np.log2(np.maximum(told[np.arange(len(on)), attribute[on]], _SMALLEST))

    cut = len(train) // 5
    tried = {w: losses(w, train[cut:], train[:cut]).mean() for w in (None, 1e-4, 1e-3, 1e-2, 1e-1)}
    best = min(tried, key=lambda w: float(tried[w]))
    without = losses(None, train, test)
    gain = without - losses(best, train, test)
    return *_mean(gain, confidence), float(without.mean())


def _by_label(
    labels: NDArray[np.int64],
    attribute: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> float:
    """Bits that the attribute's shares of each label save: a label has one half of each value."""
    counts = np.zeros((int(labels.max()) + 1, int(attribute.max()) + 1))
    np.add.at(counts, (labels[train], attribute[train]), 1)
    shares = [
        part / part.sum(axis=-1, keepdims=True) for part in (counts + 0.5, counts.sum(0) + 0.5)
    ]
    gain = np.log2(shares[0][labels[test], attribute[test]] / shares[1][attribute[test]])
    return float(gain.mean())


def _input(
    rows: NDArray[np.float64],
    inputs: NDArray[np.float64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    confidence: float,
) -> tuple[float, tuple[float, float]]:
    """V-information in nats a dimension: half the log of how much less a linear decoder errs."""
    from sklearn.linear_model import Ridge

    def errors(weight: float | None, of: Any, on: Any) -> NDArray[np.float64]:
        guess: Any = inputs[of].mean(axis=0)
        if weight is not None and rows.shape[1]:
            with one_thread():
                guess = Ridge(alpha=weight).fit(rows[of], inputs[of]).predict(rows[on])
        return np.asarray(np.square(inputs[on] - guess).mean(axis=1))

    cut = len(train) // 5
    tried = {w: errors(w, train[cut:], train[:cut]).mean() for w in (None, 1.0, 1e2, 1e4)}
    best = min(tried, key=lambda w: float(tried[w]))
    before, after = errors(None, train, test), errors(best, train, test)
    value = 0.5 * np.log(before.mean() / max(after.mean(), 1e-12))
    influence = 0.5 * (before / before.mean() - after / max(after.mean(), 1e-12))
    reach = normal_quantile(confidence) * influence.std(ddof=1) / np.sqrt(len(test))
    return float(value), (float(value - reach), float(value + reach))


def _mean(values: NDArray[np.float64], confidence: float) -> tuple[float, tuple[float, float]]:
    centre = float(values.mean())
    reach = float(normal_quantile(confidence) * values.std(ddof=1) / np.sqrt(len(values)))
    return centre, (centre - reach, centre + reach)


def _subspaces(
    rows: NDArray[np.float64], attribute: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, float]:
    """Distance between the main subspaces of the commonest value's rows and the others', and the
    distance of two groups of the same sizes drawn at random.
    """
    commonest = int(np.bincount(attribute).argmax())
    inside = attribute == commonest
    found = _distance(rows[inside], rows[~inside])
    drawn = [_distance(rows[mixed], rows[~mixed]) for mixed in
             (rng.permutation(inside) for _ in range(5))]  # fmt: skip
    return found, float(np.mean(drawn))


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Of the spans of the first right singular vectors: 0 equal, 1 orthogonal."""
    k = min(_COMPONENTS, *one.shape, *other.shape)
    if k == 0:
        return 0.0
    spans = [np.linalg.svd(rows, full_matrices=False)[2][:k] for rows in (one, other)]
    alike = float(np.square(spans[0] @ spans[1].T).sum())
    return float(np.sqrt(max(0.0, 1 - alike / k)))


def _changes(
    module: nn.Module, inputs: Tensor, labels: Tensor, bare: Tensor, probes: int, seed: int
) -> Any:
    """From columns of the gradient to the relative change of them for one of the input.

    For pixels: by differences along random directions (Hutchinson's estimate of the Jacobian's
    norm) of a hundredth of the input's length. For codes: with one value replaced at random.
    """
    import torch

    from sfumato.attack.gradients.exposure import gradients_each

    random = torch.Generator().manual_seed(seed)
    most = min(len(labels), 100)
    x, y, old = inputs[:most], labels[:most], bare[:most]
    moved, relative = [], []
    for _ in range(probes):
        if x.is_floating_point():
            step = torch.randn(x.shape, generator=random, dtype=x.dtype)
            length = x.flatten(1).norm(dim=1).clamp(min=1e-6)
            step = step * (0.01 * length / step.flatten(1).norm(dim=1)).view(
                -1, *[1] * (x.ndim - 1)
            )
            new, share = x + step, torch.full((most,), 0.01)
        else:
            new = x.clone()
            column = torch.randint(x.shape[1], (most,), generator=random)
            donor = torch.randint(len(inputs), (most,), generator=random)
            rows = torch.arange(most)
            new[rows, column] = inputs[donor, column]
            share = torch.full((most,), 1 / x.shape[1])
        moved.append(gradients_each(module, new, y) - old)
        relative.append(share)

    def of(columns: Tensor) -> float:
        length = old[:, columns].norm(dim=1).clamp(min=1e-12)
        ratios = [
            (change[:, columns].norm(dim=1) / length / share)
            for change, share in zip(moved, relative, strict=True)
        ]
        return float(torch.stack(ratios).square().mean(dim=0).sqrt().median())

    return of

"""Directions with von Mises-Fisher noise: points of the sphere, the likelier the nearer.

The density of ``x`` on the unit sphere of ``d`` dimensions around ``mu`` is proportional to
``exp(kappa mu.x)``. For two directions ``mu`` and ``mu'`` and every outcome ``x``

    log p(x | mu) - log p(x | mu') = kappa (mu - mu').x <= kappa |mu - mu'| <= 2 kappa      (ratio)

because the normaliser does not depend on the direction. That is the whole privacy argument.

**Sampling**, exact in real arithmetic for every ``d >= 2`` and ``kappa >= 0``. With
``m = d - 1``, ``a = asinh(2 kappa / m)`` and ``x0 = tanh(a / 2)``:

1. a point uniform on the sphere, from ``d`` Gaussians; ``t`` is its cosine with ``mu``, and ``v``
   the direction of what is left of it orthogonally to ``mu``. ``t`` and ``v`` are independent;
2. ``w = (x0 + t) / (1 + x0 t)`` is accepted with probability ``exp(m (u + log(1 - u)))``,
   ``u = x0 t / (1 + x0 t)``; otherwise again from 1;
3. ``x = w mu + sqrt(1 - w^2) v``.

This is Wood's rejection written without a difference of near numbers: his ``b`` is ``exp(-a)``, his
Beta variable is ``(1 - t) / 2``, and his test ``kappa w + m log(1 - x0 w) - c >= log U`` is step 2
once ``kappa (1 - x0^2) = m x0`` is put in. At ``kappa = 0`` nothing is rejected and ``x`` is the
uniform point. Where ``kappa`` is far below ``d``, as in training, next to nothing is rejected.

All arithmetic is float64. What is left, and not accounted: a Gaussian is off by less than
``2**-46`` of a standard deviation, the test's uniform number has 53 bits, and outcomes are floats;
whoever publishes a sum of such draws must round it to a public grid (see
:mod:`sfumato.learn.directional`).

Sources: Ulrich, Applied Statistics 33 (1984); Wood, Communications in Statistics 23 (1994);
Faustini et al., arXiv 2211.04686 (training with such noise).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.noise import STREAM, standard_gaussian
from sfumato.privacy.noise import NoiseSource

LARGEST_KAPPA = 1e12
"""Beyond, float64 cannot tell ``x0`` from 1 in a few dimensions."""

_BLOCK = {"cpu": 1 << 20}  # numbers at a time: 8 MB and a few copies of it
_LARGE_BLOCK = 1 << 24
_FAR = 64  # orders above, where the recurrence for the mean cosine starts


def perturbed(directions: Tensor, kappa: float, source: NoiseSource = STREAM) -> Tensor:
    """One draw around each direction.

    A row that is no direction (all zeros, or not finite) becomes a point uniform on the sphere,
    which obeys (ratio) against every other row at distance 2.

    Args:
        directions: (n, d) of any floating type, d at least 2; their lengths do not matter.
        kappa: The concentration, 0 (uniform) to ``LARGEST_KAPPA``.
        source: Where the bits come from.

    Returns:
        (n, d) float64 of length 1, on the same device. Every row has draws of its own.

    Raises:
        InputError: If ``kappa`` or the shape is out of range.
    """
    check_kappa(kappa)
    if directions.ndim != 2 or directions.shape[1] < 2:
        raise InputError(
            f"directions have shape {tuple(directions.shape)}", "Give (n, d) with d at least 2."
        )
    drawn = torch.empty(directions.shape, dtype=torch.float64, device=directions.device)
    rows = max(1, _BLOCK.get(directions.device.type, _LARGE_BLOCK) // directions.shape[1])
    for start in range(0, len(directions), rows):
        part = slice(start, start + rows)
        drawn[part] = _drawn(unit(directions[part]), kappa, source)
    return drawn


def unit(vectors: Tensor) -> Tensor:
    """(n, d) float64 vectors of length 1; zeros for rows that are zero or not finite.

    Neither very short nor very long rows overflow: each is scaled by its largest entry first.
    """
    wide = vectors.double()
    largest = wide.abs().amax(dim=1, keepdim=True)
    usable = (largest > 0) & largest.isfinite()
    scaled = torch.where(usable, wide / torch.where(usable, largest, 1.0), 0.0)
    length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled.div_(torch.where(usable, length, 1.0))


def mean_cosine(kappa: float, d: int) -> float:
    """``E[mu.x]``, the ratio of Bessel functions ``I_{d/2}(kappa) / I_{d/2-1}(kappa)``.

    About ``kappa / d`` where ``kappa`` is far below ``d``.

    By the recurrence ``r_v = 1 / (2 v / kappa + r_{v+1})`` downwards, which shrinks the error of
    its start; it starts at a value between Amos's two bounds (1974) that is right to third order.

    Raises:
        InputError: If ``kappa`` or ``d`` is out of range.

    >>> round(mean_cosine(1.0, 3), 6)  # coth(1) - 1
    0.313035
    """
    check_kappa(kappa)
    if d < 2:
        raise InputError(f"the dimension is {d}", "Give at least 2.")
    if kappa == 0:
        return 0.0
    order = d / 2 + _FAR
    ratio = kappa / (order - 0.5 + math.hypot(math.sqrt(order**2 - 0.25), kappa))
    for step in range(_FAR - 1, -1, -1):
        ratio = 1 / ((d + 2 * step) / kappa + ratio)
    return ratio


def check_kappa(kappa: float) -> None:
    """Refuses a concentration that cannot be drawn with.

    Raises:
        InputError: If it is not between 0 and ``LARGEST_KAPPA``.
    """
    if not 0 <= kappa <= LARGEST_KAPPA:  # NaN fails too
        raise InputError(f"kappa is {kappa!r}", f"Give a number from 0 to {LARGEST_KAPPA:g}.")


def _drawn(mu: Tensor, kappa: float, source: NoiseSource) -> Tensor:
    """A draw around each unit (or zero) row of (n, d)."""
    n, d = mu.shape
    half = math.asinh(2 * kappa / (d - 1)) / 2
    x0, across = math.tanh(half), 1 / math.cosh(half)
    point = standard_gaussian(n * d, source, mu.device).view(n, d)
    lost = (mu == 0).all(dim=1)
    if bool(lost.any()):
        # The direction itself is drawn uniformly; so is, then, what is drawn around it.
        drawn = standard_gaussian(int(lost.sum()) * d, source, mu.device).view(-1, d)
        mu = mu.masked_scatter(lost[:, None], unit(drawn))
    along = torch.linalg.vecdot(point, mu)
    point.addcmul_(along[:, None], mu, value=-1)  # what is left is orthogonal to mu
    length = torch.hypot(along, torch.linalg.vector_norm(point, dim=1))
    t = along / length
    spread = 1 + x0 * t
    u = x0 * t / spread
    log_accept = (d - 1) * (u + torch.log1p(-u))
    uniform = torch.from_numpy(source.uniform(n)).to(mu.device)
    w = (x0 + t) / spread
    scale = across / (spread * length)  # sqrt(1 - w^2) over the length of the rest
    drawn = point.mul_(scale[:, None]).addcmul_(w[:, None], mu)
    again = uniform.log() > log_accept
    if bool(again.any()):
        drawn[again] = _drawn(mu[again], kappa, source)
    return drawn

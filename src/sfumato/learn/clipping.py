"""How far one example's gradient may reach, and the noise that this asks for.

A clipping splits the parameters into groups, bounds each example's gradient in each group, and
turns a noise multiplier into one standard deviation a group. What is proven is joint: one step is a
Gaussian of multiplier ``sigma``, because

    sum_k (C_k / s_k)^2 <= 1 / sigma^2                                             (joint)

with ``C_k`` the bound and ``s_k`` the noise of group ``k``. Noise of ``sigma C_k`` in each of ``m``
groups would be a multiplier of ``sigma / sqrt(m)`` only; nothing here makes that.

Source: Abadi et al., CCS 2016 (flat); McMahan et al., ICLR 2018 (per layer); Bu et al., NeurIPS
2023 (automatic).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 2.0**-21
"""Factors below 1 are this much smaller, relatively: rounding in float32 never lifts a clipped
gradient above its bound."""


class Clipping(Protocol):
    """A bound on each example's gradient, with the noise that it asks for."""

    def groups(self, names: Sequence[str]) -> list[int]:
        """The group of each trainable parameter, by its name in the module."""
        ...

    def factors(self, norms: Tensor) -> Tensor:
        """What each example's gradient is multiplied with, group by group.

        Args:
            norms: (groups, n) L2 norms of the examples' gradients.

        Returns:
            (groups, n), float32 at least; ``norms * factors`` is at most the group's bound. An
            example with a norm that is no finite number gets 0 in every group: it must contribute
            nothing.
        """
        ...

    def sensitivity(self, neighbours: Neighbours) -> float:
        """How far, in L2 over all groups, the clipped sums of two neighbours can be apart."""
        ...

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        """The standard deviation of each group's noise; together they keep (joint)."""
        ...


@dataclass(frozen=True)
class Flat:
    """One bound on the norm of the whole gradient: ``g * min(1, C / |g|)``.

    Args:
        max_grad_norm: The bound ``C``.

    >>> Flat(0.5).noise_stddevs(4.0)
    [2.0]
    """

    max_grad_norm: float

    def __post_init__(self) -> None:
        _check_positive("max_grad_norm", self.max_grad_norm)

    def groups(self, names: Sequence[str]) -> list[int]:
        """All parameters are one group."""
        return [0] * len(names)

    def factors(self, norms: Tensor) -> Tensor:
        """(1, n) factors for (1, n) norms."""
        return _factors(norms, (self.max_grad_norm,))

    def sensitivity(self, neighbours: Neighbours) -> float:
        """``C``, or the diameter ``2 C`` where a record is replaced."""
        return _distance(neighbours) * self.max_grad_norm

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        """``[sigma C]``."""
        return [noise_multiplier * self.max_grad_norm]


@dataclass(frozen=True)
class Automatic:
    """Every gradient is brought to nearly the same norm: ``g * C / (|g| + gamma)``.

    There is no threshold to tune: ``C`` only scales, together with the learning rate.

    Args:
        max_grad_norm: The bound ``C``; no contribution reaches it.
        gamma: Small and positive; gradients much shorter than it keep their relative lengths.
    """

    max_grad_norm: float = 1.0
    gamma: float = 0.01

    def __post_init__(self) -> None:
        _check_positive("max_grad_norm", self.max_grad_norm)
        _check_positive("gamma", self.gamma)

    def groups(self, names: Sequence[str]) -> list[int]:
        """All parameters are one group."""
        return [0] * len(names)

    def factors(self, norms: Tensor) -> Tensor:
        """(1, n) factors for (1, n) norms."""
        norms, usable = _usable(norms)
        factors = self.max_grad_norm * (1 - MARGIN) / (norms + self.gamma)
        return factors.masked_fill(~usable, 0.0)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """``C``, or the diameter ``2 C`` where a record is replaced."""
        return _distance(neighbours) * self.max_grad_norm

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        """``[sigma C]``."""
        return [noise_multiplier * self.max_grad_norm]


@dataclass(frozen=True)
class PerGroup:
    """A bound for each group of parameters, and a share of the step's budget for each.

    Group ``k`` with share ``w_k`` (they sum to 1) gets noise ``s_k = sigma C_k / sqrt(w_k)``: taken
    alone it is a Gaussian of multiplier ``sigma_k = sigma / sqrt(w_k)``, and all together are one
    of multiplier ``sigma``. Without shares every coordinate of every group gets the same noise,
    ``sigma sqrt(sum C_k^2)``, which is ``w_k = C_k^2 / sum C^2``.

    See :func:`per_layer` and :func:`layer_budgets` for the usual ones.

    Args:
        members: For each group the prefixes of its parameters' names: ``("conv1", "head.bias")``.
            A prefix ends at a dot; the longest that fits decides; ``""`` fits all.
        max_grad_norms: The bound ``C_k`` of each group.
        shares: ``w_k`` of each group, or None for the same noise everywhere.

    >>> PerGroup((("0",), ("2",)), (3.0, 4.0)).noise_stddevs(1.0)
    [5.0, 5.0]
    """

    members: tuple[tuple[str, ...], ...]
    max_grad_norms: tuple[float, ...]
    shares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        prefixes = [prefix for group in self.members for prefix in group]
        if not self.members or len(set(prefixes)) < len(prefixes):
            raise InputError(
                f"the groups of parameters are {self.members!r}", "Give each prefix to one group."
            )
        if len(self.max_grad_norms) != len(self.members):
            raise InputError(
                f"there are {len(self.max_grad_norms)} clip norms for {len(self.members)} groups",
                "Give one for each group.",
            )
        for norm in self.max_grad_norms:
            _check_positive("max_grad_norm", norm)
        if self.shares is None:
            return
        for share in self.shares:
            _check_positive("the share of a group", share, "Freeze what is not to be trained.")
        if len(self.shares) != len(self.members) or abs(math.fsum(self.shares) - 1) > 1e-9:
            raise InputError(
                f"the shares of the groups are {self.shares!r}",
                f"Give {len(self.members)} numbers that sum to 1.",
            )

    def groups(self, names: Sequence[str]) -> list[int]:
        """The group of each parameter.

        Raises:
            InputError: If a parameter belongs to no group, or a group to no parameter.
        """
        group_of = {p: group for group, members in enumerate(self.members) for p in members}
        found = [_group(name, group_of) for name in names]
        if empty := sorted(set(range(len(self.members))) - set(found)):
            raise InputError(
                f"no trainable parameter is in group {self.members[empty[0]]!r}",
                f"The parameters are {', '.join(names)}.",
            )
        return found

    def factors(self, norms: Tensor) -> Tensor:
        """(groups, n) factors for (groups, n) norms."""
        return _factors(norms, self.max_grad_norms)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """``sqrt(sum C_k^2)``, or twice that where a record is replaced."""
        return _distance(neighbours) * math.hypot(*self.max_grad_norms)

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        """``sigma C_k / sqrt(w_k)`` of each group; never less than (joint) asks for."""
        if self.shares is None:
            return [noise_multiplier * math.hypot(*self.max_grad_norms)] * len(self.members)
        whole = max(1.0, math.fsum(self.shares))  # shares may sum to 1 + 1e-9
        return [
            noise_multiplier * norm * math.sqrt(whole / share)
            for norm, share in zip(self.max_grad_norms, self.shares, strict=True)
        ]


@dataclass(frozen=True)
class Stacked:
    """A bound on each class's stack of gradients at generated images, and noise for its diameter.

    A stack is no sum over records: with one record more it may be any other of that norm. See
    :mod:`sfumato.learn.class_stacks`.

    Args:
        max_grad_norm: The bound ``C`` on a class's stack.

    >>> Stacked(0.5).noise_stddevs(4.0)
    [4.0]
    """

    max_grad_norm: float

    def __post_init__(self) -> None:
        Flat(self.max_grad_norm)  # refuses what is no bound

    def groups(self, names: Sequence[str]) -> list[int]:
        """All are one group."""
        return [0] * len(names)

    def factors(self, norms: Tensor) -> Tensor:
        """(1, K) factors of the stacks with norms (1, K)."""
        return Flat(self.max_grad_norm).factors(norms)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """``2 C``; a replaced record may leave one class's stack and enter another's."""
        two = neighbours is Neighbours.REPLACE_ONE
        return 2 * self.max_grad_norm * (math.sqrt(2) if two else 1)

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        """``2 sigma C``: relative to the distance of two stacks, not to the bound on one."""
        return [noise_multiplier * self.sensitivity(Neighbours.ADD_REMOVE)]


def per_layer(
    names: Sequence[str],
    max_grad_norms: float | Mapping[str, float],
    *,
    equal_shares: bool = False,
) -> PerGroup:
    """One group for each layer: the parameters of one module together.

    Args:
        names: The trainable parameters, as ``named_parameters()`` gives them.
        max_grad_norms: One number is the bound ``C`` of the whole gradient, of which each of ``m``
            layers gets ``C / sqrt(m)``; or the bound of each layer by its name.
        equal_shares: Noise ``sigma sqrt(m) C_k`` in layer ``k`` instead of the same everywhere.

    Raises:
        InputError: If a layer has no bound.

    >>> per_layer(["0.weight", "0.bias", "2.weight"], 1.0).members
    (('0',), ('2',))
    """
    layers = _layers(names)
    if isinstance(max_grad_norms, Mapping):
        bounds = _by_layer("clip norm", layers, max_grad_norms)
    else:
        bounds = (max_grad_norms / math.sqrt(len(layers)),) * len(layers)
    shares = (1 / len(layers),) * len(layers) if equal_shares else None
    return PerGroup(tuple((layer,) for layer in layers), bounds, shares)


def layer_budgets(
    names: Sequence[str],
    weights: Mapping[str, float],
    max_grad_norms: float | Mapping[str, float],
) -> PerGroup:
    """A budget for each layer inside one step: ``sqrt(w_l) mu`` of the step's ``mu`` (GDP).

    The weights divide the budget of a step; no choice of them makes it smaller. They are public:
    chosen, computed from public data, or paid for.

    Args:
        names: The trainable parameters.
        weights: One positive weight for each layer, by its name; only their proportions count.
        max_grad_norms: As for :func:`per_layer`.

    Raises:
        InputError: If a layer has no weight, or a weight is not positive.
    """
    plain = per_layer(names, max_grad_norms)
    found = _by_layer("weight", _layers(names), weights)
    for weight in found:
        _check_positive("the weight of a layer", weight, "Freeze what is not to be trained.")
    total = math.fsum(found)
    return PerGroup(plain.members, plain.max_grad_norms, tuple(w / total for w in found))


def _layers(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise InputError("there is no trainable parameter", "Unfreeze one.")
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in names))


def _by_layer(what: str, layers: tuple[str, ...], given: Mapping[str, float]) -> tuple[float, ...]:
    if different := sorted(set(layers) ^ set(given)):
        raise InputError(
            f"layer {different[0]!r} has no {what} or does not exist",
            f"Give one for each of {', '.join(layers)}.",
        )
    return tuple(given[layer] for layer in layers)


def _group(name: str, group_of: Mapping[str, int]) -> int:
    prefix = name
    while prefix and prefix not in group_of:
        prefix = prefix.rpartition(".")[0]
    if prefix not in group_of:
        raise InputError(f"parameter {name!r} is in no group", "Give every parameter a group.")
    return group_of[prefix]


def _factors(norms: Tensor, bounds: Sequence[float]) -> Tensor:
    import torch

    if len(norms) != len(bounds):
        raise InputError(f"norms of {len(norms)} groups", f"There are {len(bounds)} clip norms.")
    if len(bounds) == 1:  # the same in half as many operations
        wide = norms if norms.dtype == torch.float64 else norms.float()
        return (bounds[0] * (1 - MARGIN) / wide).clamp_(max=1.0).nan_to_num_(nan=0.0)
    norms, usable = _usable(norms)
    limits = torch.tensor(bounds, dtype=norms.dtype, device=norms.device)[:, None]
    factors = (limits * (1 - MARGIN) / norms).clamp(max=1.0)
    return factors.masked_fill(~usable, 0.0)


def _usable(norms: Tensor) -> tuple[Tensor, Tensor]:
    """The norms in float32 (or 64), and which examples have a finite one in every group."""
    import torch

    norms = norms if norms.dtype == torch.float64 else norms.float()
    return norms, norms.isfinite().all(dim=0, keepdim=True)


def _distance(neighbours: Neighbours) -> int:
    """How many contributions two neighbours can be apart."""
    return 2 if neighbours is Neighbours.REPLACE_ONE else 1


def _check_positive(name: str, value: float, remedy: str = "") -> None:
    if not (isinstance(value, int | float) and 0 < value < math.inf):
        raise InputError(f"{name} is {value!r}", remedy or "Give a finite number above 0.")

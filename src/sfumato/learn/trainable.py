"""Which parameters of a network in parts are trained, in one word.

=========== =========================================================================
``head``    the new linear layer alone
``last-N``  and all of the last N parts
``norms-N`` and weight and bias of their norms (the statistics stay frozen)
``bias-N``  and the biases of their norms: the network's only ones
``lora-N``  and a low-rank change of their 1x1 convolutions
=========== =========================================================================

Without ``-N`` the last three count all parts; ``all`` is ``last-18``. What comes before the first
part that is trained is a public function of each image, computed once.

Source: Ben Zaken et al., ACL 2022, and Bu et al., ICML 2024 (biases alone, under privacy); Hu et
al., ICLR 2022 (low rank).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.vision.efficientnet_lite import STAGES, FrozenNorm

DEEPEST = 2 + sum(stage.blocks for stage in STAGES)
"""Parts that have parameters: the stem, the blocks, the top."""
RANK = 4
_PATTERN = re.compile(r"(last|norms|bias|lora)-([1-9][0-9]?)")


@dataclass(frozen=True)
class Trainable:
    """What is trained beside the head.

    Args:
        kind: ``"head"``, ``"last"``, ``"norms"``, ``"bias"`` or ``"lora"``.
        depth: Of how many parts, counted from the top; 0 for the head alone.
    """

    kind: str
    depth: int

    @classmethod
    def parse(cls, word: str) -> Trainable:
        """Reads the word; see the top of this file.

        Raises:
            InputError: If it is none, or there are not as many parts.

        >>> Trainable.parse("last-2"), Trainable.parse("bias").depth
        (Trainable(kind='last', depth=2), 18)
        """
        if word == "head":
            return cls("head", 0)
        if word in ("norms", "bias", "lora", "all"):
            return cls("last" if word == "all" else word, DEEPEST)
        found = _PATTERN.fullmatch(word) if isinstance(word, str) else None
        if found is None or int(found[2]) > DEEPEST:
            raise InputError(
                f"trainable is {word!r}",
                f"Give head, last-N, norms-N, bias-N or lora-N with N from 1 to {DEEPEST}, or all.",
            )
        return cls(found[1], int(found[2]))

    def cut(self, network: nn.Sequential) -> int:
        """How many parts can be computed once, before the training: one at least."""
        return len(network) - 1 - self.depth if self.depth else len(network)

    def prepare(self, suffix: nn.Sequential, generator: torch.Generator) -> None:
        """Marks what is trained in the parts after the cut, and puts adapters in.

        Args:
            suffix: Frozen parts; changed in place.
            generator: Public randomness for adapters, half of which begin at random.
        """
        if self.kind == "last":
            suffix.requires_grad_(True)
        for name, module in list(suffix.named_modules()):
            if isinstance(module, FrozenNorm) and self.kind in ("norms", "bias"):
                module.bias.requires_grad_(True)
                module.weight.requires_grad_(self.kind == "norms")
            if (
                self.kind == "lora"
                and isinstance(module, nn.Conv2d)
                and module.kernel_size == (1, 1)
            ):
                above, _, own = name.rpartition(".")
                setattr(suffix.get_submodule(above), own, LowRank(module, RANK, generator))


class LowRank(nn.Module):
    """A frozen 1x1 convolution plus one of low rank, which is 0 at first.

    Args:
        conv: Without a bias.
        rank: Channels between the two new convolutions.
        generator: See :meth:`Trainable.prepare`.
    """

    def __init__(self, conv: nn.Conv2d, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = conv
        self.down = nn.Conv2d(conv.in_channels, rank, 1, bias=False)
        self.up = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
        with torch.no_grad():
            self.down.weight.normal_(0, conv.in_channels**-0.5, generator=generator)
            self.up.weight.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels in, h, w) to (n, channels out, h, w)."""
        plain: Tensor = self.conv(images)
        change: Tensor = self.up(self.down(images))
        return plain + change

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """One convolution that does the same."""
        change = self.up.weight.flatten(1) @ self.down.weight.flatten(1)
        self.conv.weight += change.view_as(self.conv.weight)
        return self.conv


def merge(module: nn.Module) -> None:
    """Puts one convolution in the place of every adapter."""
    for above, name, adapter in list(_adapters(module)):
        setattr(above, name, adapter.merged())


def _adapters(module: nn.Module) -> Iterator[tuple[nn.Module, str, LowRank]]:
    for part in module.modules():
        for name, child in part.named_children():
            if isinstance(child, LowRank):
                yield part, name, child

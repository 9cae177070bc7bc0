"""Wavelet scattering of images: features that nobody's data shaped.

An image is filtered by oriented wavelets, the modulus is taken, which makes a wave's place matter
less than its strength, and the result is smoothed; the moduli are filtered once more, which keeps
what smoothing would lose. Every number in it follows from the mathematics, so it is public and
costs no privacy. Two images are never farther apart in the features than they were.

Source: Bruna and Mallat, "Invariant Scattering Convolution Networks", 2013; the wavelets' widths
and frequencies are those of Andreux et al., "Kymatio", 2020, whose figures the paths agree with up
to one public factor for each wavelet passed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sfumato.errors import InputError

_WIDTH = 0.8  # of the finest wavelet, in pixels; each scale doubles it
_FREQUENCY = 3 * math.pi / 4  # of the finest wavelet, in radians a pixel; each scale halves it
_ALIASES = range(-2, 3)  # periods whose spectra are folded in: what lies beyond is below 1e-30
_CHUNK_ENTRIES = 1 << 16  # padded pixels scattered at a time: the working set stays near the cache


@dataclass(frozen=True)
class Scattering:
    """Scattering coefficients of order 0, 1 and 2.

    Args:
        scales: Coefficients are smoothed over ``2**scales`` pixels, and are that far apart.
        angles: Wavelets of each scale; their directions divide half a turn.

    Raises:
        InputError: If there is no scale or no angle.

    >>> Scattering().shape(1, 28, 28)
    (81, 7, 7)
    """

    scales: int = 2
    angles: int = 8

    def __post_init__(self) -> None:
        for name in ("scales", "angles"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give at least 1.")

    @property
    def paths(self) -> int:
        """Coefficients of one channel at one place, in the order 0, 1, 2."""
        second = self.scales * (self.scales - 1) // 2
        return 1 + self.scales * self.angles + second * self.angles**2

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """The features' shape for one image.

        Raises:
            InputError: If the image is too small to be mirrored at its edges.
        """
        least = 2 ** (self.scales + 1)
        if min(height, width) < least:
            raise InputError(
                f"the images are {height} x {width} pixels",
                f"Scattering over {2**self.scales} pixels needs at least {least} x {least}.",
            )
        return self.paths * channels, *(-(-side // 2**self.scales) for side in (height, width))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The features of images, computed a few images at a time.

        Args:
            images: (n, c, h, w) floats.

        Returns:
            (n, c * paths, h / 2**scales, w / 2**scales) float32, sizes rounded up; all paths of a
            channel stand together.

        Guaranteed: ``|S(x) - S(y)| <= |x - y|`` in the Euclidean norm; the features of an image
        depend on no other image.

        Raises:
            InputError: If ``images`` has another number of dimensions, or they are too small.
        """
        if images.dim() != 4:
            raise InputError(
                f"the images have the shape {tuple(images.shape)}",
                "Give (n, channels, height, width).",
            )
        n, channels, height, width = images.shape
        shape = self.shape(channels, height, width)
        bank = _bank(self.scales, self.angles, *shape[1:], images.device)
        features = torch.empty((n * channels, self.paths, *shape[1:]), device=images.device)
        planes = images.reshape(n * channels, 1, height, width)
        size = max(1, _CHUNK_ENTRIES // (bank.height * bank.width))
        for start in range(0, n * channels, size):
            chunk = planes[start : start + size].float()
            bank.scatter(chunk, features[start : start + size])
        return features.view(n, *shape)


@dataclass(frozen=True)
class _Bank:
    """The filters for one size of padded image, height by width.

    Attributes:
        wavelets: ``wavelets[j]``, (angles, height, width), is the real spectrum of scale ``j``.
        smoothing: ``smoothing[j]`` takes rows, and columns, that are ``2**j`` pixels apart to the
            smoothed and cropped ones, (h', height / 2**j) and (width / 2**j, w').
    """

    height: int
    width: int
    wavelets: tuple[Tensor, ...]
    smoothing: tuple[tuple[Tensor, Tensor], ...]

    def scatter(self, planes: Tensor, out: Tensor) -> None:
        """Writes the paths of ``planes``, (b, 1, h, w), into ``out``, (b, paths, h', w')."""
        scales, angles = len(self.wavelets), len(self.wavelets[0])
        margin = 2**scales
        below = self.height - margin - planes.shape[-2]
        right = self.width - margin - planes.shape[-1]
        padded = torch.nn.functional.pad(planes, (margin, right, margin, below), mode="reflect")
        out[:, :1] = self._smooth(padded, 0)
        spectrum = torch.fft.fft2(padded)
        second = 1 + scales * angles
        for j in range(scales):
            first = self._modulus(spectrum, j, 0)
            at = 1 + j * angles
            out[:, at : at + angles] = self._smooth(first, j)
            if j + 1 == scales:
                break
            moduli = torch.fft.fft2(first)
            for k in range(j + 1, scales):
                paths = self._modulus(moduli, k, j)
                out[:, second : second + angles**2] = self._smooth(paths, k)
                second += angles**2

    def _modulus(self, spectrum: Tensor, scale: int, known: int) -> Tensor:
        """``|u * wavelet|`` of every field u and angle, at every ``2**scale``-th pixel.

        Args:
            spectrum: (b, fields, ...) of fields known at every ``2**known``-th pixel.
            scale: Of the wavelets.
            known: See ``spectrum``.

        Returns:
            (b, fields * angles, height / 2**scale, width / 2**scale).
        """
        wavelets = _folded(self.wavelets[scale], 2**known)
        keep = 2 ** (scale - known)
        b, fields, height, width = spectrum.shape
        h, w = height // keep, width // keep
        # Taking every k-th pixel is averaging the spectrum over its k * k aliases.
        total = torch.zeros((b, fields, len(wavelets), h, w), dtype=spectrum.dtype)
        total = total.to(spectrum.device)
        pairs = torch.view_as_real(total).flatten(-2)
        for i in range(keep):
            for j in range(keep):
                rows, columns = slice(i * h, (i + 1) * h), slice(j * w, (j + 1) * w)
                part = torch.view_as_real(spectrum[:, :, None, rows, columns]).flatten(-2)
                # A real filter on interleaved real and imaginary parts.
                gain = wavelets[:, rows, columns].repeat_interleave(2, dim=-1) / keep**2
                pairs.addcmul_(part, gain)
        waves = torch.view_as_real(torch.fft.ifft2(total.flatten(1, 2)))
        return torch.hypot(waves[..., 0], waves[..., 1])

    def _smooth(self, fields: Tensor, known: int) -> Tensor:
        """Fields known at every ``2**known``-th pixel, smoothed, one value for each block."""
        rows, columns = self.smoothing[known]
        return rows @ (fields @ columns)


def _folded(spectrum: Tensor, step: int) -> Tensor:
    """The spectrum of a filter of fields that are known at every ``step``-th pixel."""
    if step == 1:
        return spectrum
    angles, height, width = spectrum.shape
    blocks = spectrum.reshape(angles, step, height // step, step, width // step)
    return blocks.sum(dim=(1, 3))


@lru_cache(maxsize=8)
def _bank(scales: int, angles: int, rows: int, columns: int, device: torch.device) -> _Bank:
    """The filters that give ``rows`` by ``columns`` coefficients."""
    margin = 2**scales
    height, width = (margin * (side + 2) for side in (rows, columns))
    wavelets = torch.stack(
        [
            _morlet(j, math.pi * angle / angles, angles, height, width)
            for j in range(scales)
            for angle in range(angles)
        ]
    )
    smooth = [_gaussian(scales, side) for side in (height, width)]
    wavelets *= _gain(wavelets, smooth[0][:, None] * smooth[1])
    by_scale = torch.split(wavelets.float().to(device), angles)
    smoothing = tuple(
        (
            _smoothing(smooth[0], margin, 2**j).to(device),
            _smoothing(smooth[1], margin, 2**j).T.contiguous().to(device),
        )
        for j in range(scales)
    )
    return _Bank(height, width, tuple(by_scale), smoothing)


def _morlet(scale: int, angle: float, angles: int, height: int, width: int) -> Tensor:
    """The spectrum of a wavelet, (height, width) float64: a Gaussian about its frequency, less
    as much of one about 0 as makes its mean exactly 0.

    ``exp(-(s^2/2) ((w1 - f)^2 + w2^2 / slant^2))`` with ``w1`` along the wave: its crests are
    ``1 / slant`` times as long as it is wide.
    """
    spread = _WIDTH * 2**scale
    frequency = _FREQUENCY / 2**scale
    slant = 4 / angles
    across, down = _frequencies(height), _frequencies(width)
    wave, centre = (torch.zeros(height, width, dtype=torch.float64) for _ in range(2))
    for i in _ALIASES:
        for j in _ALIASES:
            y, x = (across + 2 * math.pi * i)[:, None], (down + 2 * math.pi * j)[None]
            along = math.cos(angle) * y + math.sin(angle) * x
            beside = (math.cos(angle) * x - math.sin(angle) * y) / slant
            wave += torch.exp(-(spread**2) / 2 * ((along - frequency) ** 2 + beside**2))
            centre += torch.exp(-(spread**2) / 2 * (along**2 + beside**2))
    return wave - wave[0, 0] / centre[0, 0] * centre


def _gaussian(scales: int, side: int) -> Tensor:
    """The spectrum of the smoothing along one axis, (side,) float64; 1 at 0."""
    spread = _WIDTH * 2 ** (scales - 1)
    frequencies = _frequencies(side)
    periods = [torch.exp(-((spread * (frequencies + 2 * math.pi * i)) ** 2) / 2) for i in _ALIASES]
    total: Tensor = torch.stack(periods).sum(dim=0)
    return total.div(total[0])


def _gain(wavelets: Tensor, smoothing: Tensor) -> float:
    """The largest factor for the wavelets that lets no frequency's energy grow.

    Littlewood-Paley: ``|smoothing|^2 + (1/2) sum |wavelet(w)|^2 + |wavelet(-w)|^2 <= 1``, which
    makes one layer, and so every layer, non-expansive on real images.
    """
    energy = wavelets.square().sum(dim=0)
    mirrored = torch.roll(energy.flip(0, 1), (1, 1), (0, 1))
    energy = (energy + mirrored) / 2
    room = 1 - smoothing.square()
    used = energy > 1e-12
    return math.sqrt(float((room[used] / energy[used]).min()))


def _smoothing(spectrum: Tensor, margin: int, step: int) -> Tensor:
    """The smoothing of a line known at every ``step``-th pixel, at the blocks of the image.

    Returns:
        (blocks, side / step) float32; the first and last block, which are padding, are left out.
    """
    kernel = torch.fft.ifft(spectrum.to(torch.complex128)).real
    side = len(kernel)
    at = torch.arange(margin, side - margin, margin)
    offsets = at[:, None] - torch.arange(0, side, step)[None]
    lines: Tensor = kernel[offsets % side].mul(step)
    return lines.float()


def _frequencies(side: int) -> Tensor:
    """Radians a pixel of each entry of a spectrum, (side,) float64."""
    turns: Tensor = torch.fft.fftfreq(side, dtype=torch.float64)
    return turns.mul(2 * math.pi)

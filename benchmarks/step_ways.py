"""What :mod:`step` compares: five models, and the ways to take one training step of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine
from sfumato.learn.noise import add_gaussian

Step = Callable[[], None]
NOISE_MULTIPLIER, BOUND = 1.0, 1.0
# Nothing moves: all ways do the same arithmetic on the same weights at every step. Where weights
# move apart, so do the branches of max-pooling and the time that they take (measured: twofold).
RATE = 0.0


def mlp() -> nn.Module:
    """784-512-256-10."""
    layers = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


def cnn28() -> nn.Module:
    """Two convolutions on 28x28, Tramèr and Boneh's."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.Tanh(),
        nn.Linear(32, 10),
    )


def cnn32() -> nn.Module:
    """Eight layers on 32x32, Tramèr and Boneh's."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 32, 0, 64, 64, 0, 128, 128, 0):
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.Tanh()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 128), nn.Tanh(), nn.Linear(128, 10))


class Block(nn.Module):
    """A wide-residual block with GroupNorm."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(16, inner), nn.GroupNorm(16, outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        same = inner == outer and stride == 1
        self.short = None if same else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """values: (n, inner, h, w)."""
        active = F.relu(self.norm1(values))
        deep = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return deep + (values if self.short is None else self.short(active))


def wrn() -> nn.Module:
    """WRN-16-4."""
    blocks = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
    inner = 16
    for width, stride in ((64, 1), (128, 2), (256, 2)):
        blocks += [Block(inner, width, stride), Block(width, width, 1)]
        inner = width
    head = [nn.GroupNorm(16, 256), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*blocks, *head, nn.Linear(256, 10))


class Encoder(nn.Module):
    """Four transformer layers of width 256; the class is read from the mean position."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10_000, 256)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(256, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, T)."""
        out: Tensor = self.head(self.layers(self.embedding(tokens)).mean(1))
        return out


class Attention(nn.Module):
    """A self-attention of torch's, spelled out in linear layers with the same weights.

    What Opacus 1.6 replaces attention by computes something else if the batch comes first: it reads
    (heads of the batch, position, width of a head) as (batch, position, width).
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width, self.heads = attention.embed_dim, attention.num_heads
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        self.inward = nn.Linear(width, 3 * width, dtype=weight.dtype, device=weight.device)
        self.out_proj = attention.out_proj
        with torch.no_grad():
            self.inward.weight.copy_(weight)
            self.inward.bias.copy_(bias)
        # What an encoder layer asks its attention for; none of it is true of this one.
        self.batch_first, self._qkv_same_embed_dim, self.in_proj_bias = True, False, None

    def forward(self, values: Tensor, *_: Tensor, **__: object) -> tuple[Tensor, None]:
        """values: (n, T, width)."""
        n, positions, width = values.shape
        parts = self.inward(values).view(n, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*parts).transpose(1, 2)
        return self.out_proj(seen.reshape(n, positions, width)), None


def spelled_out(module: nn.Module) -> nn.Module:
    """The module, whose attention is now layers that Opacus can clip; the outputs are the same."""
    for layer in module.modules():
        if isinstance(layer, nn.TransformerEncoderLayer):
            layer.self_attn = Attention(layer.self_attn)
    return module


def images(n: int, channels: int, size: int) -> Tensor:
    return torch.randn(n, channels, size, size)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]] = {
    "mlp": (mlp, lambda n: torch.randn(n, 784), 256),
    "cnn28": (cnn28, lambda n: images(n, 1, 28), 256),
    "cnn32": (cnn32, lambda n: images(n, 3, 32), 256),
    "wrn16_4": (wrn, lambda n: images(n, 3, 32), 256),
    "transformer": (Encoder, lambda n: torch.randint(0, 10_000, (n, 128)), 64),
}


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def plain(module: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    optimiser = torch.optim.SGD(module.parameters(), RATE)

    def step() -> None:
        optimiser.zero_grad()
        losses(module(inputs), targets).mean().backward()
        optimiser.step()

    return step


def plain_channels_last(module: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    module = module.to(memory_format=torch.channels_last)
    return plain(module, inputs.contiguous(memory_format=torch.channels_last), targets)


def compiled(module: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    return plain(torch.compile(module), inputs, targets)


def ours(module: nn.Module, inputs: Tensor, targets: Tensor, last: bool = False) -> Step:
    if last:
        module = module.to(memory_format=torch.channels_last)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    clipping = Flat(BOUND)
    engine = Engine(module, losses, clipping)
    parameters = dict(module.named_parameters())
    optimiser = torch.optim.SGD(parameters.values(), RATE)
    stddev = clipping.noise_stddevs(NOISE_MULTIPLIER)[0]

    def step() -> None:
        sums = engine.clipped_sum(inputs, targets).gradients
        values = list(sums.values())
        values = add_gaussian(values, [stddev] * len(values), divisor=len(targets), reuse=True)
        for name, value in zip(sums, values, strict=True):
            parameters[name].grad = value
        optimiser.step()
        optimiser.zero_grad()

    return step


def vmapped(module: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    from torch.func import functional_call, grad, vmap

    parameters = dict(module.named_parameters())
    optimiser = torch.optim.SGD(parameters.values(), RATE)

    def one(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return losses(functional_call(module, values, (x[None],)), y[None]).sum()

    gradient = vmap(grad(one), (None, 0, 0))
    clipping = Flat(BOUND)

    def step() -> None:
        values = {k: p.detach() for k, p in parameters.items()}
        found = gradient(values, inputs, targets)
        norms = sum(g.flatten(1).square().sum(1) for g in found.values()).sqrt()
        factors = clipping.factors(norms[None])[0]
        for name, g in found.items():
            parameters[name].grad = (factors @ g.flatten(1)).view_as(parameters[name])
        optimiser.step()
        optimiser.zero_grad()

    return step


def opacus(module: nn.Module, inputs: Tensor, targets: Tensor, mode: str) -> Step:
    from opacus import PrivacyEngine
    from opacus.validators import ModuleValidator
    from torch.utils.data import DataLoader, TensorDataset

    # Attention is replaced by Opacus's own, which it can clip.
    module = ModuleValidator.fix(module)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=len(targets))
    made = PrivacyEngine().make_private(
        module=module.train(),
        optimizer=torch.optim.SGD(module.parameters(), RATE),
        data_loader=loader,
        criterion=nn.CrossEntropyLoss(),
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=BOUND,
        poisson_sampling=False,
        grad_sample_mode=mode,
    )
    wrapped, optimiser = made[0], made[1]
    criterion = made[2] if mode == "ghost" else nn.CrossEntropyLoss()

    def step() -> None:
        optimiser.zero_grad()
        criterion(wrapped(inputs), targets).backward()
        optimiser.step()

    return step


WAYS: dict[str, Callable[[nn.Module, Tensor, Tensor], Step]] = {
    "plain": plain,
    "plain_channels_last": plain_channels_last,
    "compiled": compiled,
    "compiled_channels_last": lambda m, x, y: plain_channels_last(torch.compile(m), x, y),
    "ours": ours,
    "ours_channels_last": lambda m, x, y: ours(m, x, y, last=True),
    "engine_compiled": lambda m, x, y: ours(torch.compile(m), x, y),
    "vmap": vmapped,
    "opacus_hooks": lambda m, x, y: opacus(m, x, y, "hooks"),
    "opacus_ghost": lambda m, x, y: opacus(m, x, y, "ghost"),
    "opacus_hooks_spelled_out": lambda m, x, y: opacus(spelled_out(m), x, y, "hooks"),
    "opacus_ghost_spelled_out": lambda m, x, y: opacus(spelled_out(m), x, y, "ghost"),
}

ON_REQUEST = ("engine_compiled",)
"""Ways that are measured only if they are named: they take minutes to compile."""


def noise(module: nn.Module) -> Step:
    """The noise of one step alone."""
    sums = [torch.zeros_like(p, requires_grad=False) for p in module.parameters()]

    def step() -> None:
        add_gaussian(sums, [BOUND * NOISE_MULTIPLIER] * len(sums), divisor=256, reuse=True)

    return step


def build(model: str, n: int | None, device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The model with a batch, the same at every call."""
    make, data, batch = MODELS[model]
    torch.manual_seed(0)
    n = n or batch
    return make().to(device), data(n).to(device), torch.randint(0, 10, (n,), device=device)


def ways_of(model: str, names: list[str]) -> Iterator[str]:
    """Those that make sense for a model."""
    for name in names:
        images = model not in ("mlp", "transformer")
        if (images or "channels_last" not in name) and (
            model == "transformer" or "spelled_out" not in name
        ):
            yield name


def prepare(model: str, way: str, n: int | None = None, device: str = "cpu", warm: int = 3) -> Step:
    """The step, warmed up: what it keeps between steps is there."""
    step = WAYS[way](*build(model, n, device))
    for _ in range(warm):
        step()
    return step

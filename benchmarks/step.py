"""What a step with per-example clipping costs, against the fastest plain step of the same model.

All ways of one model run interleaved in one process, so that whatever else the machine does falls
on all of them; medians and their ratios are reported. Run from the repository's root:

    python benchmarks/step.py --out benchmarks/results/step.json

Ways: ``plain`` (contiguous and channels-last, the faster one counts; optimiser step included in
all), ``compiled`` (the plain step under torch.compile; reported, not the measure), ``ours`` (clip,
secure noise, optimiser step), ``ours_without_noise``, ``vmap`` (torch.func's per-example
gradients, no noise), and Opacus's hooks and ghost modes where it is installed. Peak memory is the
growth of the process's resident memory over one step, in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


def ours(
    module: nn.Module, inputs: Tensor, targets: Tensor, noise: bool = True, last: bool = False
) -> Step:
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
        if noise:
            stddevs = [stddev] * len(values)
            values = add_gaussian(values, stddevs, divisor=len(targets), reuse=True)
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
    from torch.utils.data import DataLoader, TensorDataset

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
    "ours": ours,
    "ours_channels_last": lambda m, x, y: ours(m, x, y, last=True),
    "ours_without_noise": lambda m, x, y: ours(m, x, y, noise=False),
    "vmap": vmapped,
    "opacus_hooks": lambda m, x, y: opacus(m, x, y, "hooks"),
    "opacus_ghost": lambda m, x, y: opacus(m, x, y, "ghost"),
}


def prepare(model: str, way: str, n: int | None, device: str) -> Step:
    """The step, warmed up: what it keeps between steps is there."""
    make, data, batch = MODELS[model]
    torch.manual_seed(0)
    n = n or batch
    module, inputs = make().to(device), data(n).to(device)
    step = WAYS[way](module, inputs, torch.randint(0, 10, (n,), device=device))
    for _ in range(3):
        step()
    return step


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(model: str, ways: list[str], repetitions: int, device: str) -> dict[str, list[float]]:
    """Seconds of each way's steps, one of each in turn."""
    steps: dict[str, Step] = {}
    for way in ways:
        if "channels_last" in way and model in ("mlp", "transformer"):
            continue
        try:
            steps[way] = prepare(model, way, None, device)
        except (RuntimeError, NotImplementedError) as error:
            print(f"{model}: {way} cannot run: {str(error).splitlines()[0]}", file=sys.stderr)
    seconds: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(repetitions):
        for way, step in steps.items():
            synchronise(device)
            start = time.perf_counter()
            step()
            synchronise(device)
            seconds[way].append(time.perf_counter() - start)
    return seconds


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak(model: str, way: str, device: str) -> float:
    """MiB that steps need at most beyond what model and data take before the first."""
    make, data, batch = MODELS[model]
    if device == "cuda":
        step = prepare(model, way, None, device)
        base = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - base) / 2**20
    prepare(model, way, 2, device)()  # libraries loaded, threads started
    torch.manual_seed(0)
    module, inputs = make(), data(batch)
    step = WAYS[way](module, inputs, torch.randint(0, 10, (batch,)))
    gc.collect()
    base = top = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal top
        while not done.wait(0.002):
            top = max(top, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        step()
        top = max(top, resident())
    done.set()
    watcher.join()
    return (top - base) / 2**20


def peaks(model: str, ways: list[str], device: str) -> dict[str, float]:
    """Of each way, in a fresh process."""
    found = {}
    for way in ways:
        command = [sys.executable, __file__, "--peak", model, way, "--device", device]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found[way] = round(float(done.stdout.split()[-1]), 1)
    return found


def summary(seconds: dict[str, list[float]], memory: dict[str, float]) -> dict[str, Any]:
    """Medians, and ratios to the fastest eager plain step."""
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    fastest = min((w for w in medians if w.startswith("plain")), key=lambda w: medians[w])
    return {
        "fastest_plain": fastest,
        "milliseconds": {way: round(1e3 * t, 2) for way, t in medians.items()},
        "ratios": {way: round(t / medians[fastest], 3) for way, t in medians.items()},
        "peak_mib": memory,
    }


def machine() -> dict[str, Any]:
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    opacus_version = None
    if find_spec("opacus"):
        try:
            opacus_version = version("opacus")
        except PackageNotFoundError:
            opacus_version = "unknown"
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_start": [round(x, 2) for x in os.getloadavg()],
        "torch": torch.__version__,
        "opacus": opacus_version,
        "python": platform.python_version(),
        "allocator": os.environ.get("LD_PRELOAD") or "the C library's",
        "allocator_settings": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--ways", nargs="*", choices=list(WAYS))
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(*options.peak, options.device))
        return
    ways = options.ways or [w for w in WAYS if not w.startswith("opacus") or find_spec("opacus")]
    result: dict[str, Any] = {"machine": machine(), "models": {}}
    for model in options.models:
        seconds = measure(model, ways, options.repetitions, options.device)
        memory = {} if options.no_memory else peaks(model, list(seconds), options.device)
        result["models"][model] = summary(seconds, memory) | {
            "batch": MODELS[model][2],
            "repetitions": options.repetitions,
        }
        print(model, json.dumps(result["models"][model], indent=1), flush=True)
    ours_ratios = [
        min(v for k, v in m["ratios"].items() if k in ("ours", "ours_channels_last"))
        for m in result["models"].values()
        if "ours" in m["ratios"]
    ]
    if ours_ratios:
        result["geometric_mean_of_ours"] = round(statistics.geometric_mean(ours_ratios), 3)
        print("geometric mean", result["geometric_mean_of_ours"])
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

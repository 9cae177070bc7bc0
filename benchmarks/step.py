"""What a step with per-example clipping costs, against the fastest plain step of the same model.

All ways of one model run interleaved in one process, so that whatever else the machine does falls
on all of them. Run from the repository's root, in an environment with Opacus if it is to be
compared (it is no dependency of this project):

    python benchmarks/step.py --out benchmarks/results/step.json

Ways: ``plain`` (contiguous and channels-last, the faster one counts; the optimiser's step included
in all), ``compiled`` (the plain step under torch.compile; reported, not the measure), ``ours``
(clip, secure noise, optimiser step), on request ``engine_compiled`` (ours of a compiled module),
``vmap`` (torch.func's per-example gradients, no noise), and Opacus's hooks and ghost modes. A
ratio is the median over rounds of a way's time over the fastest plain step's in the same round; the
same of processor time stands beside it. Peak memory is the growth of the process's resident memory
over two steps, the median of some processes of their own; the summary compares that of the two ways
whose times it compares. ``differences`` compares the sums themselves (``step_oracles.py``).

Each model is measured in a process of its own. ``--only`` takes some of the models or parts and
leaves the others in the file as they were. On a shared machine ``--models`` splits the run.
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
import time
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from step_ways import MODELS, ON_REQUEST, WAYS, Step, build, noise, prepare, ways_of

PARTS = ("time", "memory", "differences")
REPEATS = 5  # processes that memory is measured in: what the C library keeps differs by a tenth
FEWEST = 3  # rounds of every way, however slow
ORACLE_BATCH = {"mlp": 64, "cnn28": 64, "cnn32": 32, "wrn16_4": 12, "transformer": 12}


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(model: str, ways: list[str], seconds: float, device: str) -> dict[str, Any]:
    """Times of all ways, one step of each in turn, for so many seconds."""
    steps: dict[str, Step] = {}
    refused: dict[str, str] = {}
    for way in ways_of(model, ways):
        try:
            steps[way] = prepare(model, way, None, device, warm=1 if model == "wrn16_4" else 3)
        except (RuntimeError, NotImplementedError, ImportError) as error:
            refused[way] = str(error).splitlines()[0]
    steps["noise"] = noise(build(model, 2, device)[0])
    wall: dict[str, list[float]] = {way: [] for way in steps}
    cpu: dict[str, list[float]] = {way: [] for way in steps}
    share = seconds / len(steps)
    plain = [way for way in steps if way.startswith("plain")]
    always = [way for way in steps if way.startswith(("plain", "ours", "noise"))]
    finish = time.perf_counter() + seconds
    while len(wall[plain[0]]) < FEWEST or time.perf_counter() < finish:
        # What takes long leaves when it has had its share; what is compared stays to the end.
        slow = [w for w in steps if len(wall[w]) < FEWEST or sum(wall[w]) < share]
        for way in dict.fromkeys([*always, *slow]):
            synchronise(device)
            start, used = time.perf_counter(), time.process_time()
            steps[way]()
            synchronise(device)
            wall[way].append(time.perf_counter() - start)
            cpu[way].append(time.process_time() - used)
    fastest = min(plain, key=lambda way: statistics.median(wall[way]))
    return {
        "batch": MODELS[model][2],
        "fastest_plain": fastest,
        "rounds": {way: len(times) for way, times in wall.items()},
        "milliseconds": {w: round(1e3 * statistics.median(t), 2) for w, t in wall.items()},
        "ratios": ratios(wall, fastest),
        "processor_milliseconds": {w: round(1e3 * statistics.median(t), 2) for w, t in cpu.items()},
        "processor_ratios": ratios(cpu, fastest),
        "refused": refused,
    }


def ratios(times: dict[str, list[float]], fastest: str) -> dict[str, float]:
    """Of each way to the fastest plain one, medians over rounds."""
    return {
        way: round(statistics.median(a / b for a, b in zip(own, times[fastest], strict=False)), 3)
        for way, own in times.items()
    }


def resident(field: str) -> float:
    """MiB of resident memory, now (VmRSS) or at most since the last reset (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"this system does not tell {field}")


def peak(model: str, way: str, device: str) -> float:
    """MiB that steps need at most beyond what model and data take before the first."""
    if device == "cuda":
        step = prepare(model, way, None, device)
        base = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - base) / 2**20
    prepare(model, way, 2)()  # libraries loaded, threads started
    step = WAYS[way](*build(model, None, device))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    for _ in range(2):
        step()
    return resident("VmHWM") - before


def child(*arguments: str) -> Any:
    """What this file prints when it is run with these arguments; None if it fails."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def middle(figures: list[float | None]) -> float | None:
    """The median of those that are there."""
    found = [figure for figure in figures if figure is not None]
    return statistics.median(found) if found else None


def machine() -> dict[str, Any]:
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "niceness": os.nice(0),
        "torch": torch.__version__,
        "opacus": version("opacus") if find_spec("opacus") else None,
        "python": platform.python_version(),
        "allocator": os.environ.get("LD_PRELOAD") or "the C library's",
        "allocator_settings": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
        "kernels": "torch" if os.environ.get("SFUMATO_COMPILE") == "0" else "compiled",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def quickest(ratios: dict[str, float], prefix: str) -> str | None:
    """Of the ways whose names begin so, the one that takes the least time."""
    found = [way for way in ratios if way.startswith(prefix)]
    return min(found, key=ratios.__getitem__, default=None)


def judge(models: dict[str, Any]) -> dict[str, Any]:
    """The figures that the models are judged by.

    Time and memory are of the same two ways: ours in the layout in which it is fastest, over the
    plain step in the layout in which that is fastest. ``layouts`` names them; a model without times
    is not judged.
    """
    parts = ("layouts", "ours", "compiled", "opacus_over_ours", "memory")
    found: dict[str, Any] = {part: {} for part in parts}
    for name, entry in models.items():
        times, memory = entry.get("time"), entry.get("memory", {})
        own = quickest(times["ratios"], "ours") if times else None
        if own is None:
            continue
        ratios, plain = times["ratios"], times["fastest_plain"]
        found["layouts"][name] = [own, plain]
        found["ours"][name] = ratios[own]
        compiled, opacus = quickest(ratios, "compiled"), quickest(ratios, "opacus")
        if compiled:
            found["compiled"][name] = ratios[compiled]
        if opacus:
            found["opacus_over_ours"][name] = round(ratios[opacus] / ratios[own], 2)
        if own in memory and plain in memory:
            found["memory"][name] = round(memory[own] / memory[plain], 2)
    if found["ours"]:
        found["geometric_mean_of_ours"] = round(
            statistics.geometric_mean(found["ours"].values()), 3
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS))
    parser.add_argument("--seconds", type=float, default=120, help="of each model")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    ways = options.ways or [
        w
        for w in WAYS
        if w not in ON_REQUEST and (not w.startswith("opacus") or find_spec("opacus"))
    ]
    if options.child:
        part, model, *way = options.child
        if part == "time":
            print(json.dumps(measure(model, ways, options.seconds, options.device)))
        elif part == "memory":
            print(json.dumps(round(peak(model, way[0], options.device), 1)))
        else:
            from step_oracles import differences

            print(json.dumps(differences(model, ORACLE_BATCH[model])))
        return
    result: dict[str, Any] = {"models": {}}
    if options.out and options.out.exists():
        result = json.loads(options.out.read_text())
    common = ("--device", options.device)
    for model in options.models:
        entry = result["models"].setdefault(model, {})
        for part in options.only:
            settings = machine()
            if part == "memory":
                found = {
                    w: middle([child("--child", part, model, w, *common) for _ in range(REPEATS)])
                    for w in ways_of(model, ways)
                    if not w.startswith("compiled")
                }
            else:
                found = child(
                    *("--ways", *ways, "--seconds", str(options.seconds)),
                    *("--child", part, model, *common),
                )
            entry[part] = {k: v for k, v in (found or {}).items() if v is not None}
            entry[part]["machine"] = settings
            print(model, part, json.dumps(entry[part], indent=1), flush=True)
        result["summary"] = judge(result["models"])
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result.get("summary"), indent=1))


if __name__ == "__main__":
    main()

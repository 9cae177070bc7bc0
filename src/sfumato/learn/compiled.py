"""Kernels in C: compiled at first use, kept in the user's cache, and never needed.

Where there is no C compiler, or ``SFUMATO_COMPILE=0`` is set, the same is done in torch, slower.
Kernels run in torch's own OpenMP threads where the compiler and torch agree on a runtime, else in
one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

Kernel = Callable[[bytes, Tensor, float, float, float], None]
"""``kernel(words, values, stddev, inverse, scale)``; see gaussian.c."""

FreshKernel = Callable[[Tensor, float, float, float], bool]
"""``kernel(values, stddev, inverse, scale)``: whether it was done."""

_FOLDER = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
_THREADS = "-fopenmp"
_TIMEOUT = 60.0

_POINTER, _SIZE, _DOUBLE = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double


def library(source: str) -> ctypes.CDLL | None:
    """The compiled form of a C file of this package; None where there is none.

    Args:
        source: The file, relative to this folder.
    """
    if os.environ.get("SFUMATO_COMPILE", "1") == "0":
        return None
    for flags in ((*_FLAGS, _THREADS), _FLAGS):
        try:
            # The runtime that threads need is not linked but found in this process, torch's own;
            # a second one would fight over the cores. Where torch has another, loading fails.
            return ctypes.CDLL(str(_built(_FOLDER / source, flags)))
        except (OSError, subprocess.SubprocessError):
            continue
    return None


@lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """Noise from given words on contiguous float32 tensors on the CPU; None where there is none."""
    found = library("gaussian.c")
    if found is None:
        return None
    function = found.add_gaussian
    function.restype = None
    function.argtypes = [ctypes.c_char_p, _POINTER, _SIZE, _DOUBLE, _DOUBLE, _DOUBLE]

    def call(words: bytes, values: Tensor, stddev: float, inverse: float, scale: float) -> None:
        function(words, values.data_ptr(), values.numel(), stddev, inverse, scale)

    return call


@lru_cache(maxsize=1)
def fresh_kernel() -> FreshKernel | None:
    """Noise from a cipher stream of its own, likewise; None where there is none."""
    found = library("gaussian.c")
    if found is None:
        return None
    function = found.add_fresh_gaussian
    function.restype = ctypes.c_int
    function.argtypes = [
        ctypes.c_char_p,
        *(_POINTER, _SIZE, _DOUBLE, _DOUBLE, _DOUBLE),
        ctypes.c_int,
    ]

    def call(values: Tensor, stddev: float, inverse: float, scale: float) -> bool:
        threads = torch.get_num_threads()
        where, n = values.data_ptr(), values.numel()
        return bool(function(None, where, n, stddev, inverse, scale, threads) == 0)

    return call


def _built(source: Path, flags: tuple[str, ...]) -> Path:
    """The compiled library, which nobody else can have written.

    Raises:
        OSError: If there is no compiler, or no safe place for what it makes.
        subprocess.SubprocessError: If it fails.
    """
    text = source.read_bytes()
    identity = repr((text, flags, platform.machine(), platform.system())).encode()
    folder = _cache()
    built = folder / f"{source.stem}-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    if not built.exists():
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            raise FileNotFoundError("no C compiler")
        with tempfile.TemporaryDirectory(dir=folder) as made:
            unlinked, part = Path(made) / "part.o", Path(made) / built.name
            _run(compiler, *flags, "-c", str(source), "-o", str(unlinked))
            _run(compiler, "-shared", str(unlinked), "-o", str(part), "-lm")
            os.replace(part, built)
    _check_ours(built)
    return built


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT)


def _cache() -> Path:
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = chosen if chosen.is_absolute() else Path.home() / ".cache"
    folder = base / "sfumato" / "compiled"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_ours(folder)
    return folder


def _check_ours(path: Path) -> None:
    """Raises PermissionError if somebody else could have put code there."""
    found = path.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise PermissionError(f"{path} can be written by others")

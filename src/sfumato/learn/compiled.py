"""The noise kernel in C: compiled at first use, kept in the user's cache, and never needed.

Where there is no C compiler, or ``SFUMATO_COMPILE=0`` is set, noise is made in torch, from the same
words and with the same result, four times slower.
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

from torch import Tensor

Kernel = Callable[[bytes, Tensor, float, float, float], None]
"""``kernel(words, values, stddev, inverse, scale)``; see gaussian.c."""

_SOURCE = Path(__file__).with_name("gaussian.c")
_FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_TIMEOUT = 60.0


@lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """The compiled kernel for contiguous float32 tensors on the CPU; None where there is none."""
    if os.environ.get("SFUMATO_COMPILE", "1") == "0":
        return None
    try:
        library = ctypes.CDLL(str(_library()))
        function = library.add_gaussian
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None
    function.restype = None
    function.argtypes = [
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_double,
        ctypes.c_double,
        ctypes.c_double,
    ]

    def call(words: bytes, values: Tensor, stddev: float, inverse: float, scale: float) -> None:
        function(words, values.data_ptr(), values.numel(), stddev, inverse, scale)

    return call


def _library() -> Path:
    """The compiled library, which nobody else can have written.

    Raises:
        OSError: If there is no compiler, or no safe place for what it makes.
        subprocess.SubprocessError: If it fails.
    """
    source = _SOURCE.read_bytes()
    identity = repr((source, _FLAGS, platform.machine(), platform.system())).encode()
    folder = _cache()
    library = folder / f"gaussian-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    if not library.exists():
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            raise FileNotFoundError("no C compiler")
        with tempfile.TemporaryDirectory(dir=folder) as made:
            part = Path(made) / library.name
            subprocess.run(
                [compiler, *_FLAGS, str(_SOURCE), "-o", str(part), "-lm"],
                check=True,
                capture_output=True,
                timeout=_TIMEOUT,
            )
            os.replace(part, library)
    _check_ours(library)
    return library


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

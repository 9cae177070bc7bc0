"""Code in C: compiled at first use, kept in the user's cache, and never needed.

Where there is no C compiler, or ``SFUMATO_COMPILE=0`` is set, callers do the same in torch, slower.
It runs in torch's own OpenMP threads where the compiler and torch agree on a runtime, else in
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
from pathlib import Path

_FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
_THREADS = "-fopenmp"
_TIMEOUT = 60.0
_SWITCH = "SFUMATO_COMPILE"


def library(source: Path, *options: str) -> ctypes.CDLL | None:
    """The compiled form of a C file; None where there is none.

    Args:
        source: The file.
        options: More for the compiler, such as what this processor can do.
    """
    if not _wanted():
        return None
    for flags in ((*_FLAGS, *options, _THREADS), (*_FLAGS, *options)):
        try:
            # The runtime that threads need is not linked but found in this process, torch's own;
            # a second one would fight over the cores. Where torch has another, loading fails.
            return ctypes.CDLL(str(_built(source, flags)))
        except (OSError, subprocess.SubprocessError):
            continue
    return None


def trouble(source: Path) -> str | None:
    """Why a C file has no compiled form here, and the remedy; None where it has one."""
    if not _wanted():
        return f"{_SWITCH} is 0; unset it"
    if library(source) is not None:
        return None
    try:
        ctypes.CDLL(str(_built(source, _FLAGS)))
    except FileNotFoundError:
        return f"there is no C compiler {_compiler()!r}; install one, or name it by CC"
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return (
            f"{_compiler()!r} fails ({said[0] if said else error.returncode}); name another by CC"
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{error}; set XDG_CACHE_HOME to a folder that is yours alone"
    return None


def folder() -> Path:
    """Where compiled code is kept."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = chosen if chosen.is_absolute() else Path.home() / ".cache"
    return base / "sfumato" / "compiled"


def _wanted() -> bool:
    return os.environ.get(_SWITCH, "1") != "0"


def _compiler() -> str:
    return os.environ.get("CC", "cc")


def _built(source: Path, flags: tuple[str, ...]) -> Path:
    """The compiled library, which nobody else can have written.

    Raises:
        OSError: If there is no compiler, or no safe place for what it makes.
        subprocess.SubprocessError: If it fails.
    """
    text = source.read_bytes()
    identity = repr((text, flags, platform.machine(), platform.system())).encode()
    kept = folder()
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_ours(kept)
    built = kept / f"{source.stem}-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    if not built.exists():
        compiler = shutil.which(_compiler())
        if compiler is None:
            raise FileNotFoundError("no C compiler")
        with tempfile.TemporaryDirectory(dir=kept) as made:
            unlinked, part = Path(made) / "part.o", Path(made) / built.name
            _run(compiler, *flags, "-c", str(source), "-o", str(unlinked))
            _run(compiler, "-shared", str(unlinked), "-o", str(part), "-lm")
            os.replace(part, built)
    _check_ours(built)
    return built


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT)


def _check_ours(path: Path) -> None:
    """Raises PermissionError if somebody else could have put code there."""
    found = path.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise PermissionError(f"{path} can be written by others")

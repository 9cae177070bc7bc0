"""How much memory a piece of work needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """The most memory that was resident.

    Args:
        mebibytes: Of the whole process; None until the work is done, and where the system
            keeps no such count.
    """

    mebibytes: float | None = None


@contextmanager
def peak() -> Iterator[Peak]:
    """Watches the process while the body runs.

    On Linux the kernel's high-water mark is reset first; elsewhere the peak stays None.
    """
    found = Peak()
    try:
        _RESET.write_text("5")
    except OSError:
        yield found
        return
    yield found
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            found.mebibytes = int(line.split()[1]) / 1024

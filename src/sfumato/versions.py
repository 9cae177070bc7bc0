"""Which versions computed a figure."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

CORE = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "ibis-framework",
    "duckdb",
    "dp-accounting",
    "opendp",
    "safetensors",
)


@cache
def installed(distribution: str) -> str | None:
    """The installed version of a distribution, or None; nothing is imported."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of sfumato, Python and the core dependencies that are installed."""
    found = {name: installed(name) for name in ("sfumato", *CORE)}
    return {"python": platform.python_version(), **{k: v for k, v in found.items() if v}}

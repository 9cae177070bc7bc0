"""Makes the battery's own modules importable as ``battery.*``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sfumato.learn.engine import apart, engine

sys.path.insert(0, str(Path(__file__).parents[1]))
for module in ("correlation", "checks"):
    pytest.register_assert_rewrite(f"battery.{module}")

LOOKED_AT: dict[object, bool] = {}


@pytest.fixture(autouse=True, scope="module")
def looked_at_once() -> Iterator[None]:
    """Looks at whether a network and a loss keep examples apart once for each of their kinds.

    A training looks at its own; here the same few small networks are trained thousands of times.
    """

    def once(module: Any, loss: Any, *rest: Any) -> bool:
        kind = (
            type(module).__qualname__,
            getattr(loss, "__qualname__", type(loss).__qualname__),
            tuple((name, tuple(p.shape)) for name, p in module.named_parameters()),
        )
        if kind not in LOOKED_AT:
            LOOKED_AT[kind] = apart.check_apart(module, loss, *rest)
        return LOOKED_AT[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "check_apart", once)
        yield

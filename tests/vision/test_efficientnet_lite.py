"""The network is the published one, and no image in it sees another."""

from __future__ import annotations

import pytest
import torch
from tests.learn.lite0 import published, random_network, written_out
from torch import nn

from sfumato.errors import InputError
from sfumato.vision import efficientnet_lite


@pytest.mark.parametrize("side", [32, 64, 50])
def test_the_parts_together_are_the_network_written_out(side: int) -> None:
    network = random_network(side).double()
    images = torch.rand(3, 3, side, side, dtype=torch.float64)
    prepared = (images - 127 / 255) / (128 / 255)
    expected = written_out(published(), prepared)
    torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)


def test_between_cuts_without_copying() -> None:
    network = random_network()
    images = torch.rand(2, 1, 28, 28)
    for cut in (0, 1, 7, len(network)):
        first = efficientnet_lite.between(network, 0, cut)
        second = efficientnet_lite.between(network, cut, len(network))
        torch.testing.assert_close(second(first(images)), network(images), rtol=0, atol=0)
    assert next(iter(first.parameters())) is next(iter(network.parameters()))


def test_grey_is_three_equal_channels_and_a_constant_stays_one_when_resized() -> None:
    prepare = efficientnet_lite.Prepare(48)
    grey = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(prepare(grey), prepare(grey.expand(-1, 3, -1, -1)))
    flat = prepare(torch.full((1, 1, 100, 70), 127 / 255))
    torch.testing.assert_close(flat, torch.zeros(1, 3, 48, 48), atol=1e-5, rtol=0)


def test_norms_stay_in_eval_mode_and_track_nothing() -> None:
    network = random_network().train()
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 2 + 2 + 15 * 3
    assert not any(norm.training for norm in norms)
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.rand(4, 3, 32, 32))
    for name, value in network.named_buffers():
        assert torch.equal(value, before[name])


def test_weights_of_something_else_are_refused() -> None:
    network = efficientnet_lite.network(32)
    weights = published()
    with pytest.raises(InputError, match=r"_bn1\.bias is missing"):
        efficientnet_lite.load_weights(
            network, {name: w for name, w in weights.items() if name != "_bn1.bias"}
        )
    with pytest.raises(InputError, match=r"_se\.weight is not part"):
        efficientnet_lite.load_weights(network, weights | {"_se.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="has shape"):
        efficientnet_lite.load_weights(network, weights | {"_bn1.bias": torch.zeros(2)})


@pytest.mark.parametrize("side", [31, 2000, 64.0])
def test_a_side_the_network_cannot_take_is_refused(side: int) -> None:
    with pytest.raises(InputError, match="side of the network's pictures"):
        efficientnet_lite.network(side)

"""A public generator, codes of images in its latent space, and what is drawn of codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.drawings import draw
from sfumato.publish.generators import codes
from sfumato.publish.generators.codes import CodeArchitecture, CodeCritic, invert

SHAPES = pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 12)])


def made(shape: tuple[int, int, int]) -> CodeArchitecture:
    return CodeArchitecture(shape, 3, 4, 6, 5, 8, 4)


def coder(shape: tuple[int, int, int], epochs: int = 1) -> Any:
    return codes.public_autoencoder(draw(200, shape, 1), made(shape).decoder, epochs, 0.1, seed=2)


@SHAPES
def test_an_images_code_hangs_on_itself_alone(shape: tuple[int, int, int]) -> None:
    images = draw(30, shape, 5)
    found = invert(coder(shape), images, 3, 0.05, 2.0)
    alone = invert(coder(shape), images[7:8], 3, 0.05, 2.0)
    assert torch.equal(found[7:8], alone)  # to the last bit
    assert found.shape == (30, 5)
    assert (found.norm(dim=1) <= 2.0 + 1e-5).all()


def test_no_code_moves_when_a_record_before_it_is_gone() -> None:
    """Planted: a last batch as small as what is left, in which layers round otherwise."""
    public, images = coder((1, 28, 28)), draw(135, (1, 28, 28), 6)
    whole = invert(public, images, 2, 0.05, 2.0)
    for gone in (0, 60, 134):
        kept = torch.arange(len(images)) != gone
        assert torch.equal(invert(public, images[kept], 2, 0.05, 2.0), whole[kept])


def test_steps_bring_a_code_nearer_to_its_image() -> None:
    shape = (1, 8, 8)
    public = coder(shape, epochs=5)
    wanted = 2 * torch.randn(40, 5, generator=torch.Generator().manual_seed(4))
    images = public.decoder(wanted)[:, :, :8, :8]  # such as there are codes for

    def error(steps: int) -> float:
        shown = public.decoder(invert(public, images, steps, 0.1, 100.0))[:, :, :8, :8]
        return float((shown - images).square().mean())

    assert error(60) < 0.5 * error(0)


def test_what_is_no_number_has_a_code_all_the_same() -> None:
    images = torch.full((1, 1, 8, 8), torch.nan)
    assert invert(coder((1, 8, 8)), images, 2, 0.05, 2.0).isfinite().all()


@SHAPES
def test_a_generator_of_codes_is_written_and_read(shape: tuple[int, int, int]) -> None:
    architecture = made(shape)
    assert CodeArchitecture.from_dict(architecture.to_dict() | {"class_prior": []}) == architecture
    module = architecture.build().eval()
    labels = torch.tensor([0, 2, 1, 1])
    images = architecture.images(module, labels, torch.Generator().manual_seed(1))
    assert images.shape == (4, *shape)
    tensors = {name: value.numpy() for name, value in module.state_dict().items()}
    again = architecture.images(
        architecture.load(tensors), labels, torch.Generator().manual_seed(1)
    )
    assert torch.equal(images, again)
    with pytest.raises(InputError, match="do not fit"):
        architecture.load({"codes.0.weight": np.zeros((1, 1), np.float32)})
    with pytest.raises(InputError, match="holds no generator"):
        CodeArchitecture.from_dict({"kind": codes.KIND})


def test_a_critic_of_codes_mixes_no_examples() -> None:
    critic = CodeCritic(5, 3, 7)
    given, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    whole = critic(given, labels)
    assert whole.shape == (6,)
    assert torch.allclose(critic(given[2:3], labels[2:3])[0], whole[2], atol=1e-6)
    assert not torch.allclose(critic(given, labels.flip(0)), whole)

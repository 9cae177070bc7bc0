"""Networks rebuilt from plain values: what is refused, and that no network mixes examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.architectures import build, families, family, load, weights
from sfumato.learn.architectures.scattering import feature_values
from sfumato.learn.recipe import ScatterLinear

GREY = [1, 14, 14]
EXAMPLES: dict[str, dict[str, Any]] = {
    "small-cnn": {"shape": GREY, "classes": 3},
    "deep-cnn": {"shape": [3, 8, 8], "classes": 3},
    "dense": {"shape": GREY, "classes": 3, "hidden": [5]},
    "projected-dense": {"shape": GREY, "classes": 3, "components": 4, "hidden": [5]},
    "wide-resnet": {"shape": GREY, "classes": 3, "depth": 10, "width": 1},
    "table-dense": {
        "columns": [{"size": 4, "grid": None}, {"size": 6, "grid": 5}],
        "classes": 3,
        "hidden": [5],
    },
    "scatter-linear": {
        "shape": [1, 16, 16],
        "classes": 3,
        "features": feature_values(ScatterLinear(classes=3)),
    },
}
EACH = pytest.mark.parametrize("name", sorted(EXAMPLES))


def architecture(name: str) -> dict[str, Any]:
    return {"family": name, **EXAMPLES[name]}


def inputs(name: str, n: int = 3, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    if name == "table-dense":
        return torch.from_numpy(rng.integers(0, [4, 6], (n, 2)).astype(np.int32))
    return torch.from_numpy(rng.random((n, *EXAMPLES[name]["shape"])).astype(np.float32))


def test_every_family_of_the_room_is_among_the_examples() -> None:
    missing = {
        name
        for name, builder in families().items()
        if name not in EXAMPLES and builder.__module__.rpartition(".")[2] in ROOM
    }
    assert missing == set()


ROOM = ("convolutional", "dense", "residual", "scattering")


@EACH
def test_what_is_loaded_gives_the_scores_of_what_was_kept(name: str) -> None:
    made = build(architecture(name), seed=3).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter))
    found = load(architecture(name), weights(made))
    assert not found.training
    x = inputs(name)
    torch.testing.assert_close(found(x), made(x), rtol=0, atol=0)


@EACH
def test_no_network_mixes_examples(name: str) -> None:
    module = build(architecture(name), seed=1).eval()
    x = inputs(name)
    with torch.no_grad():
        together = module(x)
        others = inputs(name, seed=9)
        others[0] = x[0]
        torch.testing.assert_close(module(x[:1])[0], together[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module(others)[0], together[0], rtol=1e-4, atol=1e-5)


def test_batch_normalisation_is_caught_by_the_same_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted defect: a network that normalises over the batch."""

    def mixing(*, shape: list[int], classes: int) -> torch.nn.Module:
        layers = [torch.nn.Flatten(), torch.nn.BatchNorm1d(196), torch.nn.Linear(196, classes)]
        return torch.nn.Sequential(*layers)

    monkeypatch.setitem(EXAMPLES, "dense", {"shape": GREY, "classes": 3})
    monkeypatch.setitem(families_table(), "dense", mixing)
    monkeypatch.setattr(torch.nn.Sequential, "eval", lambda self: self)
    with pytest.raises((AssertionError, ValueError)):
        test_no_network_mixes_examples("dense")


def families_table() -> dict[str, Any]:
    from sfumato.learn import architectures

    families()
    return architectures._families


@EACH
def test_a_seed_fixes_the_initial_weights_and_leaves_the_global_generator_alone(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (weights(build(architecture(name), seed=s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(np.array_equal(one[key], again[key]) for key in one)
    assert any(not np.array_equal(one[key], other[key]) for key in one)


def test_weights_are_copies() -> None:
    module = build(architecture("dense"), seed=0)
    kept = weights(module)
    kept["1.weight"][:] = 7
    assert not torch.any(module[1].weight == 7)


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"family is 'nothing'.*Known: .*small-cnn"):
        build({"family": "nothing"})
    with pytest.raises(InputError, match="family is None"):
        build({})


@pytest.mark.parametrize(
    "changed",
    [{"widths": 3}, {"classes": None}, {"classes": -1}, {"shape": [1, -4, 4]}, {"shape": 5}],
    ids=str,
)
def test_arguments_that_are_not_the_family_s_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="architecture 'dense' cannot be built"):
        build({**architecture("dense"), **changed})


@pytest.mark.parametrize(("name", "side"), [("small-cnn", 13), ("deep-cnn", 7)])
def test_images_that_are_too_small_are_refused(name: str, side: int) -> None:
    with pytest.raises(InputError, match=f"{side} x {side} pixels"):
        build({"family": name, "shape": [1, side, side], "classes": 2})


def damaged(tensors: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    if how == "one is missing":
        tensors.pop("1.bias")
    elif how == "one is too many":
        tensors["extra"] = np.zeros(2, np.float32)
    else:
        tensors["1.weight"] = tensors["1.weight"][:, :-1]
    return tensors


@pytest.mark.parametrize("how", ["one is missing", "one is too many", "one has another shape"])
def test_tensors_of_another_architecture_are_refused(how: str) -> None:
    tensors = damaged(weights(build(architecture("dense"), seed=0)), how)
    with pytest.raises(InputError, match="weights do not fit"):
        load(architecture("dense"), tensors)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'dense' is registered twice"):

        @family("dense")
        def another() -> torch.nn.Module:
            return torch.nn.Identity()

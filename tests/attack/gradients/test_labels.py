"""Labels and inputs in closed form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.attack.gradients.inversion import gradients_of
from sfumato.attack.gradients.labels import input_of_layer, label_of_bias, label_of_weight
from sfumato.errors import InputError

PIXELS, HIDDEN, CLASSES = 30, 12, 10


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def network(seed: int, activation: nn.Module) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(PIXELS, HIDDEN), activation, nn.Linear(HIDDEN, CLASSES))


def sent(module: nn.Module, n: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Inputs, labels and the gradients of each example by parameter."""
    inputs, labels = torch.rand(n, PIXELS), torch.randint(CLASSES, (n,))
    flat = gradients_of(module, losses, inputs, labels)
    sizes = {name: p.shape for name, p in module.named_parameters()}
    parts = flat.split([shape.numel() for shape in sizes.values()], dim=1)
    return (
        inputs,
        labels,
        {
            name: part.view(n, *shape)
            for (name, shape), part in zip(sizes.items(), parts, strict=True)
        },
    )


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.ReLU(), nn.Tanh()])
def test_labels_of_exact_gradients_are_all_found(activation: nn.Module) -> None:
    for seed in range(3):
        _, labels, gradients = sent(network(seed, activation), 200)
        assert torch.equal(label_of_bias(gradients["2.bias"]), labels)
        alive = gradients["2.weight"].abs().sum(dim=(1, 2)) > 0  # with ReLU nothing may pass
        assert torch.equal(label_of_weight(gradients["2.weight"])[alive], labels[alive])


def test_labels_of_a_trained_model_are_found_too() -> None:
    module = network(0, nn.Tanh())
    inputs, labels, _ = sent(module, 300)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(module(inputs), labels).backward()
        optimizer.step()
    _, labels, gradients = sent(module, 200)
    assert torch.equal(label_of_bias(gradients["2.bias"]), labels)
    assert torch.equal(label_of_weight(gradients["2.weight"]), labels)


def test_noise_without_a_signal_leaves_chance() -> None:
    torch.manual_seed(1)
    labels = torch.randint(CLASSES, (20_000,))
    for found in (
        label_of_bias(torch.randn(20_000, CLASSES)),
        label_of_weight(torch.randn(20_000, CLASSES, 3)),
    ):
        right = float((found == labels).double().mean())
        assert abs(right - 0.1) < 5 * (0.09 / 20_000) ** 0.5  # false alarm below 1e-6


def test_the_input_of_a_biased_first_layer_is_recovered_exactly() -> None:
    inputs, _, gradients = sent(network(0, nn.Tanh()), 50)
    found = input_of_layer(gradients["0.weight"], gradients["0.bias"])
    assert torch.allclose(found, inputs, atol=1e-4)


def test_rows_are_weighted_so_that_noise_is_averaged_out() -> None:
    inputs, _, gradients = sent(network(0, nn.Tanh()), 50)
    noisy = gradients["0.weight"] + 0.01 * torch.randn_like(gradients["0.weight"])
    bias = gradients["0.bias"]
    found = input_of_layer(noisy, bias)
    largest = bias.abs().argmax(dim=1)
    rows = torch.arange(50)
    single = noisy[rows, largest] / bias[rows, largest, None]
    assert (found - inputs).square().mean() < 0.7 * (single - inputs).square().mean()


def test_where_nothing_passed_through_nothing_is_found() -> None:
    found = input_of_layer(torch.zeros(1, 4, 3), torch.zeros(1, 4))
    assert torch.equal(found, torch.zeros(1, 3))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="Give \\(n, classes\\)"):
        label_of_bias(torch.zeros(10))
    with pytest.raises(InputError, match="Give \\(n, classes, d\\)"):
        label_of_weight(torch.zeros(10, 3))
    with pytest.raises(InputError, match="Give \\(n, out\\)"):
        input_of_layer(torch.zeros(1, 4, 3), torch.zeros(4))


# Planted: the rule with its sign turned, and one that ignores which example is meant.


@pytest.mark.parametrize(
    "planted", [lambda g: g.argmax(dim=1), lambda g: g.sum(dim=0).argmin().expand(len(g))]
)
def test_wrong_rules_do_not_find_all_labels(planted) -> None:
    _, labels, gradients = sent(network(0, nn.Tanh()), 200)
    assert (planted(gradients["2.bias"]) == labels).double().mean() < 0.5

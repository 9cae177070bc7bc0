"""Rows of generators that are trained by noisy clipped gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from battery.accountant import Parts
from battery.row import Array, MethodRow
from battery.rows.pate import public_records
from battery.rows.trained import steps_of_plan, trained
from sfumato.publish.generators.augm import Augm
from sfumato.publish.generators.cvae import Cvae
from sfumato.publish.generators.dp2vae import Dp2Vae
from sfumato.publish.generators.dpgan import DpGan
from sfumato.publish.generators.dpmi import Dpmi
from sfumato.publish.generators.vaegm import VaeGm
from sfumato.release.release import Artefact

SMALL: dict[str, Any] = {
    "epochs": 1.0,
    "expected_batch_size": 10,
    "max_grad_norm": 1.0,
    "class_prior": "uniform",
    "samples": 12,
    "latent": 4,
    "hidden": 6,
    "width": 4,
    "averaging": 0.5,
    "seed": 1,
    "device": "cpu",
}
ALTERNATIVES: dict[str, Any] = {
    "epochs": 2.0,
    "expected_batch_size": 8,
    "max_grad_norm": 0.5,
    "class_prior": {"a": 0.5, "b": 0.25, "c": 0.25},
    "samples": 9,
    "latent": 3,
    "hidden": 5,
    "width": 2,
    "averaging": 0.0,
    "max_minutes": 1e-9,
    "seed": 2,
    "device": "cuda",
}


def cvae(name: str, *, counted: bool = False) -> MethodRow:
    """An autoencoder; where classes are counted too, the steps' noise is not measured again."""
    settings: dict[str, Any] = {"class_prior": "estimated"} if counted else {}
    again: dict[str, Any] = {"noise": None} if counted else {}
    return trained(
        name,
        Cvae,
        {**SMALL, "encoder_width": 2, "encoder_hidden": 5, "learning_rate": 0.1, "divergence": 9.0}
        | settings,
        ALTERNATIVES
        | {"learning_rate": 0.05, "divergence": 0.5, "encoder_width": 4, "encoder_hidden": 4},
        parts=with_counts,
        numbers=generator_of,
        paid_for=frozenset({"class_prior"}),
        runs=0,
        slow_runs=400,
        canaries=40,
        **again,
    )


def augm(name: str) -> MethodRow:
    """An autoencoder, and what it makes of pictures of nobody."""

    def numbers(artefact: Artefact) -> dict[str, Array]:
        pictures: Any = artefact.data
        return {**generator_of(artefact), "pictures": pictures.images, "of": pictures.labels}

    return coder(
        name,
        Augm,
        {
            "encoder_width": 4,
            "encoder_hidden": 12,
            "samples": None,
            "hidden": 30,
            "width": 16,
            "latent": 8,
        },
        {"encoder_width": 2, "encoder_hidden": 5, "public_data": public_records()},
        numbers=numbers,
    )


def vaegm(name: str) -> MethodRow:
    """An autoencoder for each class."""
    return coder(
        name,
        VaeGm,
        {"encoder_hidden": 5, "divergence": 9.0, "width": 16},
        {"encoder_hidden": 4, "divergence": 0.5, "width": 4},
    )


def dp2vae(name: str) -> MethodRow:
    """An encoder, then a decoder."""
    return coder(
        name,
        Dp2Vae,
        {"encoder_width": 2, "encoder_hidden": 5, "divergence": 9.0},
        {
            "encoder_width": 4,
            "encoder_hidden": 4,
            "divergence": 0.5,
            "encoder_share": 0.6,
            "public_data": public_records(),
            "public_epochs": 1,
        },
    )


def coder(
    name: str,
    subject: type,
    settings: Mapping[str, Any],
    alternatives: Mapping[str, Any],
    **more: Any,
) -> MethodRow:
    """A method that trains an autoencoder of some kind."""
    filled: dict[str, Any] = {
        "parts": with_counts,
        "numbers": generator_of,
        "paid_for": frozenset({"class_prior"}),
        "runs": 0,
        "slow_runs": 400,
        "canaries": 40,
    }
    return trained(
        name,
        subject,
        SMALL | {"learning_rate": 0.1} | dict(settings),
        ALTERNATIVES | {"learning_rate": 0.05} | dict(alternatives),
        **{**filled, **more},
    )


def dpgan(name: str, **settings: Any) -> MethodRow:
    """A critic and its generator."""
    sides = {"critic_steps": 2, "batch": 6, "critic_width": 2, "critic_hidden": 4}
    sides |= {"max_grad_norm": 0.1}  # gradients of so small a critic stay below 1
    return trained(
        name,
        DpGan,
        SMALL | sides | {"generator_rate": 0.1, "critic_rate": 0.1} | settings,
        ALTERNATIVES
        | {
            "critic_rate": 0.05,
            "generator_rate": 0.05,
            "critic_steps": 1,
            "generator_steps": 2,
            "batch": 5,
            "diversity": 1.0,
            "critic_width": 3,
            "critic_hidden": 3,
        },
        parts=with_counts,
        numbers=generator_of,
        paid_for=frozenset({"class_prior"}),
        runs=0,
        slow_runs=400,
        canaries=40,
    )


def dpmi(name: str, **settings: Any) -> MethodRow:
    """A critic of codes and its generator."""
    own = {
        "public_images": 60,
        "public_epochs": 1,
        "code": 3,
        "divergence": 0.1,
        "decoder_hidden": 5,
        "inversion_steps": 1,
        "max_grad_norm": 0.05,
        "critic_steps": 2,
        "batch": 6,
        "critic_hidden": 4,
        "generator_rate": 0.1,
        "critic_rate": 0.1,
    }
    return trained(
        name,
        Dpmi,
        SMALL | own | settings,
        ALTERNATIVES
        | {
            "public": "silhouettes",
            "public_images": 50,
            "public_epochs": 2,
            "code": 2,
            "divergence": 0.9,
            "decoder_hidden": 4,
            "inversion_steps": 2,
            "inversion_rate": 0.2,
            "critic_rate": 0.05,
            "generator_rate": 0.05,
            "critic_steps": 1,
            "generator_steps": 2,
            "batch": 5,
            "critic_hidden": 3,
        },
        parts=with_counts,
        numbers=generator_of,
        paid_for=frozenset({"class_prior"}),
        runs=0,
        slow_runs=400,
        canaries=40,
    )


def with_counts(plan: Mapping[str, Any], facts: Any) -> Parts:
    """Sampled steps, and noisy class counts where the card has them."""
    parts = steps_of_plan(plan, facts)
    if "class_counts_stddev" not in plan:
        return parts
    return parts.discrete_gaussian(1, plan["class_counts_stddev"])


def generator_of(artefact: Artefact) -> dict[str, Array]:
    """The weights of a released generator."""
    return dict(artefact.tensors)

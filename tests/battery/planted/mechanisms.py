"""Defects of mechanisms: clips, noise and what they are scaled to."""

from __future__ import annotations

from dataclasses import replace

from battery.defects import house, mechanisms
from battery.planted.defect import HONEST, Planted, spoilt
from sfumato.privacy.mechanisms import RandomizedResponse

PLANTED: tuple[Planted, ...] = (
    Planted(
        "one clip factor for a batch",
        "CADP (a matrix norm of the batch); dPA; batch normalisation",
        spoilt("LocalVector", mechanisms.into(mechanisms.BatchClip)),
        ("check_other_records_unmoved",),
    ),
    Planted(
        "each coordinate clipped instead of the vector",
        "our own: clip-by-value for clip-by-norm",
        spoilt("LocalVector", mechanisms.into(mechanisms.CoordinateClip)),
        ("check_norms", "check_two_point"),
    ),
    Planted(
        "clip norm shrinks with epsilon, noise stays",
        "CADP",
        replace(HONEST["LocalVector"], make=mechanisms.shrinking),
        ("check_reach_is_fixed", "check_noise_falls"),
    ),
    Planted(
        "radius for diameter, vectors",
        "CADP",
        spoilt("LocalVector", mechanisms.into(mechanisms.HalfNoiseVector)),
        ("check_two_point",),
    ),
    Planted(
        "radius for diameter, numbers",
        "CADP; DP-UTIL's votes (half of the scale)",
        spoilt("LocalNumeric: laplace, even diameter", mechanisms.into(mechanisms.RadiusNumeric)),
        ("check_two_point", "check_one_run"),
    ),
    Planted(
        "exponential mechanism without the factor 2",
        "our own",
        spoilt("ExponentialMechanism", mechanisms.into(mechanisms.NoFactorTwo)),
        ("check_two_point",),
    ),
    Planted(
        "noise scaled to the private range",
        "AdLM (private extremes without a budget)",
        spoilt("LocalNumeric: laplace, odd diameter", mechanisms.into(mechanisms.PrivateRange)),
        ("check_other_records_unmoved",),
    ),
    Planted(
        "a border that stays at zero strength",
        "PriCheXy-Net",
        spoilt("LocalNumeric: laplace, odd diameter", mechanisms.into(mechanisms.BorderNumeric)),
        ("check_identity",),
    ),
    Planted(
        "one scalar of noise for a whole array",
        "DP-UTIL (a sampler called without a size)",
        spoilt("Laplace: add-remove", mechanisms.into(mechanisms.ScalarNoise)),
        ("check_coordinates_independent",),
    ),
    Planted(
        "noise that does not know its budget",
        "CADP (the same noise at every epsilon up to 8)",
        replace(HONEST["RandomizedResponse"], make=lambda budget: RandomizedResponse(6, 1.0)),
        ("check_noise_falls", "check_calibration"),
    ),
    Planted(
        "half the noise where it cannot be seeded",
        "our own: tests that only see the tests' generator",
        HONEST["DiscreteLaplace: replace-one"],
        ("check_secure_draws",),
        house.half_in_secret,
    ),
    Planted(
        "one number for an array where it cannot be seeded",
        "our own: tests that only see the tests' generator",
        HONEST["DiscreteGaussian: scalar, replace-one"],
        ("check_secure_draws",),
        house.one_in_secret,
    ),
)

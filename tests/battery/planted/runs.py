"""Defects of a run: what is accounted, debited and written, and when."""

from __future__ import annotations

from battery.defects import generators, house, tables
from battery.planted.defect import HONEST, Planted, spoilt

PLANTED: tuple[Planted, ...] = (
    Planted(
        "the event is not what runs",
        "DP-Kernel's benchmark (another sampler is accounted than runs)",
        spoilt(generators.MERF, house.event_of_half),
        ("check_parts_sum", "check_realised_loss"),
    ),
    Planted(
        "epsilon typed in a second place",
        "our own",
        house.method(generators.MERF),
        ("check_event_gives_epsilon",),
        house.typed_epsilon,
    ),
    Planted(
        "a conversion at another delta",
        "CADP (delta = 1)",
        HONEST["Gaussian: add-remove"],
        ("check_renyi_is_above",),
        house.loose_conversion,
    ),
    Planted(
        "any delta is taken",
        "CADP (delta = 1)",
        house.method("tables.adaptive: paid"),
        ("check_loose_delta_refused",),
        house.any_delta,
    ),
    Planted(
        "noise drawn before the debit",
        "our own",
        spoilt(tables.COUNTS, house.recast(house.NoiseFirst)),
        ("check_debit_before_noise",),
    ),
    Planted(
        "no debit on a replay",
        "our own",
        spoilt(tables.COUNTS, house.recast(house.PaidOnce)),
        ("check_replay",),
    ),
    Planted(
        "data looked at after the debit",
        "our own",
        spoilt(tables.COUNTS, house.recast(house.DebitFirst)),
        ("check_refused_data_cost_nothing",),
    ),
    Planted(
        "a release written in place",
        "our own",
        house.method(tables.COUNTS),
        ("check_save_is_whole",),
        house.save_in_place,
    ),
)

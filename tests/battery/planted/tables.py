"""Defects of methods for tables."""

from __future__ import annotations

from dataclasses import replace

from battery.defects import house, marginals, tables, trained_rows
from battery.planted.defect import HONEST, Planted, spoilt

PLANTED: tuple[Planted, ...] = (
    Planted(
        "one attribute's epsilon printed as the row's",
        "AdDP (Utaliyeva et al. 2023), as an expert reads its figures",
        spoilt(tables.PUBLIC, tables.largest_part),
        ("check_parts_sum", "check_realised_loss"),
    ),
    Planted(
        "a budget for the label beside the whole one",
        "our own; CADP releases labels in the clear",
        spoilt(tables.PUBLIC, tables.label_on_top),
        ("check_epsilons_sum",),
    ),
    Planted(
        "bounds taken from the private rows",
        "an objection to task-specific adaptive DP (min and max of the data)",
        spoilt(tables.PUBLIC, tables.private_bounds),
        ("check_only_draws_leak",),
    ),
    Planted(
        "importance taken from the rows for free",
        "an objection to task-specific adaptive DP (importance of the private table)",
        spoilt(tables.PUBLIC, tables.free_importance),
        ("check_card_is_public", "check_only_draws_leak", "check_realised_loss"),
    ),
    Planted(
        "steps that are not charged",
        "AdLM (noise drawn anew in every step, charged once)",
        spoilt(tables.mostly_importance(), tables.uncharged_steps),
        ("check_realised_loss",),
    ),
    Planted(
        "noise for another count than is averaged over",
        "AdLM (a mean over 2,000 images, noise for 60,000)",
        spoilt(tables.mostly_importance(), tables.another_count),
        ("check_realised_loss",),
    ),
    Planted(
        "attributions of mean 1, noise for a sum of 1",
        "AdLM's weights (d times the share), were they averaged under noise",
        tables.mostly_importance(),
        ("check_realised_loss",),
        tables.mean_of_one,
    ),
    Planted(
        "importance learnt from the rows that are released, charged as if from others",
        "our own: parallel composition of parts that overlap",
        spoilt(tables.SPLIT, tables.taught_by_all),
        ("check_realised_loss",),
    ),
    Planted(
        "a record's part chosen by its value",
        "our own: stratified splits, charged as parallel composition",
        spoilt(tables.SPLIT, tables.parted_by_value),
        ("check_realised_loss",),
    ),
    Planted(
        "the whole budget for each attribute that a row reports",
        "our own",
        spoilt(tables.SAMPLED, tables.whole_budget_for_each_sampled),
        ("check_realised_loss",),
    ),
    Planted(
        "the same seed for every batch",
        "our own: generators made anew in a loader's workers",
        spoilt(tables.PUBLIC, tables.seed_a_batch),
        ("check_batches_independent",),
    ),
    Planted(
        "a generator with a default seed",
        "our own",
        spoilt(tables.PUBLIC, tables.own_seed),
        ("check_runs_independent",),
    ),
    Planted(
        "records measured from their batch",
        "dPA (activations over the batch's maximum)",
        spoilt(tables.PUBLIC, tables.batch_statistic),
        ("check_batch_size",),
    ),
    Planted(
        "a setting silently ignored",
        "CADP (`channels`)",
        replace(house.method(tables.PUBLIC), subject=tables.IgnoresShare),
        ("check_every_setting_matters",),
    ),
    Planted(
        "an unknown setting silently ignored",
        "CADP (`coutpling_block`)",
        house.method(tables.PUBLIC),
        ("check_unknown_keys",),
        house.lenient_registry,
    ),
    Planted(
        "an impossible value silently replaced",
        "our own",
        replace(house.method(tables.COUNTS), subject=tables.Unchecked),
        ("check_nonsense_refused",),
    ),
    Planted(
        "noise divided by the number of records",
        "MC-GEN (scales over both n and the cluster's size)",
        spoilt(tables.MCGEN, tables.published_sensitivity),
        ("check_realised_loss",),
    ),
    Planted(
        "clusters computed from the rows for free",
        "MC-GEN (micro-aggregation that is charged nothing)",
        spoilt(tables.MCGEN, tables.clusters_of_the_rows),
        ("check_realised_loss",),
    ),
    Planted(
        "noise drawn again until a covariance is positive",
        "MC-GEN",
        spoilt(tables.MCGEN, tables.until_positive),
        ("check_realised_loss",),
    ),
    Planted(
        "noise forgotten on one marginal",
        "DP-UTIL (votes that are noise-free at any epsilon)",
        spoilt(tables.COUNTS, tables.forgets_noise),
        ("check_only_draws_leak", "check_one_run"),
    ),
    Planted(
        "1 / n realised in place of the public n",
        "our own",
        spoilt(tables.COUNTS, tables.realised_count),
        ("check_realised_loss",),
    ),
    Planted(
        "n published exactly",
        "a fork of a synthesiser by marginals",
        spoilt(tables.COUNTS, tables.exact_rows),
        ("check_only_draws_leak",),
    ),
    Planted(
        "n on the card",
        "our own",
        spoilt(tables.COUNTS, tables.count_on_the_card),
        ("check_card_is_public", "check_only_draws_leak"),
    ),
    Planted(
        "every marginal gets the whole budget",
        "DP-UTIL (the cost of a query never composed)",
        replace(house.method(tables.COUNTS), make=tables.no_split),
        ("check_calibration", "check_event_gives_epsilon"),
    ),
    Planted(
        "bins chosen by epsilon",
        "our own",
        replace(house.method(tables.COUNTS), make=tables.bins_by_budget),
        ("check_bounds_are_fixed",),
    ),
    Planted(
        "pairs chosen by scores that nobody paid for",
        "our own; PrivBayes implementations that leave the network's choice out of the budget",
        spoilt(marginals.PAIRS, marginals.free_choices),
        ("check_parts_sum", "check_realised_loss"),
    ),
    Planted(
        "pairs chosen without noise",
        "our own",
        spoilt(marginals.PAIRS, marginals.exact_choices),
        ("check_only_draws_leak",),
    ),
    Planted(
        "half the sensitivity of a score",
        "a fork of a synthesiser by marginals (its L1 scores under replace-one)",
        spoilt(marginals.PURE, marginals.half_sensitivity),
        ("check_realised_loss",),
    ),
    Planted(
        "scores against exact counts instead of released ones",
        "our own",
        spoilt(marginals.PAIRS, marginals.scored_against_exact),
        ("check_realised_loss",),
    ),
    Planted(
        "rounds beyond the tree that nobody paid for",
        "our own; iterative synthesisers whose last rounds are left out of the budget",
        spoilt(marginals.CYCLES, marginals.free_cycles),
        ("check_parts_sum", "check_realised_loss"),
    ),
    Planted(
        "pairs beyond the tree scored against its exact tables",
        "our own",
        spoilt(marginals.CYCLES, marginals.scored_against_an_exact_tree),
        ("check_realised_loss",),
    ),
    Planted(
        "counts measured twice and paid for once",
        "our own",
        spoilt(marginals.PURE, marginals.measured_twice),
        ("check_realised_loss",),
    ),
    Planted(
        "conditions drawn at the private frequencies",
        "CTGAN's training by sampling, and DP-CTGAN with it",
        HONEST[trained_rows.GAN],
        ("check_only_draws_leak",),
        trained_rows.sampled_by_frequency,
    ),
    Planted(
        "packs of rows clipped as one",
        "CTGAN's critic (PacGAN); a published DP-WGAN clips means of microbatches",
        HONEST[trained_rows.GAN],
        ("check_realised_loss",),
        trained_rows.packs,
    ),
    Planted(
        "first counts left out of the total",
        "our own: a start that is thought of as initial weights",
        spoilt(trained_rows.GAN, trained_rows.counts_for_free),
        ("check_parts_sum",),
    ),
    Planted(
        "private rows sent through a private autoencoder",
        "readings of DP-AuGM (a holder that publishes its own records' codes)",
        HONEST[trained_rows.AUGM],
        ("check_only_draws_leak",),
        trained_rows.private_reconstructed,
    ),
    Planted(
        "random inputs drawn in the order of the batch",
        "every denoising or variational autoencoder that draws from one seeded stream",
        HONEST[trained_rows.AUGM],
        ("check_realised_loss",),
        trained_rows.spoilt_in_order,
    ),
)

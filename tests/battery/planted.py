"""Planted defects: faults of published code and claims, put into our own methods.

Each is an honest row with one thing wrong. They live in the tests only; the meta-test runs the
named checks on them and expects every one to fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from battery.defects import (
    adlm,
    finetune,
    generators,
    gradient_trained,
    house,
    images,
    marginals,
    mechanisms,
    pate,
    points,
    tables,
    taught,
    trained,
    trained_rows,
    transport,
    voted,
)
from battery.row import Row
from battery.rows.images import gaussian as images_row
from battery.rows.taught import taught as taught_row
from battery.rows.vmf import vmf
from battery.table import ROWS
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import (
    RandomizedResponse,
)

HONEST: Mapping[str, Row] = {row.name: row for row in ROWS}
LARGE = Budget(60.0, 1e-6)


@dataclass(frozen=True)
class Planted:
    """One defect.

    Args:
        name: What is wrong.
        seen_in: Where it was published, or could have been.
        row: The defective row.
        caught_by: Names of the checks that must fail on it.
        patched: What is wrong outside of the row while a check runs.
        slow: Whether it takes so long to catch that it is a slow test.
    """

    name: str
    seen_in: str
    row: Row
    caught_by: tuple[str, ...]
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    slow: bool = False

    def __str__(self) -> str:
        return self.name


def spoilt(base: str | Row, change: Callable[[Any], Any]) -> Any:
    """An honest row whose calibrated subject is changed after the fact."""
    row = HONEST[base] if isinstance(base, str) else base
    return replace(row, make=lambda *given, **named: change(row.make(*given, **named)))


def with_runs(base: str, runs: int) -> Any:
    """An honest row that is audited from outside at more length."""
    row = house.method(base)
    assert row.public_audit is not None
    return replace(row, public_audit=replace(row.public_audit, runs=runs))


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
        "counts measured twice and paid for once",
        "our own",
        spoilt(marginals.PURE, marginals.measured_twice),
        ("check_realised_loss",),
    ),
    Planted(
        "sensitivity 1 / n under replace-one",
        "DPImageBench (`half_sensitivity`): figures of two relations side by side",
        spoilt(generators.MERF, generators.half_sensitivity),
        ("check_realised_loss",),
    ),
    Planted(
        "sums divided by realised class counts",
        "our own; DP-MERF's class balance has a doubtful noise",
        spoilt(generators.MERF, generators.by_class),
        ("check_realised_loss",),
    ),
    Planted(
        "a teacher trained with a tenth of its noise",
        "PATE-GAN's teachers (trained on the records, accounted as if they were not)",
        spoilt(taught.TAUGHT, taught.quiet_teacher),
        ("check_realised_loss",),
    ),
    Planted(
        "the teacher's training left out of the total",
        "our own: the description is what is published, so what taught is forgotten",
        spoilt(taught.TAUGHT, taught.only("description")),
        ("check_parts_sum", "check_realised_loss"),
    ),
    Planted(
        "the description left out of the total",
        "DP-FETA's class counts; central images as a free warm-up",
        spoilt(taught.TAUGHT, taught.only("teacher")),
        ("check_parts_sum", "check_realised_loss"),
    ),
    Planted(
        "private pictures among those that the teacher labels",
        "our own: labelling is private, what is labelled is not",
        spoilt(taught.TAUGHT, taught.into(taught.PrivatePictures)),
        ("check_only_draws_leak",),
    ),
    Planted(
        "classes balanced as the private labels are",
        "DP-FETA and the DP-CVAE of a published challenge (exact class counts)",
        # At a budget where the teacher tells the classes apart, else there is nothing to balance.
        spoilt(
            replace(taught_row(taught.TAUGHT, samples=40, candidates=4, steps=40), budget=LARGE),
            taught.into(taught.PrivateShares),
        ),
        ("check_only_draws_leak",),
    ),
    Planted(
        "images drawn in the private proportions of the classes",
        "the DP-CVAE of a published challenge (labels of the real loader)",
        spoilt(gradient_trained.CVAE, gradient_trained.real_labels),
        ("check_only_draws_leak",),
    ),
    Planted(
        "class counts left out of the total",
        "DP-FETA (the realised class count)",
        spoilt(gradient_trained.COUNTED, gradient_trained.counts_for_free),
        ("check_parts_sum",),
    ),
    Planted(
        "a critic whose gradients are noised and not clipped",
        "Xie et al.'s code (a weight clip, and no bound on a gradient)",
        HONEST[gradient_trained.DPGAN],
        ("check_norms", "check_realised_loss"),
        gradient_trained.unclipped,
    ),
    Planted(
        "codes scaled by the private mean and spread",
        "our own: model inversion whose codes are standardised",
        HONEST[gradient_trained.DPMI],
        ("check_realised_loss",),
        gradient_trained.standardised_codes,
    ),
    Planted(
        "amplified by sampling before it is composed",
        "GS-WGAN (each generated image accounted as if a shard had been drawn for it alone)",
        voted.amplified_first(HONEST[voted.VOTES]),  # type: ignore[arg-type]
        ("check_realised_loss",),
    ),
    Planted(
        "one image's gradient charged for a stack of them",
        "DPImageBench's GS-WGAN (no factor for the batch)",
        voted.one_image_charged(HONEST[voted.SUMS]),  # type: ignore[arg-type]
        ("check_realised_loss",),
    ),
    Planted(
        "critics whose shards overlap",
        "DataLens (classes dealt round and round); PATE-GAN (one stale index for all teachers)",
        HONEST[voted.DATALENS],
        ("check_realised_loss",),
        voted.overlapping,
    ),
    Planted(
        "teachers that never learn",
        "PATE-GAN's original code (no teacher is ever trained)",
        HONEST[voted.VOTES],
        ("check_realised_loss",),
        voted.untrained,
    ),
    Planted(
        "shards dealt out by place",
        "our own; most partitions under add-remove",
        HONEST[voted.DATALENS],
        ("check_realised_loss",),
        voted.by_place,
    ),
    Planted(
        "cells cut by the border, averaged under a whole cell's noise",
        "our own: DP-Pix on images whose sides the block does not divide",
        spoilt(images.PIXELATE, images.means_of_cut_cells),
        ("check_realised_loss", "check_norms"),
    ),
    Planted(
        "the sensitivity of one pixel for a unit of several",
        "FaceAnonEval (`pixel_dp`: sensitivity fixed to 1)",
        spoilt(images.PIXELATE, images.one_pixel),
        ("check_realised_loss", "check_two_point"),
    ),
    Planted(
        "radius for diameter, images",
        "CADP; any noise on a whole image that answers for its norm",
        spoilt(images.GAUSSIAN, images.radius_for_diameter),
        ("check_realised_loss", "check_two_point"),
    ),
    Planted(
        "contrast lowered by the batch's largest",
        "dPA (activations over the batch's maximum)",
        spoilt(
            images_row(images.GAUSSIAN, contrast=0.2),
            images.contrast_of_the_batch,
        ),
        ("check_other_records_unmoved",),
    ),
    Planted(
        "a set labelled in the private proportions of the classes",
        "our own: the set's labels are published, too",
        spoilt(transport.PSG, gradient_trained.real_labels),
        ("check_only_draws_leak",),
    ),
    Planted(
        "matched networks that learn from private images",
        "our own: networks that are never published, as if that were enough",
        HONEST[transport.PSG],
        ("check_only_draws_leak",),
        transport.taught_by_private_images,
    ),
    Planted(
        "the radius of a stack of gradients for its diameter",
        "our own; GS-WGAN charges a stack's rows one by one",
        HONEST[transport.SINKHORN],
        ("check_realised_loss",),
        transport.radius_of_a_stack,
    ),
    Planted(
        "noise on a loss's value, its gradient exact",
        "DP-Kernel (a sample without a path through which a gradient could flow)",
        HONEST[transport.SINKHORN],
        ("check_only_draws_leak",),
        transport.noise_on_the_value,
    ),
    Planted(
        "central images over realised class counts",
        "DP-FETA and FETA-Pro (a mean over the images a class happens to have)",
        HONEST[transport.DIFFUSION],
        ("check_realised_loss",),
        transport.realised_counts,
    ),
    Planted(
        "a warm-up beside the total",
        "our own: what a model starts from is forgotten once it trains",
        spoilt(transport.DIFFUSION, transport.warm_up_for_free),
        ("check_parts_sum", "check_realised_loss"),
    ),
    Planted(
        "an example's noise levels by its place in the batch",
        "our own; decision 010",
        HONEST[transport.DIFFUSION],
        ("check_realised_loss",),
        transport.levels_by_place,
    ),
    Planted(
        "each noise level clipped alone and all of them summed",
        "our own: noise multiplicity the wrong way round",
        HONEST[transport.DIFFUSION],
        ("check_norms", "check_realised_loss"),
        transport.clipped_level_by_level,
    ),
    Planted(
        "private images sent through a private autoencoder",
        "readings of DP-AuGM (a holder that publishes its own records' codes)",
        HONEST[gradient_trained.AUGM],
        ("check_only_draws_leak",),
        gradient_trained.private_reconstructed,
    ),
    Planted(
        "decoders that begin at the classes' exact means",
        "our own: an output's bias set from the data, as is usual without privacy",
        HONEST[gradient_trained.VAEGM],
        ("check_only_draws_leak",),
        gradient_trained.usual_images,
    ),
    Planted(
        "an encoder trained without noise, because it is not published",
        "DP2-VAE as it is often summarised",
        HONEST[gradient_trained.DP2VAE],
        ("check_realised_loss",),
        gradient_trained.quiet_encoder,
        slow=True,
    ),
    Planted(
        "the encoder's steps left out of the total",
        "our own: only the decoder is published",
        spoilt(gradient_trained.DP2VAE, gradient_trained.decoder_alone),
        ("check_parts_sum",),
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
        "shards that overlap",
        "DataLens (classes dealt round and round); PATE-GAN (one stale index for all teachers)",
        house.method(pate.GAUSSIAN),
        ("check_realised_loss",),
        pate.overlapping,
    ),
    Planted(
        "one scalar of noise for all classes of a vote",
        "DP-UTIL (a sampler called without a size)",
        spoilt(pate.GAUSSIAN, pate.one_scalar),
        ("check_coordinates_independent", "check_only_draws_leak"),
    ),
    Planted(
        "Laplace votes at half the scale",
        "DP-UTIL (Lap(1 / epsilon) where a vote moves two counts)",
        spoilt(pate.LAPLACE, pate.half_scale),
        ("check_realised_loss",),
    ),
    Planted(
        "a threshold test that is not charged",
        "our own",
        spoilt(pate.CONFIDENT, pate.free_test),
        ("check_realised_loss", "check_parts_sum"),
    ),
    Planted(
        "noise drawn in every step and charged once",
        "AdLM (a budget said not to grow with the steps)",
        house.method(adlm.ADLM),
        ("check_realised_loss", "check_parts_sum"),
        adlm.charged_once,
    ),
    Planted(
        "noise divided by the size of the batch",
        "AdLM (noise / |L| on what is no mean)",
        house.method(adlm.ADLM),
        ("check_realised_loss",),
        adlm.over_the_batch,
    ),
    Planted(
        "relevance scaled by private extremes",
        "AdLM (min and max over the records, for nothing)",
        house.method(adlm.ADLM),
        ("check_realised_loss",),
        adlm.private_extremes,
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
    Planted(
        "shuffled batches of one size, accounted as Poisson samples",
        "Tramèr and Boneh's, De et al.'s and most published training loops",
        HONEST["learn.dpsgd: flat"],
        ("check_sampler",),
        trained.shuffled,
    ),
    Planted(
        "divided by the realised size of the batch",
        "Opacus up to 1.5 (adaptive clipping); many loops that take a mean",
        HONEST["learn.dpsgd: flat"],
        ("check_expected_divisor",),
        trained.realised_divisor,
    ),
    Planted(
        "a parameter is left out of the clipped norm",
        "hooks that do not see tied or bare parameters",
        HONEST["learn.dpsgd: flat"],
        ("check_norms", "check_realised_loss"),
        trained.partial_norms,
    ),
    Planted(
        "less noise drawn than accounted",
        "our own",
        HONEST["learn.dpsgd: flat"],
        ("check_realised_loss",),
        trained.less_noise,
    ),
    Planted(
        "noise switched off",
        "Fed-CDP (a released script multiplies its noise by 0)",
        HONEST["learn.dpsgd: flat"],
        ("check_public_audit",),
        trained.no_noise,
    ),
    Planted(
        "gradients that are not clipped",
        "Xie et al.'s code (a weight clip, and no bound on a gradient)",
        HONEST["learn.dpsgd: flat"],
        ("check_public_audit", "check_norms"),
        trained.no_clip,
    ),
    Planted(
        "half of the batch accounted",
        "our own: a batch size that is set in two places",
        with_runs("learn.dpsgd: flat", 700),
        ("check_public_audit",),
        trained.half_the_batch_accounted,
        slow=True,
    ),
    Planted(
        "the gradients' own multiplier accounted for an adaptive step",
        "Opacus up to 1.5.4",
        HONEST["learn.dpsgd: adaptive"],
        ("check_parts_sum",),
        trained.larger_multiplier_accounted,
    ),
    Planted(
        "the clip norm is the largest of the batch",
        "Fed-CDP's dynamic variant",
        HONEST["learn.dynamic"],
        ("check_only_draws_leak", "check_realised_loss"),
        trained.bound_of_the_batch,
    ),
    Planted(
        "a schedule is accounted, its last noise drawn",
        "our own",
        HONEST["learn.dynamic"],
        ("check_realised_loss",),
        trained.last_of_the_schedule,
    ),
    Planted(
        "noise for each layer alone, accounted for all",
        "Fed-CDP",
        HONEST["learn.dpsgd: layer budgets"],
        ("check_realised_loss",),
        trained.each_layer_alone,
    ),
    Planted(
        "batch norms in training mode mix examples",
        "fine-tuning code that leaves the network in training mode",
        HONEST["learn.finetune: head"],
        ("check_realised_loss",),
        finetune.batch_statistics,
    ),
    Planted(
        "running statistics of private batches are published",
        "any batch norm that was trained and shipped",
        HONEST["learn.finetune: head"],
        ("check_only_draws_leak",),
        finetune.running_statistics,
    ),
    Planted(
        "images normalised by the private set's mean and spread",
        "most image pipelines",
        HONEST["learn.finetune: head"],
        ("check_realised_loss",),
        finetune.private_constants,
    ),
    Planted(
        "noise on single directions amplified by sampling",
        "readings of arXiv 2211.04686; the absence of a unit vector shows in a sum of them",
        vmf("learn.vmf"),  # of its own: rows remember what they calibrated
        ("check_realised_loss", "check_parts_sum"),
        trained.amplified_directions,
    ),
    Planted(
        "one scalar of noise for all weights",
        "DP-UTIL's output perturbation (a sampler called without a size)",
        spoilt(points.OUTPUT, points.scalar_on_weights),
        ("check_only_draws_leak", "check_coordinates_independent"),
    ),
    Planted(
        "one scalar of noise for all records",
        "DP-UTIL's input perturbation (a sampler called without a size)",
        spoilt(points.INPUT, points.scalar_on_records),
        ("check_coordinates_independent", "check_only_draws_leak"),
    ),
    Planted(
        "one scalar for the linear term of an objective",
        "our own: DP-UTIL's fault, put where it did not have it",
        HONEST[points.OBJECTIVE],
        ("check_coordinates_independent",),
        points.scalar_in_the_loss,
    ),
    Planted(
        "features that are not clipped",
        "DP-UTIL (a scaler fitted on all data, norms beyond 1)",
        HONEST[points.OUTPUT],
        ("check_norms",),
        points.unclipped,
    ),
    Planted(
        "features that are not clipped, in an objective",
        "a logistic regression of a privacy library, given its bound without the clip",
        HONEST[points.OBJECTIVE],
        ("check_norms",),
        points.unclipped,
    ),
    Planted(
        "a standard deviation taken for a variance",
        "DP-UTIL's input perturbation (one formula for the other)",
        spoilt(points.INPUT, points.root_of_the_noise),
        ("check_realised_loss",),
    ),
    Planted(
        "labels in the clear beside noisy features",
        "DP-UTIL's input perturbation",
        spoilt(points.INPUT, points.label_in_the_clear),
        ("check_only_draws_leak", "check_two_point"),
    ),
)

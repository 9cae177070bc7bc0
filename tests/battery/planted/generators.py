"""Defects of methods for images."""

from __future__ import annotations

from dataclasses import replace

from battery.defects import generators, gradient_trained, images, taught, transport, voted
from battery.planted.defect import HONEST, LARGE, Planted, spoilt
from battery.rows.images import gaussian as images_row
from battery.rows.taught import taught as taught_row

PLANTED: tuple[Planted, ...] = (
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
        voted.amplified_first(HONEST[voted.VOTES]),
        ("check_realised_loss",),
    ),
    Planted(
        "one image's gradient charged for a stack of them",
        "DPImageBench's GS-WGAN (no factor for the batch)",
        voted.one_image_charged(HONEST[voted.SUMS]),
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
)

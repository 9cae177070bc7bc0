"""The battery's one table: every mechanism and every registered method.

Adding a method means adding a line here and a file in ``rows`` (see ``docs/battery.md``); a test
fails for a registered method without one. Rows say how to run their subject and nothing about what
is right: that is in ``checks``.
"""

from __future__ import annotations

from dataclasses import replace

from battery.data import PEOPLE
from battery.row import MethodRow, Row
from battery.rows import dpsgd, finetune, images, points
from battery.rows.adaptive import adaptive
from battery.rows.adlm import adlm
from battery.rows.diffusion import diffusion
from battery.rows.dynamic import dynamic
from battery.rows.gradient_trained import augm, cvae, dp2vae, dpgan, dpmi, vaegm
from battery.rows.independent import independent
from battery.rows.marginals import marginals
from battery.rows.mcgen import mcgen
from battery.rows.mechanisms import MECHANISMS
from battery.rows.merf import merf
from battery.rows.pate import pate
from battery.rows.psg import psg
from battery.rows.recipe import recipe
from battery.rows.sinkhorn import sinkhorn
from battery.rows.taught import taught
from battery.rows.trained_rows import augm as table_augm
from battery.rows.trained_rows import gan as table_gan
from battery.rows.vmf import vmf
from battery.rows.voted import datalens, gpate
from sfumato.privacy.budget import Budget

PURE = Budget(1.0)
SAME_NOISE = frozenset({"check_coordinates_independent"})
SAME_LOOP = SAME_NOISE | {"check_sampler", "check_one_run", "check_debit_before_noise"}
"""Samples, noise and order of payment are those of the private loop, which other rows' daily checks
look at."""

METHODS: tuple[MethodRow, ...] = (
    adaptive("tables.adaptive: public", PURE),
    adaptive("tables.adaptive: public, unary encoding", PURE, wide="oue"),
    adaptive("tables.adaptive: public, gaussian", noise="gaussian", allocation="sqrt"),
    adaptive("tables.adaptive: public, piecewise", PURE, noise="piecewise"),
    adaptive("tables.adaptive: public, duchi", PURE, noise="duchi"),
    adaptive("tables.adaptive: public, sampled", PURE, sampled=2, seed=0),
    adaptive("tables.adaptive: split", importance="split", held_out=0.5, seed=0),
    adaptive("tables.adaptive: paid", importance="paid"),
    adaptive("tables.adaptive: paid, gaussian", importance="paid", noise="gaussian"),
    adaptive("tables.adaptive: paid, network", importance="paid", attribution="shap", seed=0),
    independent("tables.independent: pure", PURE),
    # With a delta like this, Gaussian noise is less than Laplace noise for four tables.
    independent("tables.independent: gaussian", Budget(1.0, 1e-2)),
    independent("tables.independent: numeric target", facts=PEOPLE.with_target("age")),
    marginals("tables.marginals: pure", PURE),
    marginals("tables.marginals: gaussian", Budget(1.0, 1e-2)),
    marginals("tables.marginals: pairs", Budget(1.0, 1e-2), many=True),
    replace(
        marginals("tables.marginals: cycles", Budget(1.0, 1e-2), many=True, cycles=3),
        long=SAME_NOISE,
    ),
    marginals("tables.marginals: numeric target", facts=PEOPLE.with_target("age")),
    mcgen("tables.mcgen"),
    mcgen("tables.mcgen: numeric target", facts=PEOPLE.with_target("age")),
    replace(table_gan("tables.gan"), long=SAME_LOOP),
    replace(table_gan("tables.gan: numeric target", PEOPLE.with_target("age")), everyday=False),
    replace(table_augm("tables.augm"), long=SAME_LOOP),
    merf("generators.merf"),
    replace(cvae("generators.cvae"), long=SAME_NOISE),
    replace(cvae("generators.cvae: classes counted", counted=True), long=SAME_LOOP),
    replace(dpgan("generators.dpgan"), long=SAME_LOOP),
    replace(dpmi("generators.dpmi"), long=SAME_LOOP),
    replace(psg("generators.psg"), long=SAME_LOOP),
    sinkhorn("generators.sinkhorn"),
    diffusion("generators.diffusion"),
    replace(augm("generators.augm"), long=SAME_LOOP),
    replace(vaegm("generators.vaegm"), long=SAME_LOOP),
    replace(dp2vae("generators.dp2vae"), long=SAME_LOOP),
    taught("generators.taught"),
    gpate("generators.gpate: votes"),
    replace(gpate("generators.gpate: tested votes", threshold=0.4), everyday=False),
    gpate("generators.gpate: sums", aggregate="sums"),
    replace(gpate("generators.gpate: classes counted", class_prior="estimated"), everyday=False),
    datalens("generators.datalens"),
    images.pixelate("images.pixelate"),
    replace(images.pixelate("images.pixelate: labels too", label_share=0.5), everyday=False),
    images.gaussian("images.gaussian"),
    replace(images.gaussian("images.gaussian: some pixels", pixels=4), everyday=False),
    adlm("learn.adlm"),
    pate("learn.pate: gaussian"),
    pate("learn.pate: gaussian, replace-one", neighbours="replace-one"),
    pate("learn.pate: laplace", PURE, voting="lnmax"),
    pate(
        "learn.pate: confident",
        voting="confident",
        answers=12,
        queries=24,
        threshold=0.2,
        test_ratio=0.5,
    ),
    dpsgd.dpsgd("learn.dpsgd: flat"),
    replace(dpsgd.viewed("learn.dpsgd: views"), long=SAME_LOOP),
    dpsgd.replaced("learn.dpsgd: replace-one"),
    dpsgd.correlated("learn.dpsgd: correlated"),
    replace(dpsgd.layered("learn.dpsgd: layer budgets"), long=SAME_LOOP),
    replace(dpsgd.adaptive("learn.dpsgd: adaptive"), long=SAME_LOOP),
    replace(dpsgd.projected("learn.dpsgd: principal directions"), long=SAME_LOOP),
    dynamic("learn.dynamic"),
    replace(recipe("learn.recipe"), long=SAME_LOOP),
    replace(finetune.head("learn.finetune: head"), long=SAME_LOOP | {"check_two_point"}),
    replace(finetune.body("learn.finetune: bias"), long=SAME_LOOP),
    vmf("learn.vmf"),
    points.output("learn.output"),
    points.objective("learn.objective"),
    points.reports("learn.input"),
)

ROWS: tuple[Row, ...] = (*MECHANISMS, *METHODS)

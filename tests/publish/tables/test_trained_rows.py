"""Table methods trained by noisy clipped gradients, end to end on small tables."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sfumato.data import Categorical, Date, Numeric, Ordinal, Schema, Table
from sfumato.data.impossible import Impossible
from sfumato.errors import InputError
from sfumato.learn.loop import PrivateLoop
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish import constraints
from sfumato.publish.method import Calibrated
from sfumato.publish.tables.augm import Spoiling, TableAugm
from sfumato.publish.tables.counted import CountedRun
from sfumato.publish.tables.gan import TableGan
from sfumato.publish.tables.heads import Heads
from sfumato.publish.tables.row_networks import Autoencoder, Critic, Generator, Made
from sfumato.publish.tables.start import Start

BUDGET = Budget(1.0, 1e-5)
SMALL: dict[str, Any] = {"epochs": 2.0, "expected_batch_size": 20, "hidden": 6, "seed": 7}
GAN = TableGan(**SMALL, critic_steps=2, batch=6, latent=3)
AUGM = TableAugm(**SMALL, code=3, rounds=2)
BOTH = pytest.mark.parametrize("method", [GAN, AUGM], ids=lambda method: method.name)
SCHEMA = Schema(
    (
        Numeric("age", 0, 90, 1, integer=True),
        Numeric("wage", 0, 5000, 0.5, missing=True),
        Date("seen", "2020-01-01", "2020-12-31", missing=True),
        Categorical("job", tuple(f"job {i}" for i in range(30))),
        Ordinal("school", ("none", "some", "much"), missing=True),
        Categorical("country", ("here",)),
        Categorical("sick", ("no", "yes", "maybe"), missing=True),
    ),
    target="sick",
    records=60,
)


def table(schema: Schema = SCHEMA, rows: int = 60, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    return Table.from_codes({c.name: rng.integers(c.size, size=rows) for c in schema}, schema)


def calibrated(method: Any, facts: Schema = SCHEMA, **changes: Any) -> Calibrated:
    made: Calibrated = replace(method, **changes).calibrate(BUDGET, facts)
    return made


# -- the row as networks see it ------------------------------------------------------------------


def test_encoded_rows_have_a_one_for_each_columns_cell() -> None:
    heads = Heads((3, 1, 4))
    places = torch.tensor([[2, 0, 1], [0, 0, 3]], dtype=torch.int16)
    wanted = [[0, 0, 1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0, 0, 1]]
    assert heads.encoded(places).tolist() == wanted


def test_the_likelihood_is_that_of_each_columns_softmax() -> None:
    heads, logits = Heads((3, 2)), torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[0, 0], [1, 1], [2, 0], [0, 1], [1, 0]])
    first, second = logits[:, :3].log_softmax(1), logits[:, 3:].log_softmax(1)
    rows = torch.arange(5)
    wanted = first[rows, places[:, 0]] + second[rows, places[:, 1]]
    assert torch.allclose(heads.log_likelihood(logits, places), wanted, atol=1e-6)


def test_drawn_places_follow_the_softmax() -> None:
    """20,000 draws, tolerance of six standard deviations: false alarms below 1e-7."""
    heads, shares = Heads((3, 2)), torch.tensor([0.6, 0.3, 0.1, 0.25, 0.75])
    logits = shares.log().expand(20_000, -1)
    generator = torch.Generator().manual_seed(1)
    spread = 6 * 0.5 / 20_000**0.5
    for places in (
        heads.draw(logits, generator),
        heads.at(shares.expand(20_000, -1), torch.rand(20_000, 2, generator=generator)),
    ):
        found = heads.encoded(places).mean(dim=0)
        assert torch.allclose(found, shares, atol=spread)


def test_generated_rows_are_hard_and_have_gradients() -> None:
    heads = Heads((3, 2))
    logits = torch.zeros(4, 5, requires_grad=True)
    made = heads.relaxed(logits, 0.5, torch.Generator().manual_seed(0))
    assert set(made.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    made[:, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad[:, :3].abs().sum() > 0
    assert logits.grad[:, 3:].abs().sum() == 0


def test_networks_begin_at_the_noisy_counts() -> None:
    counts = [np.array([[30, 5], [10, 0]]), np.array([[0, 1], [20, 2], [20, 2]])]
    start, heads = Start.of(counts), Heads((2, 3))
    assert start.prior.tolist() == pytest.approx([40 / 45, 5 / 45], abs=0.02)
    assert start.shares[0, 0] == pytest.approx(0.75, abs=0.02)
    assert (start.shares > 0).all()
    labels = torch.tensor([0, 1, 0])
    generator = Generator(heads, start, latent=2, hidden=4).eval()
    logits = Made(heads, 1.0).logits(generator, labels, torch.Generator().manual_seed(0))
    assert torch.allclose(logits, start.shares.log()[labels], atol=1e-6)
    coder = Autoencoder(heads, start, code=2, hidden=4)
    assert torch.allclose(coder(torch.zeros(3, 2), labels), logits, atol=1e-6)


def test_neither_critic_nor_autoencoder_mixes_rows() -> None:
    heads, start = Heads((3, 2)), Start.uniform(2, (3, 2))
    some = torch.tensor([[0, 0], [1, 1], [2, 0]])
    other = torch.tensor([[0, 0], [2, 0], [1, 1]])
    labels = torch.tensor([0, 1, 0])
    critic = Critic(heads, 2, 5)
    assert torch.equal(critic(some, labels)[:1], critic(other, labels)[:1])
    assert torch.allclose(critic(some, labels), critic(heads.encoded(some), labels))
    coder = Autoencoder(heads, start, 2, 4)
    torch.nn.init.normal_(coder.more.weight)
    assert torch.equal(coder(some, labels)[:1], coder(other, labels)[:1])


def test_spoiling_replaces_its_share_of_the_columns_and_no_other() -> None:
    heads, start = Heads((3, 2)), Start.uniform(2, (3, 2))
    places, labels = torch.zeros(4, 2, dtype=torch.long), torch.zeros(4, dtype=torch.long)
    uniform = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Spoiling(heads, start, 0.0)(places, labels, uniform), places)
    everything = Spoiling(heads, start, 1.0)(places, labels, uniform)
    assert torch.equal(everything, heads.at(start.shares[labels], uniform[:, 2:]))


# -- methods ---------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("target", ["sick", "wage", None])
def test_any_target_and_any_column_is_released_in_the_inputs_types(
    method: Any, target: str | None
) -> None:
    facts = SCHEMA.with_target(target)
    release = calibrated(method, facts)(table(facts), ledger=Ledger.in_memory())
    frame: Any = release.data.to_pandas()
    assert list(frame.columns) == list(SCHEMA.names)
    assert len(frame) == 60
    assert frame["age"].between(0, 90).all()
    assert frame["wage"].dropna().between(0, 5000).all()
    seen = frame["seen"].dropna()
    assert all(datetime.date(2020, 1, 1) <= day <= datetime.date(2020, 12, 31) for day in seen)
    assert set(frame["job"]) <= {f"job {i}" for i in range(30)}
    assert release.card.plan["classes"] == {"sick": 4, "wage": 9, None: 1}[target]


@BOTH
def test_counts_and_steps_are_one_event(method: Any) -> None:
    made = calibrated(method)
    plan = made.plan
    step = events.PoissonSampledDpEvent(
        plan["sampling"]["rate"], events.GaussianDpEvent(plan["noise_multiplier"])
    )
    table_of_counts = made.run.steps.counts.event
    counted = events.repeat(table_of_counts, plan["counted_tables"])
    wanted = events.compose(counted, events.repeat(step, plan["steps"]))
    assert made.guarantee.event == wanted
    assert plan["counted_tables"] == 6
    assert 0.98 < made.guarantee.epsilon() <= 1.0
    more = calibrated(method, counting=0.6).plan
    assert more["counts_stddev"] < plan["counts_stddev"]
    assert more["noise_multiplier"] > plan["noise_multiplier"]


@BOTH
def test_what_goes_together_is_learnt(method: Any) -> None:
    """Two columns that always agree within a class, of which counts alone say nothing."""
    schema = Schema(
        (Categorical("a", ("x", "y")), Categorical("b", ("x", "y")), Categorical("c", ("n", "p"))),
        target="c",
        records=4000,
    )
    rng = np.random.default_rng(0)
    a = rng.integers(2, size=4000)
    private = Table.from_codes({"a": a, "b": a, "c": rng.integers(2, size=4000)}, schema)
    changes: dict[str, Any] = {"epochs": 30.0, "expected_batch_size": 200, "hidden": 32}
    if method is GAN:
        changes |= {"batch": 200, "critic_steps": 1, "generator_steps": 1, "latent": 4}
        changes |= {"critic_rate": 0.01, "generator_rate": 0.01}
    else:
        changes |= {"rounds": 10, "learning_rate": 0.01, "code": 4}
    made = replace(method, **changes).calibrate(Budget(8.0, 1e-5), schema)
    # Of one noise: ten rounds can carry the shares of augm off, with some other noise beyond 0.7.
    released: Any = made(private, ledger=Ledger.in_memory(), source=SeededSource(0)).data
    codes = released.codes()
    assert (codes["a"] == codes["b"]).mean() > 0.8
    assert 0.3 < codes["a"].mean() < 0.7


@BOTH
def test_an_interrupted_training_goes_on_and_pays_once(
    method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the wrapper of constraints, as the command line runs it."""
    facts = replace(SCHEMA, impossible=(Impossible({"school": "none", "job": "job 3"}),))
    ledger, folder = Ledger.in_memory(), tmp_path / "work"
    made = constraints.calibrate(method, BUDGET, facts)
    rng = np.random.default_rng(0)
    codes = {c.name: rng.integers(c.size, size=60) for c in facts}
    private = Table.from_codes(codes | {"school": rng.integers(1, 4, size=60)}, facts)
    rule = facts.impossible[0]
    taken, step = [], PrivateLoop.backward

    def dies(loop: PrivateLoop) -> None:
        step(loop)
        taken.append(loop.run.taken)
        if len(taken) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(PrivateLoop, "backward", dies)
    with pytest.raises(KeyboardInterrupt):
        made(private, ledger=ledger, workspace=folder)
    with pytest.warns(UserWarning, match="they are lost, and counted"):
        release = made(private, ledger=ledger, workspace=folder)
    assert taken == list(range(1, made.plan["steps"] + 1))
    assert [entry.kind for entry in ledger.entries()].count("debit") == 1
    released: Any = release.data
    assert not rule.where(released.codes(), facts).any()


@BOTH
def test_time_is_turned_into_steps_before_a_private_row_is_looked_at(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, seen = table(), []
    step, counts = PrivateLoop.backward, CountedRun._counts

    def counted(run: CountedRun, rows: Any) -> Any:
        seen.append(0)
        return counts(run, rows)

    monkeypatch.setattr(CountedRun, "_counts", counted)

    def watched(loop: PrivateLoop) -> None:
        seen.append(len(loop._records))
        step(loop)

    monkeypatch.setattr(PrivateLoop, "backward", watched)
    release = calibrated(method, max_minutes=1e-9)(private, ledger=Ledger.in_memory())
    # Made-up rows are as many as in a batch; the private ones are counted, then trained on.
    assert seen == [20] * (len(seen) - 2) + [0, 60]
    assert release.card.plan["steps_taken"] == 1 < release.card.plan["steps"]
    assert release.card.figures["epsilon"] == pytest.approx(calibrated(method).guarantee.epsilon())


def test_public_rows_are_what_the_autoencoder_is_given(tmp_path: Path) -> None:
    frame: Any = table(seed=3, rows=25).to_pandas()
    frame["sick"] = "yes"
    file = tmp_path / "public.parquet"
    frame.to_parquet(file)
    made = calibrated(AUGM, public_data=str(file), spoilt=0.0, rounds=1)
    assert made.plan["rows"] == 25
    assert any("public rows are not protected" in caveat for caveat in made.caveats)
    fact = next(fact for fact in made.public if fact.name == "public rows")
    assert fact.value["records"] == 25
    release: Any = made(table(), ledger=Ledger.in_memory())
    assert set(release.data.to_pandas()["sick"]) == {"yes"}
    assert release.card.method["settings"]["public_data"] == file.name
    assert str(tmp_path) not in release.card.to_json()
    more: Any = calibrated(AUGM, public_data=str(file), rows=40)
    assert len(more(table(), ledger=Ledger.in_memory()).data) == 40
    for other in (str(tmp_path / "missing.parquet"), "dataset:digits"):
        with pytest.raises(InputError):
            calibrated(AUGM, public_data=other)
    pd.DataFrame({"age": [1]}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(InputError):
        calibrated(AUGM, public_data=str(tmp_path / "other.csv"))


@BOTH
def test_what_cannot_be_is_refused_before_anything_is_spent(method: Any) -> None:
    for changes, message in (
        ({"epochs": 0}, "epochs is 0"),
        ({"hidden": 0}, "hidden is 0"),
        ({"rows": 0}, "rows is 0"),
        ({"counting": 1.0}, "counting is 1.0"),
        ({"max_minutes": -1}, "max_minutes is -1"),
        ({"averaging": 1.0}, "averaging is 1.0"),
        ({"binning": "odd"}, "binning is 'odd'"),
        ({"expected_batch_size": 61}, "61 of 60 records"),
    ):
        with pytest.raises(InputError, match=message):
            calibrated(method, **changes)
    with pytest.raises(InputError, match="number of records is not declared"):
        method.calibrate(BUDGET, SCHEMA.with_records(None))
    with pytest.raises(InputError, match="delta"):
        method.calibrate(Budget(1.0), SCHEMA)
    wide = Schema((Categorical("id", tuple(map(str, range(50_001)))),), records=60)
    with pytest.raises(InputError, match="50001 levels"):
        method.calibrate(BUDGET, wide)
    with pytest.raises(InputError, match="no column beside its target"):
        method.calibrate(BUDGET, SCHEMA.select("sick").with_target("sick"))


@BOTH
def test_budgets_far_from_usual_ones_are_met_or_refused_with_a_remedy(method: Any) -> None:
    """Counts have the least noise that can be drawn; epsilon is then smaller than asked for."""
    made = method.calibrate(Budget(1e6, 1e-5), SCHEMA)
    assert made.guarantee.epsilon() < 1e6
    with pytest.raises(InputError, match=r"epsilon is 0\.0001: of private .*tables\.marginals"):
        method.calibrate(Budget(1e-4, 1e-5), SCHEMA)

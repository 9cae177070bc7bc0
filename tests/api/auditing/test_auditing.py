"""Audits through the public contract: honest methods stand, planted defects fall, always."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.special import expit
from tests.api.auditing.brightness import PIXEL, Brightness

from sfumato.api import audit, publish
from sfumato.api.auditing import neighbours
from sfumato.api.auditing.methods import LEARNERS, finite
from sfumato.api.auditing.units import Unit
from sfumato.data import Categorical, ImageSchema, ImageSet, Schema, Table
from sfumato.errors import InputError
from sfumato.measure.audit import two_point
from sfumato.privacy.budget import Budget
from sfumato.privacy.events import PureDpEvent
from sfumato.privacy.guarantee import Central, Local
from sfumato.privacy.mechanisms import Gaussian
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, SeededSource
from sfumato.publish.method import Calibrated
from sfumato.release.release import Artefact

ONE_COLUMN = Schema((Categorical("who", ("a", "b", "c")), Categorical("t", ("x", "y"))), target="t")


def seeded(start: int) -> Callable[[int], Any]:
    return lambda number: SeededSource(start + number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_plain_gaussian_mechanism_at_epsilon_4_audits_at_3_or_more(seed: int) -> None:
    found = audit(Brightness(), schema=PIXEL, epsilon=4, runs=6000, source=seeded(seed << 20))
    assert not found.broken
    assert 3.0 <= found.gaussian_epsilon <= 4.0
    assert found.epsilon <= found.claim.epsilon == pytest.approx(4.0, rel=1e-3)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_an_honest_mechanism_stands_and_one_with_a_third_of_its_noise_falls(seed: int) -> None:
    options: dict[str, Any] = {
        "schema": PIXEL,
        "epsilon": 4,
        "runs": 300,
        "source": seeded(seed << 20),
    }
    honest, planted = audit(Brightness(), **options), audit(Brightness(0.33), **options)
    assert not honest.broken
    assert 0.0 < honest.gaussian_epsilon <= 4.0  # so few runs promise no more
    assert planted.broken
    assert planted.refuted
    assert "The claim is false" in planted.summary


def test_an_audit_draws_the_methods_own_noise_and_never_the_seeded_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(self: Any, seed: int) -> None:
        raise AssertionError("seeded noise in an audit that nobody asked it of")

    monkeypatch.setattr(SeededSource, "__init__", refused)
    seen = []
    for name in ("first", "again"):
        folder = tmp_path / name
        found = audit("tables.independent", epsilon=2, runs=40, schema=ONE_COLUMN, folder=folder)
        assert found.noise == {"source": SECURE.name, "secure": True}
        runs = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
        seen.append([features for run in runs[1:] for features in run["run"]["features"]])
    # 80 runs of many noisy counts each: alike by chance less than once in 2^80.
    assert len(seen[0]) == len(seen[1]) == 40
    assert seen[0] != seen[1]


def test_a_record_says_that_its_noise_was_seeded() -> None:
    found = audit(Brightness(), schema=PIXEL, epsilon=1, runs=40, source=seeded(0))
    assert found.noise["secure"] is False


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_run_that_breaks_on_one_data_set_tells_them_apart(value: float) -> None:
    features = np.random.default_rng(0).normal(size=(400, 2, 3))
    assert finite(features) is features
    features[:, 1, 2] = value
    one, other = finite(features).transpose(1, 0, 2)
    assert two_point(one, other, 0.0, 0.001, LEARNERS) > 2
    features[:, 0, 2] = value  # on both, it tells nothing
    one, other = finite(features).transpose(1, 0, 2)
    assert two_point(one, other, 0.0, 0.001, LEARNERS) == 0


def _damaged(lines: list[bytes], at: int, line: bytes) -> bytes:
    return b"".join([*lines[:at], line + b"\n", *lines[at + 1 :]])


def test_damaged_runs_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    options: dict[str, Any] = {"schema": PIXEL, "epsilon": 2, "runs": 40, "source": seeded(7)}
    folder = tmp_path / "audit"
    audit(Brightness(), **options, folder=folder)
    file = folder / "runs.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    for content, told in (
        (b"notes of somebody", "holds no audit"),
        (b"[1]\nnotes", "holds no audit"),
        (_damaged(lines, 0, b"\xbe"), "holds no audit"),
        (_damaged(lines, 1, b"notes"), "line 2 of"),
        (_damaged(lines, 1, b"\xbe\x00"), "line 2 of"),
        (_damaged(lines, 1, b"[1]"), "line 2 of"),
        (_damaged(lines, 1, b'{"key": "0", "run": 1}'), "line 2 of"),
        (_damaged(lines, 1, b'{"key": "0", "run": {"features": [[1]]}}'), "not those of this"),
        (_damaged(lines, 1, b'{"key": "0", "run": {"features": [[["x"], [1]]]}}'), "not those of"),
        (_damaged(lines, 1, b'{"key": "0", "run": {}}'), "not those of this audit"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=told):
            audit(Brightness(), **options, folder=folder)
        assert file.read_bytes() == content


def test_a_first_line_that_an_interruption_tore_is_written_anew(tmp_path: Path) -> None:
    options: dict[str, Any] = {"schema": PIXEL, "epsilon": 2, "runs": 40, "source": seeded(7)}
    folder = tmp_path / "audit"
    audit(Brightness(), **options, folder=folder)
    file = folder / "runs.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole.partition(b"\n")[0][:50])
    audit(Brightness(), **options, folder=folder)
    assert file.read_bytes() == whole


def test_an_interrupted_audit_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    options: dict[str, Any] = {"schema": PIXEL, "epsilon": 2, "runs": 60, "source": seeded(7)}
    whole = audit(Brightness(), **options)

    class Stop(Exception):
        pass

    def stop(done: int, total: int, label: str) -> None:
        if done == 30:
            raise Stop

    folder = tmp_path / "audit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sfumato.api.auditing.methods._SECONDS", 0.0)
        with pytest.raises(Stop):
            audit(Brightness(), **options, folder=folder, progress=stop)
    assert len((folder / "runs.jsonl").read_text().splitlines()) == 31
    begun: list[int] = []
    gone_on = audit(
        Brightness(), **options, folder=folder, progress=lambda done, *_: begun.append(done)
    )
    assert begun[0] == 30
    assert replace(gone_on, seconds=0.0) == replace(whole, seconds=0.0)
    record = json.loads((folder / "audit.json").read_text())
    assert record["epsilon"] == whole.epsilon
    assert "https://" not in (folder / "report.html").read_text().replace("http://www.w3.org", "")
    with pytest.raises(InputError, match="holds an audit of other budget, event"):
        audit(Brightness(), **options | {"epsilon": 3}, folder=folder)


@pytest.mark.parametrize("runs", [50, 60, 120])
def test_a_folder_takes_no_more_and_no_fewer_runs_once_it_is_begun(
    runs: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"schema": PIXEL, "epsilon": 2, "source": seeded(7)}

    class Stop(Exception):
        pass

    def stop(done: int, *_: Any) -> None:
        if done == 30:
            raise Stop

    for name, told in (("begun", stop), ("done", lambda *_: None)):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Stop):
            patch.setattr("sfumato.api.auditing.methods._SECONDS", 0.0)
            audit(Brightness(), **options, runs=60, folder=tmp_path / name, progress=told)
        if runs == 60:
            assert audit(Brightness(), **options, runs=60, folder=tmp_path / name)
            continue
        with pytest.raises(InputError, match="holds an audit of other number of runs"):
            audit(Brightness(), **options, runs=runs, folder=tmp_path / name)


@pytest.mark.parametrize("to_train", [True, False])
@pytest.mark.parametrize(
    "facts", [neighbours.PEOPLE, neighbours.PICTURES, ImageSchema(3, 4, 5, ("a",))]
)
@pytest.mark.parametrize("relation", [Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE])
def test_a_pair_is_of_neighbours(facts: Any, relation: Neighbours, to_train: bool) -> None:
    pair = neighbours.pair(facts, relation, 9, to_train=to_train)
    one, other = (np.asarray(_rows(side)) for side in (pair.one, pair.other))
    assert len(other) == 9
    if relation is Neighbours.ADD_REMOVE:
        assert np.array_equal(one, np.delete(other, pair.at, axis=0))
        assert not (one == other[pair.at]).all(axis=1).any()
    else:
        differ = np.flatnonzero((one != other).any(axis=1))
        assert differ.tolist() == [pair.at]


@pytest.mark.parametrize("facts", [neighbours.PICTURES, ImageSchema(3, 4, 5, ("a",))])
@pytest.mark.parametrize("unit", [Unit(pixels=7), Unit(pixels=7, labels=False), Unit(labels=False)])
def test_a_pair_differs_in_what_the_guarantee_covers(facts: ImageSchema, unit: Unit) -> None:
    for to_train, aligned in ((False, True), (False, False), (True, False)):
        pair = neighbours.pair(
            facts, Neighbours.REPLACE_ONE, 9, to_train=to_train, unit=unit, aligned=aligned
        )
        differ = np.flatnonzero((_rows(pair.one) != _rows(pair.other)).any(axis=1))
        assert differ.tolist() == [pair.at] == [8]
        moved = (pair.one.images[8] != pair.other.images[8]).any(axis=0)
        assert moved.sum() == (unit.pixels or facts.height * facts.width)
        relabelled = pair.one.labels[8] != pair.other.labels[8]
        assert relabelled == (unit.labels and len(facts.classes) > 1)
        shown = np.concatenate([_rows(side)[8:] for side in (pair.one, pair.other)])
        assert np.array_equal(_rows(pair.canaries), shown)


def test_what_is_covered_is_read_off_the_guarantee_and_an_unknown_unit_is_refused() -> None:
    noisy = {"label_noise_probability": 0.1}

    def read(unit: str, plan: Any = None, **options: Any) -> Unit:
        return Unit.of(Local(PureDpEvent(1.0, "replace-one"), 0.0, unit, **options), plan or {})

    assert read("16-pixel part") == Unit(16, False)
    assert read("labelled 16-pixel part") == Unit(16, True)
    assert read("whole image") == read("image") == Unit(None, False)
    assert read("labelled whole image") == read("whole image", noisy) == Unit()
    assert read("row") == read("whole row") == read("record") == read("patient") == Unit()
    assert read("whole image", neighbours=Neighbours.ADD_REMOVE) == Unit()
    for unit in ("attribute", "16 pixels", "0-pixel part", "labelled row"):
        with pytest.raises(InputError, match=f"of one {unit}, and no game is known"):
            read(unit)
    with pytest.raises(InputError, match="a 16-pixel part cannot come or go"):
        read("16-pixel part", neighbours=Neighbours.ADD_REMOVE)


@pytest.mark.parametrize(
    ("method", "settings", "game"),
    [
        ("images.gaussian", {}, {"runs": 60, "records": 2}),
        ("images.gaussian", {"label_share": 0.3}, {"canaries": 200}),
        ("images.pixelate", {"block": 1, "pixels": 1}, {"runs": 60, "records": 2}),
        ("images.pixelate", {"block": 1, "pixels": 1}, {"canaries": 200}),
    ],
)
def test_a_true_claim_of_less_than_a_record_stands_and_pictures_in_the_clear_fall(
    method: str, settings: Any, game: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"epsilon": 1, "settings": settings, "source": seeded(5), **game}
    found = audit(method, **options)
    assert not found.broken
    assert found.most > 1.5  # whole pictures for parts, and other labels, did refute it
    told = "" if "label_share" in settings else ", not in its label"
    pixels = settings.get("pixels", "all" if method == "images.gaussian" else 16)
    changed = f"; neighbours differ in {pixels} pixels of an image{told}"
    assert found.facts.endswith(changed if told else "classes")
    shown = "gaussian.NoisyPixels" if method == "images.gaussian" else "pixelate.Cells"
    clear = f"sfumato.publish.images.{shown}.release"
    monkeypatch.setattr(clear, lambda _, images, source: images)
    assert audit(method, **options).broken


@pytest.mark.parametrize("game", [{"runs": 60, "records": 2}, {"canaries": 200}])
def test_a_column_that_is_published_as_it_is_is_no_part_of_the_game(game: Any) -> None:
    columns = (Categorical("year", tuple("123")), *ONE_COLUMN.columns)
    facts = Schema(columns, target="t", pass_through=("year",))
    found = audit("tables.adaptive", epsilon=0.5, schema=facts, source=seeded(1), **game)
    assert not found.broken
    assert found.facts.endswith("; neighbours differ in all but year")


def _rows(data: Any) -> Any:
    if isinstance(data, ImageSet):
        return np.concatenate([data.images.reshape(len(data), -1), data.labels[:, None]], axis=1)
    return np.stack(list(data.codes().values()), axis=1)


# -- one run -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_canaries_in_one_run_of_an_honest_method_leave_the_claim_standing(seed: int) -> None:
    found = audit(
        "tables.independent", epsilon=4, delta=0, canaries=400, seed=seed, source=seeded(seed << 9)
    )
    assert not found.broken
    assert found.epsilon > 0.5
    assert found.counts["canaries"] == 400


def test_canaries_see_counts_that_have_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.privacy.mechanisms import DiscreteLaplace

    monkeypatch.setattr(DiscreteLaplace, "release", lambda made, values, source=None: values)
    found = audit("tables.independent", epsilon=1, delta=0, canaries=400)
    assert found.broken


@pytest.mark.parametrize("relation", ["add-remove", "replace-one"])
def test_canaries_see_a_model_that_was_trained_without_noise_and_spare_an_honest_one(
    relation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "epsilon": 1,
        "canaries": 200,
        "settings": {
            "neighbours": relation,
            "network": "dense",
            "epochs": 1.0,
            "expected_batch_size": 100 if relation == "add-remove" else 200,
            "momentum": 0.0,
            "averaging": None,
        },
        "source": seeded(3),
    }
    found = audit("learn.dpsgd", **options)
    assert not found.broken
    assert found.claim.neighbours == relation
    assert f"could not have seen more than ε = {found.most:.2f}" in found.summary

    def silent(tensors: Any, *_: Any, divisor: float = 1.0, **__: Any) -> Any:
        return [tensor.detach().float() / divisor for tensor in tensors]

    monkeypatch.setattr("sfumato.learn.noise.add_gaussian", silent)
    assert audit("learn.dpsgd", **options).broken


def test_a_model_is_audited_whose_scales_are_released_and_not_trained() -> None:
    settings = {"network": "dense", "expected_batch_size": 20, "epochs": 1.0, "seed": 1}
    found = audit("learn.adlm", epsilon=4.0, settings=settings, runs=40, records=20, device="cpu")
    assert not found.broken


def test_an_audit_says_when_nothing_it_could_see_would_refute_the_claim() -> None:
    found = audit(
        "tables.independent", epsilon=8, delta=0, canaries=40, source=seeded(0), confidence=0.99
    )
    # 40 right guesses of 40, at a level of 0.01 / 9.
    q = (0.01 / 9) ** (1 / 40)
    assert found.most == pytest.approx(np.log(q / (1 - q)), rel=1e-6)
    assert "nothing could have refuted it" in found.summary
    many = audit(Brightness(), schema=PIXEL, epsilon=1, runs=400, source=seeded(0))
    assert many.claim.epsilon is not None
    assert many.most > many.claim.epsilon
    assert "nothing could have refuted it" not in many.summary


# -- releases ----------------------------------------------------------------------------------


def halves(seed: int) -> tuple[Table, Table]:
    """Members and others by a fair coin."""
    rng = np.random.default_rng(seed)
    columns = tuple(Categorical(name, tuple("abcdefghij")) for name in "uvwxyz")
    schema = Schema((*columns, Categorical("t", ("no", "yes"))), target="t")
    codes = {c.name: rng.integers(0, c.size, 600) for c in schema}
    coins = rng.random(600) < 0.5
    inside, outside = (
        Table.from_codes({n: c[side] for n, c in codes.items()}, schema) for side in (coins, ~coins)
    )
    return inside, outside


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_release_stands_and_one_of_the_rows_themselves_falls(seed: int) -> None:
    members, others = halves(seed)
    release = publish(members, epsilon=1, method="tables.independent", holdout=0, ledger=_ledger())
    evidence: dict[str, Any] = {"members": members, "non_members": others}
    assert not audit(release, **evidence).broken
    leaky = replace(release, artefact=replace(release.artefact, content=members))
    found = audit(leaky, **evidence)
    assert found.broken
    assert found.epsilon > 1
    assert "decided at random" in found.assumption


def test_a_small_claim_is_not_printed_as_none_at_all() -> None:
    found = audit(Brightness(), schema=PIXEL, epsilon=0.004, runs=40, source=seeded(0))
    assert f"claims ε = 0.004 at δ = {found.claim.delta:g}; " in found.summary


def test_exchanged_sides_of_a_leaky_release_are_told(caplog: pytest.LogCaptureFixture) -> None:
    members, others = halves(3)
    release = publish(members, epsilon=1, method="tables.independent", holdout=0, ledger=_ledger())
    audit(release, members=others, non_members=members)
    assert "exchanged" not in caplog.text
    leaky = replace(release, artefact=replace(release.artefact, content=members))
    found = audit(leaky, members=others, non_members=members)
    assert found.epsilon == 0
    assert "fewer than by luck" in caplog.text
    assert "equal a member" not in caplog.text
    audit(leaky, members=members, non_members=members.head(280))
    assert "280 of 280 non-members that were compared equal a member" in caplog.text


def test_a_record_and_a_page_of_a_release_hold_no_private_record(tmp_path: Path) -> None:
    members, others = halves(0)
    columns = tuple(
        Categorical(c.name, tuple(f"secret-{v}" for v in range(c.size))) for c in members.schema
    )
    schema = Schema(columns, target="t")
    members, others = (Table.from_codes(side.codes(), schema) for side in (members, others))
    release = publish(members, epsilon=1, method="tables.independent", holdout=0, ledger=_ledger())
    audit(release, members=members, non_members=others, folder=tmp_path / "a")
    for name in ("audit.json", "report.html"):
        assert "secret-" not in (tmp_path / "a" / name).read_text()
    assert "Keep inside" in (tmp_path / "a" / "report.html").read_text()
    with pytest.MonkeyPatch.context() as patch:  # refused before anything is computed
        patch.setattr("sfumato.api.auditing._release", None)
        with pytest.raises(InputError, match="already exists"):
            audit(release, members=members, non_members=others, folder=tmp_path / "a")
        (tmp_path / "card.json").write_text("{}")
        with pytest.raises(InputError, match="lies in a release"):
            audit(release, members=members, non_members=others, folder=tmp_path / "b")


def test_the_coins_of_a_release_are_the_records_own_and_no_even_number_is_made_of_them() -> None:
    members, others = halves(0)
    assert members.num_rows != others.num_rows
    release = publish(members, epsilon=1, method="tables.independent", holdout=0, ledger=_ledger())
    found = audit(release, members=members, non_members=others)
    assert found.counts["canaries"] == 600
    assert found.counts["included"] == members.num_rows
    with pytest.raises(InputError, match="not parted by fair coins"):
        audit(release, members=members, non_members=others.head(100))
    with pytest.raises(InputError, match="are too few"):
        audit(release, members=members.head(20), non_members=others.head(19))


def test_records_that_score_alike_are_ordered_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    members, others = halves(0)
    release = publish(members, epsilon=1, method="tables.independent", holdout=0, ledger=_ledger())
    monkeypatch.setattr(
        "sfumato.api.auditing.releases._scores",
        lambda *given: [np.zeros(len(rows)) for rows in given[2]],
    )
    found = [audit(release, members=members, non_members=others, seed=seed) for seed in range(8)]
    assert len({one.counts["right"] for one in found}) > 1


def test_a_release_under_zero_out_is_refused() -> None:
    members, others = halves(0)
    release = publish(members, epsilon=1, method="tables.independent", holdout=0, ledger=_ledger())
    guarantee = {**release.card.guarantee, "neighbours": "zero-out"}
    blanked = replace(release, card=replace(release.card, guarantee=guarantee))
    with pytest.raises(InputError, match="under zero-out"):
        audit(blanked, members=members, non_members=others)


def pictures(n: int, seed: int, **of: Any) -> ImageSet:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 1, 4, 4)).astype(np.uint8)
    return ImageSet.from_arrays(images, rng.integers(0, 3, n), ("a", "b", "c"), **of)


@pytest.mark.parametrize("settings", [{}, {"label_share": 0.5}])
def test_pairs_have_one_label_where_labels_are_public(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, others = pictures(60, 1), pictures(90, 2)
    options: dict[str, Any] = {"epsilon": 1, "method": "images.gaussian", "settings": settings}
    release = publish(members, **options, holdout=0, ledger=_ledger(), evaluate=False)
    # Planted: what is found is the label, which is no secret unless it has a share.
    monkeypatch.setattr(
        "sfumato.api.auditing.releases._scores",
        lambda _, sides, chosen, rng: [
            side.labels[rows] * sign for side, rows, sign in zip(sides, chosen, (1, 9), strict=True)
        ],
    )
    monkeypatch.setattr(
        "sfumato.api.auditing.releases.judged",
        lambda *given, facts, **_: (given[2], facts),
    )
    found, said = audit(release, members=members, non_members=others)
    by_label = sum(min(np.bincount(s.labels)[k] for s in (members, others)) for k in range(3))
    if settings:
        assert len(found) == 60
        assert not (np.abs(found) % 8 == 0).all()
        assert said == "60 pairs of a member and a non-member"
    else:
        assert len(found) == by_label
        assert (np.abs(found) % 8 == 0).all()  # k - 9 k of one label k
        assert said == f"{by_label} pairs of a member and a non-member of the same label"


def test_a_release_of_less_than_a_record_has_no_game() -> None:
    members, others = pictures(60, 1), pictures(60, 2)
    options: dict[str, Any] = {"epsilon": 1, "holdout": 0, "ledger": _ledger(), "evaluate": False}
    part = publish(members, method="images.pixelate", settings={"pixels": 2}, **options)
    with pytest.raises(InputError, match="of one 2-pixel part, and this game is of whole images"):
        audit(part, members=members, non_members=others)
    rows, rest = halves(0)
    facts = replace(rows.schema, pass_through=("u", "v"))
    rows = Table.from_codes(rows.codes(), facts)
    copied = publish(rows, method="tables.adaptive", **options)
    with pytest.raises(InputError, match="u, v: published as they are"):
        audit(copied, members=rows, non_members=rest)


@dataclass(frozen=True)
class Canvas(Brightness):
    """The noisy sum of all images, published as one image."""

    name: ClassVar[str] = "test.canvas"

    def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
        noise = Gaussian.calibrate(budget, 1.0, Neighbours.ADD_REMOVE, None, 400)

        def run(data: ImageSet, source: Any, progress: Any) -> Artefact:
            total = data.images.sum(axis=0, dtype=np.float64)
            shown = expit(noise.release(total.ravel(), source).reshape(total.shape) / 20)
            return Artefact(ImageSet.from_arrays(shown[None].astype(np.float32), [0], ("a",)))

        return Calibrated(self, budget, facts, Central(noise.event, budget.delta), {}, run)


def test_persons_with_several_records_are_no_coins_of_one_record() -> None:
    """Each has a pixel of its own, which ten pictures move by ten times what is claimed of one."""

    def lit(side: int, each: int) -> ImageSet:
        people = np.flatnonzero(np.random.default_rng(0).integers(0, 2, 400) == side).repeat(each)
        images = np.eye(400, dtype=np.float32)[people].reshape(-1, 1, 20, 20)
        return ImageSet.from_arrays(images, np.zeros(len(people), int), ("a",), identity=people)

    found = {}
    for each in (1, 10):
        members, others = lit(0, each), lit(1, each)
        made = Canvas().calibrate(Budget(1.0, 1e-5), members.schema)
        release = made(members, ledger=_ledger(), source=SeededSource(0))
        with contextlib.nullcontext() if each == 1 else pytest.raises(InputError, match="several"):
            found[each] = audit(release, members=members, non_members=others)
        if each == 10:  # of nobody in particular, as a custodian who knows no persons gives them
            told = [side.select(np.arange(0, len(side), 10)) for side in (members, others)]
            assert audit(release, members=told[0], non_members=told[1]).broken
            alike = [ImageSet.from_arrays(d.images, d.labels, ("a",)) for d in (members, others)]
            with pytest.raises(InputError, match="copies came and went together"):
                audit(release, members=alike[0], non_members=alike[1])
    assert not found[1].broken


def _ledger() -> Any:
    from sfumato.privacy.ledger import Ledger

    return Ledger.in_memory()


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "options", "problem"),
    [
        (
            "tables.independant",
            {"epsilon": 1},
            "neither a method nor a release, a file or an address",
        ),
        ("tables.independent", {}, "audited at a budget"),
        ("tables.independent", {"epsilon": 1, "runs": 5}, "runs is 5"),
        ("tables.independent", {"epsilon": 1, "runs": True}, "runs is True"),
        ("tables.independent", {"epsilon": -1}, "epsilon"),
        ("tables.independent", {"epsilon": 1, "confidence": 1.0}, "confidence is 1.0"),
        ("tables.independent", {"epsilon": 1, "records": 1}, "records is 1"),
        ("tables.independent", {"epsilon": 1, "canaries": 3}, "canaries is 3"),
        ("tables.independent", {"epsilon": 1, "canaries": 50, "runs": 50}, "runs was given"),
        ("tables.independent", {"epsilon": 1, "members": "x.csv"}, "members was given"),
        ("tables.independent", {"epsilon": 1, "settings": {"bin": 3}}, "has no setting 'bin'"),
        ("tables.independent", {"epsilon": 1, "schema": neighbours.PICTURES}, "takes table"),
        ("tables.independent", {"epsilon": 1, "data": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(
    subject: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        audit(subject, **options)


def test_a_release_takes_no_budget_and_needs_both_sides() -> None:
    members, others = halves(0)
    release = publish(members, epsilon=1, method="tables.independent", holdout=0, ledger=_ledger())
    claim: Any = {"epsilon": 1, "delta": 0, "neighbours": "add-remove"}
    with pytest.raises(InputError, match="it says itself what is claimed"):
        audit(release, **claim, members=members, non_members=others)
    with pytest.raises(InputError, match="adversary was given, but it is for audits of methods"):
        audit(release, adversary="transcript", members=members, non_members=others)
    with pytest.raises(InputError, match="members and non-members"):
        audit(release, members=members)

"""No attack prints or writes a private record unasked: each is run on records that are recognised.

Every registered attack is run by ``sfumato attack`` on each kind of target that it takes, and all
that comes out is searched: both streams, the log, warnings, progress, the report with its pictures,
the figures, the list of risks, kept shadow models. An attack that is added is run here as well.
"""

from __future__ import annotations

import base64
import logging
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.attack.overfitted import fitted, unproven
from tests.cli.sentinels import Column, Sentinels

from sfumato import registry
from sfumato.api import prepare
from sfumato.attack import Evidence, suite
from sfumato.attack.finding import REVEALED, Finding
from sfumato.data import Categorical, ImageSet, Numeric, Schema, Table
from sfumato.errors import SfumatoError
from sfumato.release.weights import save_weights
from sfumato.report.memorised import ATTACK as MEMORISED

Command = Callable[..., Any]
SIDES = ("members", "others", "auxiliary")
EACH = 48
AMOUNT = Numeric("amount", 3000, 5000, 1e-4)  # not where a chart has its points
RATE = Numeric("rate", -50, 50, 1e-5)
SCHEMA = Schema(
    (
        AMOUNT,
        RATE,
        Categorical("colour", ("red", "green", "blue")),
        Categorical("job", ("none", "some", "many", "all")),
        Categorical("outcome", ("no", "yes")),
    ),
    target="outcome",
)
CLASSES = ("dot", "bar")

SHADOWS = "shadows=4,epochs=1,max_records=80,workers=1,family=logistic regression,cache={cache}"
SMALL = {
    "attribute.inference": "max_secrets=1",
    "attribute.model": "max_secrets=1",
    "feedback.generator": "steps=2,generated=20",
    "gradient.inversion": "iterations=2",
    "inversion.ascent": "each=1,iterations=2",
    "inversion.learned": "steps=5",
    "inversion.prior": "each=1,starts=1,iterations=2,steps=2",
    "label.update": "max_targets=20,probes=20",
    "membership.label_only": "repeats=1",
    "membership.lira": SHADOWS,
    "membership.rmia": SHADOWS,
    "membership.shadow": SHADOWS,
    "reidentification.siamese": "steps=2,networks=1",
    "stealing.surrogate": "epochs=1",
}
"""Settings that make an attack quick; one that is not here is run as it is."""

SLOW = ("stealing.surrogate",)
"""Take more than two seconds of a processor."""

ROADS = {
    "table": ("rows",),
    "images": ("pictures",),
    "model": ("model of rows", "model of pictures"),
}
ATTACKED = [
    pytest.param(name, road, marks=[pytest.mark.slow] if name in SLOW else [])
    for name, cls in registry.load("attack").items()
    for kind in cls.kinds
    for road in ROADS[kind]
]
PICTURES_ONLY = ("gradient.inversion", "inversion.ascent", "inversion.learned", "inversion.prior")
REFUSED = {(name, "model of rows") for name in PICTURES_ONLY} | {
    ("attribute.model", "model of pictures")
}
"""Combinations that an attack refuses, in one line."""


def column(facts: Numeric, seed: int, count: int) -> Column:
    """Values of seven or eight digits, the last of them none, each of one record alone."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(facts.cardinality // 10, count, replace=False) * 10 + rng.integers(
        1, 10, count
    )
    values = np.round(facts.lower + codes * facts.granularity, 5)
    return Column(facts.lower, facts.upper, facts.granularity, values)


@dataclass(frozen=True)
class Private:
    """Files of private records, what is attacked with them, and what must not come out."""

    folder: Path
    sought: Sentinels
    targets: dict[str, list[object]]
    shown: ImageSet
    _opened: dict[str, tuple[Any, Evidence]] = field(default_factory=dict)

    def evidence(self, road: str, *, named: bool = False) -> list[object]:
        """The options that name the records; with names of persons and auxiliary records."""
        pictures = road.endswith("pictures")
        ending = ".npz" if pictures else ".csv"
        where = self.folder / "named" if named else self.folder
        sides = dict(zip(SIDES, ("--members", "--non-members", "--auxiliary"), strict=True))
        used = SIDES if named else SIDES[:2]
        given: list[object] = []
        for side in used:
            given += [sides[side], where / f"{side}{ending}"]
        if not pictures:
            given += ["--schema", where / "facts.yaml"]
        return given

    def opened(self, road: str) -> tuple[Any, Evidence]:
        """The target and the evidence in memory."""
        found = self._opened.get(road)
        if found is None:
            target, *options = [*self.targets[road], *self.evidence(road)]
            given = dict(zip(options[::2], options[1::2], strict=True))
            prepared = prepare(
                target,
                members=given["--members"],
                non_members=given["--non-members"],
                schema=given.get("--schema"),
            )
            found = self._opened[road] = prepared.release, prepared.evidence
        return found


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Private:
    folder = tmp_path_factory.mktemp("private")
    (folder / "named").mkdir()
    rng = np.random.default_rng(0)
    columns = (column(AMOUNT, 1, 3 * EACH), column(RATE, 2, 3 * EACH))
    textures = rng.random((3 * EACH, 1, 8, 8)).astype(np.float32)
    textures = (np.rint(textures * 255) / 255).astype(np.float32)
    frame = pd.DataFrame(
        {
            "amount": columns[0].values,
            "rate": columns[1].values,
            "colour": rng.choice(["red", "green", "blue"], 3 * EACH),
            "job": rng.choice(["none", "some", "many", "all"], 3 * EACH),
            "outcome": rng.choice(["no", "yes"], 3 * EACH),
        }
    )
    labels = np.arange(3 * EACH) % 2
    names = np.array([f"Zyx{i // 2:04d}" for i in range(3 * EACH)])
    sets = {}
    for side, name in enumerate(SIDES):
        rows = np.arange(side * EACH, (side + 1) * EACH)
        frame.iloc[rows].to_csv(folder / f"{name}.csv", index=False)
        owned = frame.iloc[rows].assign(patient=names[rows])
        owned.to_csv(folder / "named" / f"{name}.csv", index=False)
        sets[name] = ImageSet.from_arrays(textures[rows], labels[rows], CLASSES)
        held = {"images": textures[rows], "labels": labels[rows], "classes": np.array(CLASSES)}
        np.savez(folder / f"{name}.npz", **held)
        np.savez(folder / "named" / f"{name}.npz", **held, identity=names[rows])
    SCHEMA.save(folder / "facts.yaml")
    SCHEMA.with_unit("patient", 1).save(folder / "named" / "facts.yaml")
    return Private(
        folder,
        Sentinels(columns, pictures=textures[:, 0]),
        _targets(folder, frame[:EACH], sets["members"], rng),
        sets["members"],
    )


def _targets(
    folder: Path, frame: pd.DataFrame, pictures: ImageSet, rng: np.random.Generator
) -> dict[str, list[object]]:
    """What is attacked: near copies of the members, and models that were trained on them."""
    members = Table.from_pandas(frame, SCHEMA)
    moved = {name: codes.copy() for name, codes in members.codes().items()}
    for facts in (AMOUNT, RATE):
        away = rng.integers(1_000, 9_000, EACH)
        moved[facts.name] = np.clip(moved[facts.name] - away, 0, facts.cardinality - 1)
    Table.from_codes(moved, SCHEMA).to_pandas().to_csv(folder / "rows.csv", index=False)
    # Nearer to their originals than to any other picture, and not the same to the search.
    near = np.clip(0.7 * pictures.images + 0.3 * rng.random(pictures.images.shape), 0, 1)
    released = ImageSet.from_arrays(near.astype(np.float32), pictures.labels, CLASSES)
    release = unproven(released, aligned=True)
    figures = {"statement": "Nothing is claimed."}
    replace(release, card=replace(release.card, figures=figures)).save(folder / "pictures")
    of_rows, of_pictures = fitted(members, steps=20), fitted(pictures, steps=20)
    for name, model in (("of_rows", of_rows), ("of_pictures", of_pictures)):
        save_weights(folder / f"{name}.safetensors", model.tensors, model.architecture)
    return {
        "rows": [folder / "rows.csv"],
        "pictures": [folder / "pictures"],
        "model of rows": [folder / "of_rows.safetensors"],
        "model of pictures": [folder / "of_pictures.safetensors"],
    }


@dataclass
class Outlet:
    """Runs commands, and keeps all that comes out of them.

    Args:
        command: ``sfumato``.
        folder: Where everything is written.
        log: All records of all loggers.
        said: What came out so far.
        findings: Of the last command that attacked.
    """

    command: Command
    folder: Path
    log: pytest.LogCaptureFixture
    said: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def run(self, *arguments: object) -> Any:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            ran = self.command("attack", *arguments)
        self.said += [ran.out, ran.err, *(str(one.message) for one in told)]
        self.said += [f"{one.getMessage()} {one.exc_text or ''}" for one in self.log.records]
        return ran

    def hits(self, sought: Sentinels) -> list[str]:
        """What came out of private records, in files and beside them."""
        return sought.in_text("\n".join(self.said)) + sought.below(self.folder)


@pytest.fixture
def outlet(
    sfumato: Command,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Outlet:
    """The command in an empty folder, where also scratch files go."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    made = Outlet(sfumato, tmp_path, caplog)
    attacks, known = suite.run, {}

    def run(*given: Any, **more: Any) -> list[Finding]:
        """Attacks once; the same again is taken from memory, for it is written in other ways."""
        asked = tuple(more["attacks"] or ())
        if asked not in known:
            tell = more.pop("progress")

            def progress(done: int, total: int, label: str) -> None:
                made.said.append(label)
                tell(done, total, label)

            known[asked] = attacks(*given, progress=progress, **more)
        made.findings = known[asked]
        return known[asked]

    monkeypatch.setattr(suite, "run", run)
    return made


def settings(name: str, folder: Path) -> tuple[str, bool]:
    """The attack with its small settings, and whether it was told to reveal what it makes."""
    given = [SMALL[name].format(cache=folder / "cache")] if name in SMALL else []
    reveals = hasattr(registry.find("attack", name), "reveal")
    given += ["reveal=true"] if reveals else []
    return f"{name}[{','.join(given)}]", reveals


@pytest.mark.parametrize(("name", "road"), ATTACKED)
def test_no_attack_tells_a_private_record_unasked(
    name: str, road: str, private: Private, outlet: Outlet
) -> None:
    text, made = settings(name, outlet.folder)
    asked = [*private.targets[road], *private.evidence(road), "--attack", text]
    ran = outlet.run(*asked, "--out", "found")
    if (name, road) in REFUSED:
        assert ran.code == 2
        assert not outlet.hits(private.sought)
        return
    assert ran.code == 0, ran.err
    (finding,) = outlet.findings
    assert finding.attack == name
    risk = [] if finding.records is None else ["--risk", "people.private.csv"]
    assert outlet.run(*asked, "--json", *risk).code == 0
    sought = private.sought
    if made:
        assert len(finding.details[REVEALED]) > 0
        sought = sought.with_pictures(finding.details[REVEALED])
    assert not outlet.hits(sought)
    if not made and name != MEMORISED:
        return
    # Asked to reveal, it does; and so the search would have found it.
    shown = outlet.run(*asked, "--out", "shown", "--reveal", "--json")
    assert shown.code == 0
    assert sought.below(outlet.folder / "shown")
    assert bool(sought.in_text(shown.out)) is made


OF_PERSONS = {
    "rows": ("anonymeter.linkability", "linkage.nearest", "membership.distance"),
    "pictures": ("linkage.nearest", "membership.distance", "memorisation.nearest"),
    "model of rows": ("membership.gap",),
    "model of pictures": ("membership.gap",),
}


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("road", list(OF_PERSONS))
def test_no_name_of_a_person_is_told(
    road: str, quick: bool, private: Private, outlet: Outlet
) -> None:
    """A few attacks together, or all that are not costly, where records are known to be whose."""
    asked = [*private.targets[road], *private.evidence(road, named=True)]
    for name in OF_PERSONS[road] if quick else ():
        asked += ["--attack", name]
    ran = outlet.run(*asked, "--out", "found")
    assert ran.code == 0, ran.err
    assert outlet.findings
    outlet.run(*asked, "--json")
    assert not outlet.hits(private.sought)


# -- records that do not fit -----------------------------------------------------------------------

WRONG = {
    "a value that is missing": ("amount", ""),
    "not a number": ("amount", "nan"),
    "out of bounds": ("amount", "9999.5"),
    "no number": ("rate", "much"),
    "a decimal comma": ("rate", '"11,5"'),
    "an undeclared level": ("colour", "mauve"),
    "an undeclared class": ("outcome", "perhaps"),
    "a value too many": ("outcome", "no,more"),
    "a quote that never ends": ("job", '"some'),
    "a quote that swallows rows": ("outcome", '"no'),
    "a quote before a number": ("rate", '"11,'),
    "bytes of another encoding": ("colour", "gr\xfcn"),
    "a null character": ("colour", "re\x00d"),
}


READ = [(case, "csv") for case in WRONG] + [
    ("no number", "database"),
    ("a quote before a number", "database"),
    ("a value too many", "view"),
    ("bytes of another encoding", "view"),
    ("a quote before a number", "view"),
]
"""A view reads the file anew, by an engine that shows the row that it stumbled over."""


@pytest.mark.parametrize(("case", "read"), READ)
def test_a_row_that_does_not_fit_is_not_shown(
    case: str, read: str, private: Private, outlet: Outlet
) -> None:
    """The value that is wrong is named, to the custodian; the rest of the row is not."""
    place, value = WRONG[case]
    lines = (private.folder / "members.csv").read_text("utf-8").splitlines()
    cells = lines[7].split(",")
    cells[lines[0].split(",").index(place)] = value
    lines[7] = ",".join(cells)
    outside = outlet.folder.with_name(f"{outlet.folder.name}.data")  # is no part of what comes out
    outside.mkdir()
    members: object = outside / "members.csv"
    if case == "a quote before a number":  # closed on the next line
        lines[7:9] = [f'{",".join(cells[:2])}\n{lines[8]}",{",".join(cells[2:])}']
    (outside / "members.csv").write_bytes("\n".join(lines).encode("latin-1"))
    if read != "csv":
        import duckdb

        made = "TABLE" if read == "database" else "VIEW"
        how = f"header=true, columns={dict.fromkeys(SCHEMA.names, 'VARCHAR')}"
        whole = private.folder / "members.csv" if read == "view" else outside / "members.csv"
        shutil.copy(whole, outside / "seen.csv")
        with duckdb.connect(outside / "people.db") as base:
            base.execute(f"CREATE {made} people AS FROM read_csv('{outside / 'seen.csv'}', {how})")
        shutil.copy(outside / "members.csv", outside / "seen.csv")  # a view reads it again
        members = f"duckdb:///{outside / 'people.db'}?table=people"
    given = private.evidence("rows")
    given[1] = members
    ran = outlet.run(*private.targets["rows"], *given, "--attack", "linkage.nearest")
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert not outlet.hits(private.sought)


@pytest.mark.parametrize(
    "case", ["NaN", "beyond white", "another shape", "an undeclared label", "nobody's", "objects"]
)
def test_a_picture_that_does_not_fit_is_not_shown(
    case: str, private: Private, outlet: Outlet
) -> None:
    with np.load(private.folder / "named" / "members.npz") as held:
        arrays = {name: held[name].copy() for name in held.files}
    if case == "NaN":
        arrays["images"][7, 0, 0, 0] = np.nan
    elif case == "beyond white":
        arrays["images"][7, 0, 0, 0] = 7.5
    elif case == "another shape":
        arrays["images"] = arrays["images"][:, :, :7]
    elif case == "an undeclared label":
        arrays["labels"][7] = 9
    elif case == "nobody's":
        arrays["identity"][7] = ""
    else:
        arrays["images"] = arrays["images"].astype(object)
    file = outlet.folder.with_name(f"{outlet.folder.name}.npz")
    np.savez(file, **arrays)
    given = private.evidence("pictures", named=True)
    given[1] = file
    ran = outlet.run(*private.targets["pictures"], *given, "--attack", "linkage.nearest")
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert not outlet.hits(private.sought)


@pytest.mark.parametrize("name", list(registry.load("attack")))
def test_records_of_another_form_are_not_shown(name: str, private: Private) -> None:
    """Rows with other columns, pictures of another size, are refused before anything is told."""
    kinds = registry.find("attack", name).kinds
    for road in [road for kind in kinds for road in ROADS[kind]]:
        release, evidence = private.opened(road)
        sides = [
            side.select("amount", "rate", "outcome")
            if isinstance(side, Table)
            else ImageSet.from_arrays(side.images[:, :, 1:], side.labels, CLASSES)
            for side in (evidence.members, evidence.non_members)
        ]
        with pytest.raises(SfumatoError) as refused:
            registry.build("attack", name)(release, Evidence(*sides))
        assert not private.sought.in_text(str(refused.value))


class Talkative(torch.nn.Module):
    """A network that refuses some pictures in words that hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.last = torch.nn.Flatten(), torch.nn.Linear(64, 2)
        self.register_buffer("known", torch.zeros(0, 64))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        flat = self.flat(pictures)
        for row in torch.atleast_2d(flat.detach()):
            if (self.known - row).abs().sum(dim=1).lt(1e-3).any():
                raise ValueError(f"no class for {row.tolist()}")
        return self.last(flat)


TRAINING = ("inversion.ascent", "inversion.prior", "label.posterior", *SLOW)
"""Train a network of pictures, for a second, before they ask the model, or ask it nothing."""

OF_MODELS = [
    name
    for name, cls in registry.load("attack").items()
    if "model" in cls.kinds and (name, "model of pictures") not in REFUSED
]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in TRAINING else [])
        for name in OF_MODELS
    ],
)
def test_what_a_model_says_of_a_record_that_it_refuses_is_not_repeated(
    name: str, private: Private, tmp_path: Path
) -> None:
    _, evidence = private.opened("model of pictures")
    network = Talkative()
    prepared = prepare(
        network,
        members=evidence.members,
        non_members=evidence.non_members,
        schema=private.shown.schema,
        interface={"outputs": "logits"},  # chance makes some look like shares
    )
    network.known = torch.from_numpy(private.sought.pictures.reshape(-1, 64))
    try:
        prepared.attack(attacks=[settings(name, tmp_path)[0]])
    except SfumatoError as error:
        told = "".join(traceback.format_exception(error))
        assert "the model failed on real records" in told
        assert not private.sought.in_text(told)
    else:  # it shows the network no record
        assert name in ("inversion.ascent", "inversion.prior")


# -- leaks that are planted ------------------------------------------------------------------------


PLANTED = {
    "a value": lambda c, p: {"worst": c[0][0]},
    "a value of few digits": lambda c, p: {"worst": float(f"{c[0][0]:.5g}")},
    "a value in a sentence": lambda c, p: {"note": f"the member with {c[0][0]:.6g} is found"},
    "shares of ranges": lambda c, p: {"row": [round(one, 6) for one in (c[0][2], c[1][2])]},
    "codes": lambda c, p: {"row": [int(c[0][3])]},
    "a row as text": lambda c, p: {"row": f"({c[0][0]}, {c[1][0]}, 'red', 'none', 'no')"},
    "a name": lambda c, p: {"person": "zyx0017"},
    "a picture": lambda c, p: {"found": np.rint(255 * p[7]).astype(int).tolist()},
    "a picture's negative": lambda c, p: {"found": (1 - p[7]).ravel().round(3).tolist()},
    "a line of a picture": lambda c, p: {"found": p[7, 3].round(2).tolist()},
    "a picture as bytes": lambda c, p: {
        "found": base64.b64encode(np.rint(255 * p[7]).astype(np.uint8).tobytes()).decode()
    },
}
"""What a finding is made to hold; ``c`` as :func:`forms_of` gives it, ``p`` private pictures."""


def forms_of(private: Private, row: int) -> list[list[float]]:
    """For each column a record's value, what it is above the bound, its share and its code."""
    return [
        [float(values[row]) for values in column.forms().values()]
        for column in private.sought.columns
    ]


@pytest.mark.parametrize("planted", list(PLANTED))
def test_a_leak_that_is_planted_in_a_finding_is_found(
    planted: str, private: Private, outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the figures and on standard output: the search is no search that finds nothing."""
    more = PLANTED[planted](forms_of(private, 5), private.sought.pictures)
    finding = Finding("membership.gap", "gap", 0.1, (0.0, 0.2), 0.95, 0.0, details=more)
    monkeypatch.setattr(suite, "run", lambda *given, **named: [finding])
    road = "model of rows"
    asked = [*private.targets[road], *private.evidence(road), "--attack", "membership.gap"]
    assert outlet.run(*asked, "--out", "found", "--json").code == 0
    said, written = private.sought.in_text(outlet.said[0]), private.sought.below(outlet.folder)
    assert said
    assert any(hit.startswith("evaluation.json") for hit in written)


def test_leaks_beside_findings_are_found(
    private: Private, outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log, in a warning, in what is told on the way, and in a summary."""
    values = [f"{value:.7g}" for value in private.sought.columns[0].values[:4]]
    finding = Finding(
        "membership.gap", "gap", 0.1, (0.0, 0.2), 0.95, 0.0, summary=f"of {values[0]}"
    )

    def attack(
        self: Any, release: Any, evidence: Any, *, seed: int = 0, progress: Any = None
    ) -> Finding:
        progress(0, 1, f"at {values[1]}")
        logging.getLogger("sfumato.attack").debug("seen %s", values[2])
        warnings.warn(f"odd: {values[3]}", RuntimeWarning, stacklevel=1)
        return finding

    gap = registry.find("attack", "membership.gap")
    monkeypatch.setattr(gap, "__call__", attack)
    road = "model of rows"
    outlet.run(*private.targets[road], *private.evidence(road), "--attack", "membership.gap")
    hits = private.sought.in_text("\n".join(outlet.said))
    assert all(any(value in hit for hit in hits) for value in values)


def test_pictures_that_are_no_longer_hidden_are_found(
    private: Private, outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Finding, "hidden", lambda self: self)
    road = "model of pictures"
    asked = [*private.targets[road], *private.evidence(road)]
    text, _ = settings("gradient.inversion", outlet.folder)
    ran = outlet.run(*asked, "--attack", text, "--out", "found", "--json")
    assert private.sought.in_text(ran.out)
    assert private.sought.below(outlet.folder)


def test_every_kind_of_file_is_searched(private: Private, tmp_path: Path) -> None:
    """Drawn small and large, in arrays and weights; and what cannot be opened is refused."""
    picture = private.sought.pictures[3]
    drawn = np.rint(picture * 255).astype(np.uint8)
    sheet = np.zeros((40, 60), np.uint8)
    sheet[5:29, 20:44] = drawn.repeat(3, 0).repeat(3, 1)
    row = np.array([[column.values[9] for column in private.sought.columns]])
    Image.fromarray(sheet).save(tmp_path / "sheet.png")
    Image.fromarray(255 - drawn).resize((56, 56), Image.Resampling.BICUBIC).save(
        tmp_path / "large.png"
    )
    np.savez(tmp_path / "arrays.npz", kept=np.concatenate([np.zeros(3), picture.ravel() * 2 - 1]))
    np.savez_compressed(tmp_path / "rows.npz", kept=row.astype(np.float32))
    save_weights(tmp_path / "net.safetensors", {"weight": picture[None] - 0.5}, {})
    (tmp_path / "list.csv").write_text(f"row,score\n3,{row[0, 0]:.6g}\n", encoding="utf-8")
    for file in sorted(tmp_path.iterdir()):
        assert private.sought.in_file(file), file.name
    clean = tmp_path / "clean.png"
    Image.fromarray(np.arange(2400, dtype=np.uint8).reshape(40, 60)).save(clean)
    assert not private.sought.in_file(clean)
    (tmp_path / "group.pkl").write_bytes(b"")
    with pytest.raises(AssertionError, match="teach the search"):
        private.sought.in_file(tmp_path / "group.pkl")

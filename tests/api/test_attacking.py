"""What others made, attacked from end to end; and nothing private written unasked."""

from __future__ import annotations

import html
import json
import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.attack.overfitted import digits, fitted, unproven

import sfumato
from sfumato.api import prepare
from sfumato.api.attacking import Prepared
from sfumato.attack import Evidence
from sfumato.data import Categorical, ImageSet, Numeric, Schema, Table
from sfumato.data.read_off import read_off
from sfumato.data.reading import Reading
from sfumato.errors import InputError
from sfumato.measure.evaluation import Evaluation, evaluate

CLASSES = ("bar", "dot")


def pictures(count: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    images = (rng.integers(0, 256, (count, 1, 8, 8)) / 255).astype(np.float32)
    return ImageSet.from_arrays(images, np.arange(count) % 2, CLASSES)


def folder_of(images: ImageSet, path: Path) -> Path:
    """A folder as other software would write it: PNG files and a list of labels."""
    path.mkdir()
    lines = ["file,label"]
    for i, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        Image.fromarray(np.rint(image[0] * 255).astype(np.uint8)).save(path / f"{i}.png")
        lines.append(f"{i}.png,{CLASSES[label]}")
    (path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return path


def tables(tmp_path: Path, people: Table) -> dict[str, Path]:
    """Members, non-members and a leaky release of anyone's, as CSV files without a schema."""
    frame = people.to_pandas()
    members, others = frame.iloc[:200], frame.iloc[200:]
    released = members.sample(frac=1, random_state=1)
    paths = {}
    for name, part in (("members", members), ("others", others), ("released", released)):
        paths[name] = tmp_path / f"{name}.csv"
        part.to_csv(paths[name], index=False)
    paths["schema"] = tmp_path / "facts.yaml"
    people.schema.save(paths["schema"])
    return paths


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_a_table_of_anyones_is_attacked_and_reported(tmp_path: Path, people: Table) -> None:
    paths = tables(tmp_path, people)
    prepared = prepare(
        paths["released"],
        members=paths["members"],
        non_members=paths["others"],
        schema=paths["schema"],
    )
    findings = prepared.attack(attacks=["membership.distance", "anonymeter.linkability"])
    assert all(finding.ceiling is None for finding in findings)
    prepared.report(findings, tmp_path / "found")
    assert stat.S_IMODE((tmp_path / "found").stat().st_mode) == 0o700
    page = (tmp_path / "found" / "report.html").read_text("utf-8")
    assert "Nothing is claimed" in page
    assert "What an attacker learns" in page
    assert "the data released.csv" in page
    with pytest.raises(InputError, match="already exists"):
        prepared.report(findings, tmp_path / "found")


def test_the_members_facts_serve_where_there_are_no_others(tmp_path: Path, people: Table) -> None:
    paths = tables(tmp_path, people)
    sides = {"members": paths["members"], "non_members": paths["others"]}
    with pytest.raises(InputError, match="has no schema"):
        sfumato.attack(paths["released"], **sides)
    people.schema.save(tmp_path / "members.schema.yaml")
    (finding,) = sfumato.attack(paths["released"], **sides, attacks=["membership.distance"])
    assert finding.attack == "membership.distance"


def test_members_that_are_the_non_members_are_told(
    tmp_path: Path, people: Table, caplog: pytest.LogCaptureFixture
) -> None:
    paths = tables(tmp_path, people)
    sides = {"members": paths["members"], "schema": paths["schema"]}
    prepare(paths["released"], non_members=paths["others"], **sides)
    assert not caplog.messages
    prepare(paths["released"], non_members=paths["members"], **sides)
    assert "the members are the non-members, too" in caplog.text
    caplog.clear()
    again = tmp_path / "again.csv"
    pd.read_csv(paths["members"]).sample(frac=1, random_state=2).to_csv(again, index=False)
    prepare(paths["released"], non_members=again, **sides)
    assert "200 of 200 non-members that were compared equal a member" in caplog.text


def test_an_attacker_does_not_hold_the_records_that_are_judged(
    tmp_path: Path, people: Table
) -> None:
    """Else he knows who is no member, and a release of anybody's rows is called a leak."""
    paths = tables(tmp_path, people)
    more = {"members": paths["members"], "non_members": paths["others"], "schema": paths["schema"]}
    for side, name in (("members", "members"), ("others", "non-members")):
        with pytest.raises(InputError, match=f"the auxiliary records are the {name}"):
            prepare(paths["released"], auxiliary=paths[side], **more)
        copy = tmp_path / f"copy-of-{side}.csv"
        pd.read_csv(paths[side]).sample(frac=1, random_state=2).to_csv(copy, index=False)
        with pytest.raises(InputError, match="equal an auxiliary record in every value"):
            prepare(paths["released"], auxiliary=copy, **more)


def test_pictures_that_do_not_fit_are_told_beside_what_is_attacked(tmp_path: Path) -> None:
    sides = {name: folder_of(pictures(30, i), tmp_path / name) for i, name in enumerate("ab")}
    given = {"members": sides["a"], "non_members": sides["b"]}
    grey = pictures(30, 2)
    (tmp_path / "rgb").mkdir()
    for i, image in enumerate(grey.images):
        Image.fromarray(np.uint8(image[0] * 255)).convert("RGB").save(tmp_path / "rgb" / f"{i}.png")
    shutil.copy(sides["a"] / "labels.csv", tmp_path / "rgb")
    with pytest.raises(InputError, match=r"a: images are .* attacked holds RGB pictures of 8x8"):
        prepare(tmp_path / "rgb", **given)
    one = folder_of(grey.select(np.arange(0, 30, 2)), tmp_path / "one")
    with pytest.raises(InputError, match=r"with the classes bar: .* declare all of them: --schema"):
        prepare(one, **given)
    assert prepare(one, **given, schema=grey.schema).release.data.num_rows == 15


def test_rows_that_are_written_otherwise_than_the_release_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A schema that was read off a release takes them, and attacks would see nothing of them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(20, 90, 60), "town": rng.choice(["ulm", "bonn"], 60)})
    frame.loc[::2, "town"] = None  # missing, and not unknown
    paths = {name: tmp_path / f"{name}.csv" for name in ("out", "in", "others")}
    for name, part in (("out", frame.fillna("ulm")), ("in", frame[:30]), ("others", frame[30:])):
        part.to_csv(paths[name], index=False)
    read_off(paths["out"], target="town").save(tmp_path / "out.schema.yaml")
    text = (tmp_path / "out.schema.yaml").read_text("utf-8")
    levels = "levels: [bonn, ulm]\n    missing: true\n    outside: missing\n"
    (tmp_path / "out.schema.yaml").write_text(text.replace("levels: [bonn, ulm]\n", levels))
    given = {"members": paths["in"], "non_members": paths["others"]}
    prepare(paths["out"], **given)
    assert not caplog.messages
    pd.DataFrame({"age": frame["age"][:30] * 12, "town": "Frankfurt"}).to_csv(
        paths["in"], index=False
    )
    prepare(paths["out"], **given)
    told = [line for line in caplog.messages if "written otherwise" in line]
    assert "column 'age': 30 of 30 members count as the upper bound" in told[0]
    assert "column 'town': 30 of 30 members count as missing" in told[1]
    assert "Frankfurt" not in caplog.text


def test_classes_that_are_common_on_one_side_are_told(caplog: pytest.LogCaptureFixture) -> None:
    some, others = pictures(60, 1), pictures(60, 2)
    prepare(some, members=some, non_members=others)
    assert not caplog.messages
    one = others.select(np.arange(0, 60, 2))
    prepare(some, members=some.select(np.arange(1, 60, 2)), non_members=one)
    assert "classes are not equally common" in caplog.text


def test_exchanged_sides_are_not_called_harmless(tmp_path: Path, people: Table) -> None:
    paths = tables(tmp_path, people)
    (found,) = sfumato.attack(
        paths["released"],
        members=paths["others"],
        non_members=paths["members"],
        schema=paths["schema"],
        attacks=["membership.distance"],
    )
    assert not found.better_than_chance
    assert "exchanged, this is a leak" in found.summary


def test_a_function_is_attacked_as_a_model(people: Table) -> None:
    seen: list[Any] = []

    def remembers(frame: pd.DataFrame) -> Any:
        seen.append(frame)
        known = frame["age"] % 2 == 0
        return np.where(known, 0.9, 0.1)

    rows = people.codes()["age"] % 2
    members, others = (
        Table.from_codes({k: v[rows == side] for k, v in people.codes().items()}, people.schema)
        for side in (0, 1)
    )
    (finding,) = sfumato.attack(
        remembers, members=members, non_members=others, attacks=["membership.loss"]
    )
    assert finding.attack == "membership.loss"
    assert {"age", "colour"} == set(seen[0].columns)


def test_answers_in_another_order_of_the_classes_are_told(
    people: Table, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that names no classes; nothing but its mistakes shows that its order is its own."""

    def answering(order: list[int]) -> Any:
        def answer(frame: pd.DataFrame) -> Any:
            yes = np.where((frame["age"] > 30) & (frame["colour"] == "green"), 0.95, 0.05)
            return np.stack([1 - yes, yes], axis=1)[:, order]

        return answer

    members, others = people.split(0.5, 0)
    for order, told in (([0, 1], 0), ([1, 0], 1)):
        caplog.clear()
        sfumato.attack(
            answering(order),
            members=members,
            non_members=others,
            attacks=["membership.gap", "membership.loss"],
        )
        assert caplog.text.count("if its classes are taken as yes, no; it names none") == told


def test_a_release_of_ours_says_itself_how_it_is_read(people_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    sfumato.publish(people_file, epsilon=1.0, out=out, evaluate=False)
    with pytest.raises(InputError, match="says itself how it is read"):
        sfumato.attack(out, members=people_file, non_members=people_file, target="age")


def test_what_is_doubtful_about_the_sides_is_in_the_report(tmp_path: Path, people: Table) -> None:
    paths = tables(tmp_path, people)
    (tmp_path / "copy.csv").write_bytes(Path(paths["members"]).read_bytes())
    prepared = prepare(
        paths["released"],
        members=paths["members"],
        non_members=str(tmp_path / "copy.csv"),
        schema=paths["schema"],
    )
    findings = prepared.attack(attacks=["membership.distance"])
    evaluation = prepared.report(findings, tmp_path / "found")
    (doubt,) = evaluation.doubts
    assert "non-members that were compared equal a member" in doubt
    text = (tmp_path / "found" / "evaluation.json").read_text("utf-8")
    assert Evaluation.from_json(text).doubts == (doubt,)
    assert doubt in html.unescape((tmp_path / "found" / "report.html").read_text("utf-8"))


def test_files_written_otherwise_are_read_by_the_schema_of_the_release(tmp_path: Path) -> None:
    """What values mean is in the release; how a file spells them, in what it was made with."""
    schema = Schema(
        (
            Numeric("age", 0, 110, 1, reading=Reading(of="born", how="age", at="2024-01-01")),
            Categorical("colour", ("grün", "rot")),
        ),
        target="colour",
        encoding="cp1252",
    )
    rng = np.random.default_rng(0)
    for name in ("members", "others"):
        lines = [f"{1930 + rng.integers(80)}-03-01,{c}" for c in rng.choice(["grün", "rot"], 200)]
        text = "\n".join(["born,colour", *lines, ""])
        (tmp_path / f"{name}.csv").write_text(text, encoding="cp1252")
    facts = tmp_path / "facts.yaml"
    schema.save(facts)
    members, others = tmp_path / "members.csv", tmp_path / "others.csv"
    out = tmp_path / "release"
    sfumato.publish(members, schema=facts, epsilon=1.0, out=out, evaluate=False, holdout=0)
    with pytest.raises(InputError, match=r"not utf-8.*give the schema that it was made with"):
        sfumato.measure(out, train=members, test=others)
    sides = {"members": members, "non_members": others}
    measured = sfumato.measure(out, train=members, test=others, schema=facts)
    assert measured.utility is not None
    assert sfumato.attack(out, **sides, schema=facts, attacks=["membership.distance"])
    assert not sfumato.audit(out, **sides, schema=schema).broken
    other = Schema((Numeric("age", 0, 90, 1), schema["colour"]), target="colour")
    with pytest.raises(InputError, match="other columns, levels or bounds than the release has"):
        sfumato.measure(out, train=members, test=others, schema=other)


def test_auxiliary_records_reach_the_attacks(people: Table) -> None:
    codes = people.codes()
    parts = [
        Table.from_codes({k: v[i::4] for k, v in codes.items()}, people.schema) for i in range(4)
    ]
    (finding,) = sfumato.attack(
        parts[3],
        members=parts[0],
        non_members=parts[1],
        auxiliary=parts[2],
        attacks=["membership.domias"],
    )
    assert finding.details["reference_is"] == "auxiliary records"


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, Path]:
    """A folder of pictures of which some are training pictures, nearly."""
    members, others = pictures(60, 1), pictures(60, 2)
    copies = np.clip(members.images[:10] + 0.05, 0, 1)
    images = np.concatenate([copies, pictures(50, 3).images])
    released = ImageSet.from_arrays(images, np.arange(60) % 2, CLASSES)
    sets = {"members": members, "others": others, "released": released}
    return {name: folder_of(images, tmp_path / name) for name, images in sets.items()}


def test_training_pictures_are_shown_only_where_that_is_asked_for(
    shown: dict[str, Path], tmp_path: Path
) -> None:
    prepared = prepare(shown["released"], members=shown["members"], non_members=shown["others"])
    findings = prepared.attack(attacks=["memorisation.nearest"])
    assert findings[0].details["reproduced"]["training"] == 10
    prepared.report(findings, tmp_path / "hidden")
    prepared.report(findings, tmp_path / "revealed", reveal=True)
    hidden, revealed = (
        (tmp_path / name / "report.html").read_text("utf-8") for name in ("hidden", "revealed")
    )
    assert "Memorised pictures" in hidden
    assert hidden.count("<img") == revealed.count("<img")
    private = drawn_of(prepared.evidence.members)
    assert not any(picture in hidden_pixels(hidden) for picture in private)
    assert sum(picture in hidden_pixels(revealed) for picture in private) >= 10
    for name in ("hidden", "revealed"):  # the figures never hold a picture
        values = json.loads((tmp_path / name / "evaluation.json").read_text("utf-8"))
        assert len(json.dumps(values)) < 6000


def drawn_of(images: Any) -> list[bytes]:
    """Each picture's bytes, as a page would show them."""
    return [np.rint(image[0] * 255).astype(np.uint8).tobytes() for image in images.images]


def hidden_pixels(page: str) -> set[bytes]:
    """Every picture that a page shows, cut out of its sheets."""
    import base64
    import io

    found = set()
    for data in re.findall(r"data:image/png;base64,([^\"]+)", page):
        with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
            sheet = np.asarray(opened.convert("RGBA"))
        zoom = 3  # 28 // 8
        small = sheet[::zoom, ::zoom, 0]
        for left in range(0, small.shape[1], 8 + 1):
            found.add(np.ascontiguousarray(small[:, left : left + 8]).tobytes())
    return found


def test_private_pictures_are_never_in_a_page_that_is_handed_over(shown: dict[str, Path]) -> None:
    from sfumato.measure.evaluation import Evaluation
    from sfumato.report import page

    prepared = prepare(shown["released"], members=shown["members"], non_members=shown["others"])
    findings = tuple(prepared.attack(attacks=["memorisation.nearest"]))
    revealed = prepared._revealed(findings)
    evaluation = Evaluation(findings=findings, release_id=prepared.release.card.release_id)
    for handed_over in ({"disclosed": True, "evaluation": evaluation}, {}):
        with pytest.raises(InputError, match="a page that is handed over"):
            page(prepared.release, revealed=revealed, **handed_over)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no training pictures to reveal"):
        prepared._revealed(())


def test_who_is_exposed_is_written_for_the_custodian_alone(tmp_path: Path, people: Table) -> None:
    paths = tables(tmp_path, people)
    prepared = prepare(
        paths["released"],
        members=paths["members"],
        non_members=paths["others"],
        schema=paths["schema"],
    )
    findings = prepared.attack(attacks=["membership.distance", "anonymeter.linkability"])
    file = tmp_path / "people.private.csv"
    assert prepared.risk(findings, file) == 200
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = pd.read_csv(file)
    assert sorted(listed["row"]) == list(range(200))
    assert listed["false_positive_rate"].is_monotonic_increasing
    released = tmp_path / "handed over"
    released.mkdir()
    (released / "card.json").write_text("{}", encoding="utf-8")
    for name, said in (
        ("risk.csv", "its name does not say so"),
        ("handed over/a.private.csv", "lies in a release"),
        ("people.private.csv", "already exists"),
        ("nowhere/a.private.csv", "there is no folder"),
    ):
        with pytest.raises(InputError, match=said):
            prepared.risk(findings, tmp_path / name)
    with pytest.raises(InputError, match="none of the attacks scores"):
        prepared.risk([], tmp_path / "empty.private.csv")


def test_what_is_private_is_never_written_into_a_release(tmp_path: Path, people: Table) -> None:
    paths = tables(tmp_path, people)
    prepared = prepare(
        paths["released"],
        members=paths["members"],
        non_members=paths["others"],
        schema=paths["schema"],
    )
    released = tmp_path / "handed over"
    (released / "deeper").mkdir(parents=True)
    (released / "card.json").write_text("{}", encoding="utf-8")
    (tmp_path / "looks harmless").symlink_to(released / "deeper")
    for name in ("handed over", "handed over/deeper", "looks harmless", "looks harmless/../deeper"):
        with pytest.raises(InputError, match="lies in a release"):
            prepared.check_risk(tmp_path / name / "people.private.csv")
        with pytest.raises(InputError, match="lies in a release"):
            prepared.report([], tmp_path / name / "found")
    with pytest.raises(InputError, match="lies in a release"):
        prepared.report([], released)
    assert sorted(p.name for p in released.rglob("*")) == ["card.json", "deeper"]


def test_an_evaluation_is_never_written_into_another_release(
    people_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "card.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="lies in a release"):
        sfumato.publish(people_file, epsilon=1.0, out=tmp_path / "inner")
    assert not (tmp_path / "inner").exists()


def test_pictures_that_cannot_be_revealed_are_refused_before_anything_runs(
    shown: dict[str, Path], people: Table
) -> None:
    prepared = prepare(shown["released"], members=shown["members"], non_members=shown["others"])
    prepared.check_reveal()
    prepared.check_reveal(["memorisation.nearest[ratio=0.3]"])
    with pytest.raises(InputError, match="no training pictures to reveal"):
        prepared.check_reveal(["membership.distance"])
    with pytest.raises(InputError, match="no training pictures to reveal"):
        prepare(people, members=people, non_members=people).check_reveal()


def test_rows_without_numbers_are_not_listed(tmp_path: Path, people: Table) -> None:
    frame = people.to_pandas().assign(patient=np.arange(len(people)) // 2)
    schema = people.schema.with_unit("patient", 1)
    members, others = Table.from_pandas(frame[:200], schema), Table.from_pandas(frame[200:], schema)
    prepared = prepare(
        people, members=members.bound(b"k" * 32), non_members=others.bound(b"k" * 32)
    )
    with pytest.raises(InputError, match="none can be named by number"):
        prepared.check_risk(tmp_path / "people.private.csv")


def test_no_private_value_is_written_or_said(tmp_path: Path, capsys: Any) -> None:
    """Every private row has a number of seven digits that nothing else has."""
    from sfumato.data import Categorical, Numeric

    schema = Schema(
        (
            Numeric("number", 0, 9_999_999, 1, integer=True),
            Numeric("age", 0, 99, 1, integer=True),
            Categorical("ill", ("no", "yes")),
        ),
        target="ill",
    )
    rng = np.random.default_rng(0)

    def rows() -> Table:
        codes = {"number": rng.integers(1_000_000, 9_999_999, 60), "age": rng.integers(0, 99, 60)}
        return Table.from_codes({**codes, "ill": rng.integers(0, 2, 60)}, schema)

    members, others = rows(), rows()
    fresh = {**rows().codes(), "age": members.codes()["age"], "ill": members.codes()["ill"]}
    prepared = prepare(Table.from_codes(fresh, schema), members=members, non_members=others)
    findings = prepared.attack()
    prepared.report(findings, tmp_path / "found")
    prepared.risk(findings, tmp_path / "people.private.csv")
    print(*(finding.summary for finding in findings), json.dumps([f.to_dict() for f in findings]))
    said = capsys.readouterr().out + everything_in(tmp_path).decode("utf-8")
    private = {str(n) for side in (members, others) for n in side.codes()["number"]}
    assert "membership.distance" in said
    assert not private & numbers_in(said)
    assert numbers_in(said + f'"{min(private)}"') & private  # it would have been found


def numbers_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d{7}(?![\w.])", text))


@pytest.mark.parametrize("reveal", [False, True])
def test_pictures_that_an_attack_found_are_written_only_where_a_report_is_to_reveal(
    tmp_path: Path, reveal: bool
) -> None:
    members, others = digits("train", 0, 100), digits("test", 0, 100)
    release = unproven(fitted(members, steps=0))
    release = replace(release, card=replace(release.card, figures={"statement": "Nothing."}))
    prepared = Prepared(release, Evidence(members, others))
    found = prepared.attack(attacks=["gradient.inversion[max_targets=20,iterations=1,reveal=true]"])
    assert len(found[0].details["revealed"]) == 8
    prepared.report(found, tmp_path / "found", reveal=reveal)
    written = (tmp_path / "found" / "evaluation.json").read_text("utf-8")
    assert ("revealed" in written) is reveal
    assert len(found[0].details["revealed"]) == 8  # what the caller holds is not changed


def test_an_evaluation_never_holds_pictures() -> None:
    members, others = digits("train", 0, 100), digits("test", 0, 100)
    attacks = ["gradient.inversion[max_targets=20,iterations=1,reveal=true]"]
    release = unproven(fitted(members, steps=0))
    assert "revealed" not in evaluate(release, members, others, attacks=attacks).to_json()

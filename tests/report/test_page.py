"""The page: well-formed, offline, escaped, accessible, and no evaluation in the public edition."""

from __future__ import annotations

import base64
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import sfumato.report
from sfumato.data import Categorical, Fact, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError, SfumatoError
from sfumato.measure.evaluation import Evaluation
from sfumato.measure.marginals import MarginalError
from sfumato.release.release import Release
from sfumato.report import bounds, inside
from sfumato.report import page as page_of

Make = Callable[..., Any]
PAGE = sys.modules["sfumato.report.page"]  # the function of that name hides it
VOID = {"br", "hr", "img", "input", "link", "meta", "source", "wbr"}
LOADS = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "ping"}
HOSTILE = "<script>alert('x')</script>\"&amp;"


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    text: str = ""


class Tree(HTMLParser):
    """A strict reader: every element that is opened is closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.all: list[Node] = []
        self.stack: list[Node] = []
        self.feed(html)
        self.close()
        self.problems += [f"<{node.tag}> is never closed" for node in self.stack]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.all.append(node)
        if self.stack:
            self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.problems.append(f"<{tag}/> closes itself")

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack[-1].tag != tag:
            self.problems.append(f"</{tag}> closes nothing open")
        else:
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        for node in self.stack:
            node.text += data

    def find(self, *tags: str) -> list[Node]:
        return [node for node in self.all if node.tag in tags]


def problems_of(html: str) -> list[str]:
    """What is wrong with a page's form; empty if nothing."""
    tree = Tree(html)
    ids = [node.attributes["id"] for node in tree.all if "id" in node.attributes]
    found = list(tree.problems)
    found += [f"id {name} is there twice" for name in ids if ids.count(name) > 1]
    for node in tree.all:
        for name in ("aria-labelledby", "for"):
            if name in node.attributes and node.attributes[name] not in ids:
                found.append(f"{name} names {node.attributes[name]}, which is not there")
        target = node.attributes.get("href", "#" + (ids or [""])[0])
        if target.removeprefix("#") not in ids:
            found.append(f"href {target} leads nowhere")
    return found


def loads_of(html: str) -> list[str]:
    """Everything a browser would fetch or run; empty for an offline page."""
    found = []
    for node in Tree(html).all:
        if node.tag in {"script", "iframe", "object", "embed", "link", "base", "form", "video"}:
            found.append(f"<{node.tag}>")
        for name, value in node.attributes.items():
            inline = value.startswith(("#", "data:image/png;base64,"))
            if (name in LOADS and not inline) or name.startswith("on"):
                found.append(f"{name}={value}")
            if name == "style" or (name == "http-equiv" and "refresh" in value.lower()):
                found.append(f"{name}={value}")
    style = "".join(node.text for node in Tree(html).find("style"))
    found += re.findall(r"@import|url\(|@font-face|expression\(", style)
    return found


def strangers_of(html: str) -> list[str]:
    """Elements that no template of ours writes: what an unescaped name would make."""
    return [node.tag for node in Tree(html).all if node.tag in {"script", "b", "x-planted"}]


@pytest.fixture(scope="module")
def editions(make_release: Make, make_evaluation: Make) -> dict[str, str]:
    """Every kind of page there is."""
    pages = {}
    for kind in ("table", "images"):
        for guarantee in ("central", "local", "metric", "empirical"):
            release = make_release(kind, guarantee)
            pages[f"{kind} {guarantee} public"] = page_of(release)
            pages[f"{kind} {guarantee} full"] = page_of(release, make_evaluation(release))
    return pages


def test_every_edition_is_well_formed(editions: dict[str, str]) -> None:
    assert {name: problems_of(html) for name, html in editions.items()} == {
        key: [] for key in editions
    }


@pytest.mark.parametrize(
    "planted",
    ["<p>open", "</div>", '<p id="guarantee"></p>', '<a href="#nowhere"></a>', "<br/>", "<p a a>"],
)
def test_the_check_of_form_catches_a_planted_defect(editions: dict[str, str], planted: str) -> None:
    html = editions["table central full"].replace("<main>", "<main>" + planted)
    assert problems_of(html)


def test_no_edition_loads_or_runs_anything(editions: dict[str, str]) -> None:
    assert {name: loads_of(html) for name, html in editions.items()} == {
        key: [] for key in editions
    }
    for html in editions.values():
        policy = next(
            node.attributes["content"]
            for node in Tree(html).find("meta")
            if node.attributes.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize(
    "planted",
    [
        '<img src="https://example.org/x.png" alt="">',
        '<link rel="stylesheet" href="style.css">',
        "<script>1</script>",
        "<style>@import 'x.css';</style>",
        "<style>p { background: url(//example.org/x) }</style>",
        '<p onclick="x()"></p>',
        '<meta http-equiv="refresh" content="0">',
    ],
)
def test_the_check_of_loads_catches_a_planted_one(editions: dict[str, str], planted: str) -> None:
    assert loads_of(editions["table central public"].replace("<main>", "<main>" + planted))


def hostile_release(make_release: Make) -> Release:
    """A release in which every name and text is HTML."""
    schema = Schema(
        (
            Numeric(HOSTILE + "age", 0, 9, 1),
            Categorical(HOSTILE + "ward", tuple(f"{HOSTILE}{i}" for i in range(12))),
            Categorical(HOSTILE, (HOSTILE + "no", HOSTILE + "yes")),
        ),
        target=HOSTILE,
    )
    rng = np.random.default_rng(0)
    codes = {column.name: rng.integers(0, column.size, 50) for column in schema}
    release: Release = make_release(
        data=Table.from_codes(codes, schema),
        method={"name": HOSTILE, "settings": {HOSTILE: [HOSTILE]}, "source": HOSTILE},
        plan={HOSTILE: {HOSTILE: HOSTILE}, "long": [HOSTILE] * 20},
        facts=(Fact(HOSTILE, HOSTILE * 9), Fact(HOSTILE, [HOSTILE], f"public: {HOSTILE}")),
        caveats=(HOSTILE,),
        noise={"source": HOSTILE, "secure": False},
        versions={HOSTILE: HOSTILE},
        ledger={"entry": HOSTILE, "sequence": 1},
        artefact={"kind": "table", "files": [{"name": HOSTILE, "sha256": HOSTILE, "bytes": 1}]},
    )
    return release


def hostile_evaluation(release: Release, make_evaluation: Make, make_finding: Make) -> Evaluation:
    plain: Evaluation = make_evaluation(release, real=release.data)
    assert plain.utility is not None
    scores = tuple(replace(score, model=HOSTILE) for score in plain.utility.scores[:8])
    return replace(
        plain,
        findings=(make_finding(HOSTILE, metric=HOSTILE, summary=HOSTILE),),
        utility=replace(plain.utility, scores=scores, notes=(HOSTILE,)),
        marginals=MarginalError({HOSTILE: 0.2}, 0.1, 0.3, (HOSTILE, HOSTILE), 1, 1, 16),
    )


def test_names_that_hold_html_are_shown_and_not_obeyed(
    make_release: Make, make_evaluation: Make, make_finding: Make
) -> None:
    release = hostile_release(make_release)
    html = page_of(release, hostile_evaluation(release, make_evaluation, make_finding))
    assert strangers_of(html) == []
    assert problems_of(html) == []
    tree = Tree(html)
    assert tree.find("body")[0].text.count(HOSTILE) > 30
    assert HOSTILE in tree.find("title")[0].text


def test_the_check_of_escaping_catches_a_page_that_does_not_escape(
    make_release: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PAGE.environment(), "autoescape", False)
    PAGE.environment().cache.clear()
    try:
        assert strangers_of(page_of(hostile_release(make_release)))
    finally:
        PAGE.environment().cache.clear()


# --- Nothing of an evaluation in the public edition ---


def traces_of(evaluation: Evaluation) -> set[str]:
    """Texts and figures, as a page writes them, that only an evaluation can have put there."""
    traces = {"data-inside", "keep inside", "Keep inside", "What attacks got", "How useful it is"}
    for finding in evaluation.findings:
        traces |= {finding.attack, f"{finding.value:.3f}", f"{finding.interval[0]:.3f}"}
        traces |= {finding.summary} if finding.summary else set()
    if evaluation.utility is not None:
        traces |= {f"{s.value:.3f}" for s in evaluation.utility.scores if s.value is not None}
        traces |= {*evaluation.utility.models, *evaluation.utility.notes}
    if evaluation.marginals is not None:
        traces |= {f"{error:.3f}" for error in evaluation.marginals.one_way.values()}
    for name in ("grid", "real_means", "released_means"):
        if name in evaluation.distributions:
            traces.add(str(evaluation.distributions[name]["png"])[:200])
    return traces


def leaks_of(html: str, evaluation: Evaluation) -> list[str]:
    """The traces of an evaluation in a page."""
    said = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return sorted(trace for trace in traces_of(evaluation) if trace in said)


@pytest.mark.parametrize("kind", ["table", "images"])
def test_the_public_edition_holds_nothing_of_the_evaluation(
    kind: str, make_release: Make, make_evaluation: Make
) -> None:
    release = make_release(kind)
    evaluation = make_evaluation(release)
    # The figures come from nowhere else: the card alone must not produce them by accident.
    carrying = replace(release, evaluation=evaluation)
    assert leaks_of(page_of(carrying), evaluation) == []
    assert page_of(carrying) == page_of(release)
    found = leaks_of(page_of(release, evaluation), evaluation)
    assert len(found) > 10


@pytest.mark.parametrize("kind", ["table", "images"])
def test_the_check_of_the_public_edition_catches_one_that_was_given_the_evaluation(
    kind: str, make_release: Make, make_evaluation: Make
) -> None:
    release = make_release(kind)
    evaluation = make_evaluation(release)
    figures = bounds.bounds(release.card)
    leaking = PAGE.render(
        "page.html",
        public=PAGE.public_view(release, figures),
        inside=inside.view(release, evaluation, figures),
        edition="Public edition",
    )
    assert leaks_of(leaking, evaluation)


def test_a_public_edition_with_a_private_section_is_never_returned(
    make_release: Make, make_evaluation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()
    evaluation = make_evaluation(release)
    whole = PAGE.render

    def leaking(template: str, **context: Any) -> str:
        context["inside"] = inside.view(release, evaluation, bounds.bounds(release.card))
        return str(whole(template, **context))

    monkeypatch.setattr(PAGE, "render", leaking)
    with pytest.raises(SfumatoError, match="private rows"):
        page_of(release)


@pytest.mark.parametrize("where", ["plan", "method", "nested"])
def test_a_card_that_carries_evaluation_figures_is_refused(
    where: str, make_release: Make, make_evaluation: Make, make_finding: Make, make_utility: Make
) -> None:
    release = make_release()
    planted: dict[str, Any] = {
        "plan": {"plan": {"scale": 1.0, "check": make_finding().to_dict()}},
        "method": {
            "method": {
                "name": "x",
                "source": "",
                "settings": {"tuned on": make_utility().to_dict()},
            }
        },
        "nested": {"plan": {"runs": [{"one": make_evaluation(release).to_dict()}]}},
    }[where]
    with pytest.raises(InputError, match="figures of an evaluation"):
        page_of(make_release(**planted))


def test_every_private_section_is_marked(editions: dict[str, str]) -> None:
    tree = Tree(editions["table central full"])
    marked = [node for node in tree.all if "data-inside" in node.attributes]
    for node in marked:
        assert {"inside", "keep", "verdicts"} & set(node.attributes["class"].split())
    attacks = {"What an attacker learns", "What attacks got"}
    titles = attacks | {"How useful it is", "Real against released"}
    sections = [node for node in marked if node.tag == "section"]
    assert {title for title in titles for node in sections if title in node.text} == titles
    assert sum("Keep inside" in node.text for node in sections) == 4
    banner = next(node for node in tree.all if "keep" in node.attributes.get("class", "").split())
    assert "computed on private rows" in banner.text
    assert "no guarantee" in banner.text


def test_a_disclosed_evaluation_says_so(make_release: Make, make_evaluation: Make) -> None:
    release = make_release()
    html = page_of(release, make_evaluation(release), disclosed=True)
    assert "Evaluation disclosed." in html
    assert "private rows and are covered by no guarantee" in html


def test_an_evaluation_of_another_release_is_refused(
    make_release: Make, make_evaluation: Make
) -> None:
    release = make_release()
    with pytest.raises(InputError, match="about release"):
        page_of(release, make_evaluation(release, release_id="f" * 32))


# --- No private picture or row ---


def pictures_in(html: str) -> Iterator[np.ndarray]:
    """(h, w, channels) uint8 of every picture that a page carries."""
    from PIL import Image

    for data in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def shown(html: str, private: ImageSet) -> int:
    """How many private pictures can be seen in a page, at any place and any zoom."""
    tiles = np.rint(private.images * 255).astype(np.uint8)[:, 0]
    height, width = tiles.shape[1:]
    known = {tile.tobytes() for tile in tiles}
    count = 0
    for sheet in pictures_in(html):
        plain = sheet[:, :, 0]
        for zoom in range(1, plain.shape[0] // height + 1):
            small = plain[::zoom, ::zoom]
            if small.shape[0] < height or small.shape[1] < width:
                continue
            view = np.lib.stride_tricks.sliding_window_view(small, (height, width))
            count += sum(patch.tobytes() in known for patch in view.reshape(-1, height, width))
    return count


def test_no_edition_shows_a_private_picture(make_release: Make, make_evaluation: Make) -> None:
    release = make_release("images")
    private = private_images()
    evaluation = make_evaluation(release, real=private)
    assert shown(page_of(release), private) == 0
    assert shown(page_of(release, evaluation), private) == 0
    # The search finds what is there: the released pictures themselves.
    assert shown(page_of(release), release.data) >= 3 * 12


def test_the_search_for_private_pictures_catches_a_planted_one(
    make_release: Make, make_evaluation: Make
) -> None:
    release, private = make_release("images"), private_images()
    evaluation = make_evaluation(release, real=private)
    drawn = dict(evaluation.distributions)
    first = ImageSet.from_arrays(private.images[:60], private.labels[:60], private.schema.classes)
    one = first.select(np.array([0, 1, 2]))
    means = make_evaluation(release, real=private).distributions["real_means"]
    drawn["real_means"] = {**means, "png": _column(one)}
    planted = replace(evaluation, distributions=drawn)
    assert shown(page_of(release, planted), private) >= 3


def private_images() -> ImageSet:
    rng = np.random.default_rng(99)
    pixels = rng.integers(0, 256, (240, 1, 6, 5)) / 255
    return ImageSet.from_arrays(
        pixels.astype(np.float32), np.arange(240) % 3, ("none", "mild", "severe")
    )


def _column(images: ImageSet) -> str:
    from PIL import Image

    tiles = np.rint(images.images * 255).astype(np.uint8)[:, 0]
    sheet = np.full((len(tiles) * 7 + 1, 7), 255, np.uint8)
    for row, tile in enumerate(tiles):
        sheet[1 + 7 * row : 7 + 7 * row, 1:6] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


# --- What it says ---


def body(html: str) -> str:
    return re.sub(r"\s+", " ", Tree(html).find("body")[0].text.replace("\xa0", " "))


def test_epsilon_comes_with_delta_unit_and_neighbours(editions: dict[str, str]) -> None:
    said = body(editions["table central public"])
    assert re.search(r"ε = \d\.\d+ at δ = 10⁻⁵, central, for one record, add-remove", said)
    assert "ledger entry no. 7" in said
    said = body(editions["table local public"])
    assert "ε = 1.0, local, for one row, replace-one" in said


def test_local_and_central_are_told_apart(editions: dict[str, str]) -> None:
    central, local = body(editions["table central public"]), body(editions["table local public"])
    assert "This is a central guarantee: a trusted holder saw the data in the clear" in central
    assert "This is a local guarantee" not in central
    assert "This is a local guarantee: it is a property of each row's own report" in local
    assert "which of any two values the true row had" in local
    assert "This is a central guarantee" not in local


def test_randomised_pictures_are_not_passed_off_as_drawn_ones(editions: dict[str, str]) -> None:
    words = "Each is the randomised version of one private picture."
    assert words in body(editions["images local public"])
    assert words not in body(editions["images central public"])


@pytest.mark.parametrize("kind", ["metric", "empirical"])
def test_a_release_without_a_bound_shows_none(kind: str, editions: dict[str, str]) -> None:
    html = editions[f"table {kind} full"]
    said = body(html)
    assert "Best possible guess" not in said
    assert "The ceiling for every attack" not in said
    assert "a guess is right at most" not in said
    alarm = next(n for n in Tree(html).all if "alarm" in n.attributes.get("class", "").split())
    expected = {"metric": "Not differential privacy of a record", "empirical": "Nothing is proven"}
    assert expected[kind] in alarm.text


def test_a_figure_by_distance_is_announced_with_its_worst_case(
    make_release: Make,
) -> None:
    html = page_of(make_release(guarantee="metric bounded"))
    [alarm] = [n for n in Tree(html).all if "alarm" in n.attributes.get("class", "").split()]
    assert "The figure is by distance" in alarm.text
    assert "at any distance it is ε\xa0=\xa01.5" in alarm.text
    assert "by distance; ε = 1.5 at any" in body(html)


def test_insecure_noise_is_announced_loudly(make_release: Make) -> None:
    secure, seeded = (
        Tree(page_of(make_release(noise={"source": "seeded (tests only)", "secure": safe})))
        for safe in (True, False)
    )
    alarms = [n for n in seeded.all if "alarm" in n.attributes.get("class", "").split()]
    assert len(alarms) == 1
    assert "The noise is not secure" in alarms[0].text
    assert "seeded (tests only)" in alarms[0].text
    assert not [n for n in secure.all if "alarm" in n.attributes.get("class", "").split()]


def test_a_card_whose_figures_were_touched_is_announced(make_release: Make) -> None:
    honest = make_release()
    touched = make_release(figures={**honest.card.figures, "epsilon": 0.1})
    assert "The card contradicts itself" in page_of(touched)
    assert "the card says epsilon 0.1, its event gives" in page_of(touched)
    assert "The card contradicts itself" not in page_of(honest)


def test_an_attack_is_never_called_a_proof(
    make_release: Make, make_evaluation: Make, make_finding: Make
) -> None:
    release = make_release()
    good = make_evaluation(release, findings=(make_finding(),))
    said = body(page_of(release, good))
    assert "None of 1 attack did better than chance" in said
    assert "evidence, not proof" in said
    bad = make_evaluation(
        release, findings=(make_finding(value=0.81, interval=(0.79, 0.83)), make_finding("b.c"))
    )
    said = body(page_of(release, bad))
    assert "got further than the guarantee allows" in said
    assert "alarm" in said


def test_parts_of_an_evaluation_may_be_missing(make_release: Make) -> None:
    html = page_of(make_release(), Evaluation())
    assert problems_of(html) == []
    said = body(html)
    assert "No attack was run." in said
    assert "How useful it is" not in said
    assert "What was released" in said


def test_undefined_scores_are_said_to_be_undefined(
    make_release: Make, make_evaluation: Make, make_utility: Make
) -> None:
    release = make_release()
    matrix = make_utility()
    scores = tuple(replace(score, value=None, interval=None) for score in matrix.scores)
    blank = replace(matrix, scores=scores, majority={"accuracy": None, "AUROC": None})
    html = page_of(release, make_evaluation(release, utility=blank))
    assert problems_of(html) == []
    assert "is undefined for this release" in body(html)


def test_facts_stand_under_where_they_come_from(editions: dict[str, str]) -> None:
    said = body(editions["table central public"])
    paid = said[said.index("Paid for from the budget") : said.index("From public sources")]
    public = said[said.index("From public sources") : said.index("Declared public")]
    declared = said[said.index("Declared public") : said.index("How it was made")]
    assert "importance" in paid
    assert "ledger entry abababababab…" in paid
    assert "the camera's manual" in public
    assert "0 to 99 in steps of 1" in declared
    assert "importance" not in declared


def test_a_number_of_records_is_not_said_to_be_stated_without_a_look(make_release: Make) -> None:
    facts = (Fact("bounds of age", {"lower": 0, "upper": 9}), Fact("records", 417))
    said = body(page_of(make_release(facts=facts)))
    declared, counted = said[said.index("Declared public") :].split("Stated exactly")
    assert "1 fact, declared by the publisher without looking at the rows" in declared
    assert "417" not in declared
    assert "no guarantee hides it" in counted[: counted.index("417")]


def test_a_fact_of_unknown_origin_is_not_passed_off_as_public(make_release: Make) -> None:
    said = body(page_of(make_release(facts=(Fact("bounds", [0, 1], "looked at the rows"),))))
    assert "Of unknown origin" in said
    assert said.index("Of unknown origin") > said.index("Declared public")


def test_the_page_of_the_same_release_is_the_same(make_release: Make) -> None:
    assert page_of(make_release()) == page_of(make_release())


# --- Accessible ---


def test_pictures_and_drawings_have_words(editions: dict[str, str]) -> None:
    for name in ("table central full", "images central full"):
        tree = Tree(editions[name])
        drawings = [n for n in tree.find("svg") if n.attributes.get("aria-hidden") != "true"]
        assert drawings
        for drawing in drawings:
            assert drawing.attributes["role"] == "img"
            assert len(drawing.attributes["aria-label"]) > 20
            assert [child.tag for child in drawing.children[:2]] == ["title", "desc"]
        assert all(len(image.attributes["alt"]) > 10 for image in tree.find("img"))
    assert len(Tree(editions["images central public"]).find("img")) == 3


def test_tables_name_their_rows_and_columns(editions: dict[str, str]) -> None:
    for html in editions.values():
        tree = Tree(html)
        assert all(n.attributes.get("scope") in {"row", "col"} for n in tree.find("th"))


def test_headings_form_an_outline(editions: dict[str, str]) -> None:
    for html in editions.values():
        levels = [int(node.tag[1]) for node in Tree(html).find("h1", "h2", "h3", "h4")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        assert Tree(html).find("html")[0].attributes["lang"] == "en"


def test_the_style_serves_dark_screens_narrow_screens_and_paper(editions: dict[str, str]) -> None:
    style = Tree(editions["table central public"]).find("style")[0].text
    for rule in ("prefers-color-scheme: dark", "@media print", "size: A4", "max-width: 640px"):
        assert rule in style
    used = set(re.findall(r"var\((--[a-z-]+)\)", style))
    set_here = set(re.findall(r"(--[a-z-]+):", style))
    assert used <= set_here


def test_the_package_exports_its_pages() -> None:
    assert sfumato.report.__all__ == ["audit_page", "comparison_page", "page"]

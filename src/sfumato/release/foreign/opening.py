"""From what a user names to a release that attacks take, whoever made it."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.release.card import Card, figures_of
from sfumato.release.foreign import sklearn_files, torch_files
from sfumato.release.foreign.interface import Interface, made_up
from sfumato.release.foreign.model import ForeignModel
from sfumato.release.foreign.service import Service
from sfumato.release.release import CARD, Artefact, Release

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet, Schema, Table

    Facts = Schema | ImageSchema

NOTHING = (
    "Nothing is claimed: other software made this, and it came without a guarantee. What it can "
    "leak is known only from the attacks that were run."
)
_LABELS = "labels.csv"


@dataclass(frozen=True)
class How:
    """How a target that others made is opened.

    Args:
        schema: The public facts, or their file; None looks beside the target.
        column: The column to predict, in place of the schema's target.
        interface: How a model takes records and answers.
        architecture: Of a safetensors file that does not say it.
        trust: Whether files that can run code of their maker may be opened, and whether records
            may go to another machine over an open line.
    """

    schema: Any = None
    column: str | None = None
    interface: Interface = field(default_factory=Interface)
    architecture: Any = None
    trust: bool = False


def open_target(target: Any, how: How, facts_of: Callable[[], Any] = lambda: None) -> Release:
    """A release, or what others made, as one that claims nothing.

    Args:
        target: A release or its folder; a file, folder or address of rows or pictures; a file of
            a model; the address of a service; a table, data frame, image set, torch module,
            scikit-learn classifier, or any function of records.
        how: How what others made is opened.
        facts_of: Asked for the public facts where neither ``how`` nor the target has them.

    Raises:
        InputError: If it cannot be opened, or has no facts.
    """
    if isinstance(target, Release):
        return target
    if isinstance(target, str | Path):
        folder = Path(target).expanduser()
        if (folder / CARD).is_file():
            return Release.load(folder)
        return _named(str(target), how, facts_of)
    if hasattr(target, "kind") and hasattr(target, "schema"):
        given = target if how.column is None else _aimed(target, how.column)
        return unclaimed(given, "data in memory")
    if type(target).__name__ == "DataFrame":
        from sfumato.data import Table

        facts = _facts(how, None, facts_of, "the data frame")
        return unclaimed(Table.from_pandas(target, facts), "a data frame")
    facts = _facts(how, None, facts_of, "the model")
    return unclaimed(_in_memory(target, facts, how.interface), "a model in memory")


def unclaimed(content: Any, name: str, persons: Any = None) -> Release:
    """A release whose card says that nothing is claimed.

    Args:
        content: A ``Table``, an ``ImageSet`` or a ``Model``.
        name: What it is and where it came from.
        persons: A schema that may name the column of whom a private row is of; no released row
            has it, and members are read with it.
    """
    from sfumato.data.facts import Fact
    from sfumato.privacy.guarantee import Empirical
    from sfumato.versions import versions

    unit = getattr(persons, "unit", None)
    facts = []
    if unit is not None:
        facts = [Fact("unit", {"column": unit, "rows": persons.rows_per_unit})]
    nothing = Empirical()
    card = Card(
        release_id=uuid.uuid4().hex,
        method={"name": "made elsewhere", "settings": {"target": name}, "source": ""},
        guarantee=nothing.to_dict(),
        figures={**figures_of(nothing), "statement": NOTHING},
        plan={},
        facts=tuple(facts),
        ledger={},
        noise={},
        artefact={"kind": content.kind},
        versions=versions(),
    )
    return Release(card=card, artefact=Artefact(content))


def _named(target: str, how: How, facts_of: Callable[[], Any]) -> Release:
    """A target that was given by its path or address."""
    if target.lower().startswith(("http://", "https://")):
        service = Service(target, trust=how.trust)
        facts = _facts(how, None, facts_of, service.name)
        return unclaimed(_service(service, facts, how.interface), f"the service {service.name}")
    path = Path(target).expanduser()
    suffix = path.suffix.lower()
    if suffix in (*torch_files.SUFFIXES, *sklearn_files.SUFFIXES):
        facts = _facts(how, path, facts_of, path.name)
        if suffix in torch_files.SUFFIXES:
            model: Any = torch_files.load(
                path,
                facts,
                interface=how.interface,
                architecture=how.architecture,
                trust=how.trust,
            )
        else:
            model = sklearn_files.load(path, facts, interface=how.interface, trust=how.trust)
        return unclaimed(model, f"the model {path.name}")
    data, facts = _data(target, path, how, facts_of)
    return unclaimed(data, f"the data {path.name}", facts)


def _data(
    target: str, path: Path, how: How, facts_of: Callable[[], Any]
) -> tuple[Table | ImageSet, Any]:
    """Rows or pictures, each checked against the facts, and the facts."""
    from sfumato.data import load_data
    from sfumato.data.load import beside, load_schema

    facts = how.schema
    if isinstance(facts, str | Path):
        facts = load_schema(facts)
    if facts is None and not target.startswith("dataset:"):
        facts = beside(path) or seen(path)
        if facts is None and not (path.is_dir() and (path / "schema.yaml").is_file()):
            facts = facts_of()
    # Whom a row is of is known of private rows only.
    named = facts if getattr(facts, "unit", None) is None else facts.released()
    data: Any = load_data(target, target=how.column, schema=named)
    _within(path, getattr(data, "files", ()))
    data.validate(data.schema)
    return data, facts


def seen(folder: Path) -> Any:
    """The facts of a folder of pictures that lists its labels: they are there to see."""
    from sfumato.data import ImageSchema
    from sfumato.data.pixels import decode

    table = folder / _LABELS
    if not table.is_file():
        return None
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            rows = [(row.get("file"), row.get("label")) for row in csv.DictReader(handle)]
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{table} is no readable CSV ({error})", "Save it as UTF-8.") from None
    names = sorted({str(label) for _, label in rows if label}, key=_numbers_first)
    files = [folder / str(file) for file, _ in rows if file]
    if not names or not files or not files[0].is_file():
        return None  # what is wrong is said where the files are read
    _within(folder, files)
    channels, height, width = (int(n) for n in decode(files[0]).shape)
    return ImageSchema(channels, height, width, tuple(names))


def _within(folder: Path, files: Iterable[Path]) -> None:
    """Refuses pictures that lie elsewhere: what others handed over must not name our own files.

    Raises:
        InputError: If a file, with links followed, is not in the folder.
    """
    top = folder.resolve()
    for file in files:
        if not file.resolve().is_relative_to(top):
            raise InputError(
                f"{folder} names the picture {file}, which lies outside it",
                "Nobody's release needs that: correct the folder, or ask who made it.",
            )


def _numbers_first(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if name.isdecimal() else (1, 0.0, name)


def _facts(how: How, path: Path | None, facts_of: Callable[[], Any], what: str) -> Any:
    """The public facts: those given, those beside the file, or those of the members."""
    from sfumato.data.load import beside, load_schema

    given = how.schema
    if isinstance(given, str | Path):
        given = load_schema(given)
    facts = given or (None if path is None else beside(path)) or facts_of()
    if facts is None:
        raise InputError(
            f"{what} came without a schema", "Give the public facts: --schema FILE, or schema=..."
        )
    if how.column is not None and hasattr(facts, "with_target"):
        facts = facts.with_target(how.column)
    return facts


def _aimed(data: Any, column: str) -> Any:
    return data.with_target(column) if hasattr(data, "with_target") else data


def _in_memory(model: Any, facts: Facts, interface: Interface) -> ForeignModel:
    kind = type(model).__name__
    if hasattr(model, "predict_proba") or (hasattr(model, "predict") and not callable(model)):
        return sklearn_files.of_estimator(
            model, facts, interface=interface, name=f"scikit-learn {kind}"
        )
    if hasattr(model, "state_dict"):
        return torch_files.of_module(model, facts, interface=interface, name=f"torch {kind}")
    if callable(model):
        return ForeignModel.of(model, facts, name="a function", interface=interface)
    raise InputError(
        f"a {kind} cannot be attacked",
        "Give a release, data, a torch module, a scikit-learn classifier or a function.",
    )


def _service(service: Service, facts: Facts, interface: Interface) -> ForeignModel:
    """A service, asked once about made-up records for the names of its classes."""
    ready = ForeignModel(facts, {"family": "service"}, {}, service, interface)
    try:
        named = service.ask(ready.given(made_up(facts)))[1]
    except InputError:
        named = service.ask(ready.given(made_up(facts, missing=False)))[1]
    return ForeignModel.of(service, facts, name="service", interface=interface, named=named)


def how_of(
    schema: Any = None,
    column: str | None = None,
    interface: Mapping[str, Any] | Interface | None = None,
    architecture: Any = None,
    trust: bool = False,
) -> How:
    """How a target is opened, from what a caller gave.

    Raises:
        InputError: If a setting of the interface is unknown.
    """
    return How(schema, column, Interface.of(interface), architecture, trust)

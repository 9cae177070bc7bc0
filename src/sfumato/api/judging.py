"""Attack and measure a release that already exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.attacking import Prepared
from sfumato.api.inputs import load, validate
from sfumato.api.naming import is_same
from sfumato.api.telling import doubts, outside, tell
from sfumato.data import ImageSchema, ImageSet, Schema
from sfumato.data.load import beside, load_schema
from sfumato.errors import InputError
from sfumato.publish.images.perturbed import order_tells_labels
from sfumato.publish.method import Progress, silent
from sfumato.publish.units import bounded
from sfumato.release.release import Release

if TYPE_CHECKING:
    from sfumato.api.inputs import Data, DataLike, SchemaLike
    from sfumato.attack.finding import Finding
    from sfumato.measure.evaluation import Evaluation
    from sfumato.release.foreign.interface import Interface


def attack(
    release: Any,
    *,
    members: DataLike,
    non_members: DataLike,
    auxiliary: DataLike | None = None,
    attacks: Sequence[str] | None = None,
    confidence: float | None = None,
    seed: int = 0,
    schema: SchemaLike | None = None,
    target: str | None = None,
    interface: Mapping[str, Any] | Interface | None = None,
    architecture: Mapping[str, Any] | str | Path | None = None,
    trust: bool = False,
    epsilon: float | None = None,
    delta: float | None = None,
    neighbours: str | None = None,
    spool: str | Path | None = None,
    progress: Progress = silent,
) -> list[Finding]:
    """Attacks a release, or what any other software made, with what the custodian knows.

    Args:
        release: A release or its folder. Or, made by anyone: a file, folder or address of rows or
            pictures; a file of a torch or scikit-learn model; the address of a prediction
            service; a data frame, ``Table``, ``ImageSet``, torch module, scikit-learn classifier,
            or any function from records to scores of the classes.
        members: Rows the release was made from. Where its guarantee is for persons, the column
            of their ids must be there; nobody may be on both sides.
        non_members: Rows of the same population that it was not made from.
        auxiliary: More of those, that the attacker holds; some attacks are stronger with them.
        attacks: Registered names; None runs all that fit.
        confidence: Of all intervals together, in [0.5, 1); None is 0.99.
        seed: Of the attacks' own randomness.
        schema: The public facts of what others made; None looks beside it, then at the members. Of
            a release of sfumato, as for :func:`measure`.
        target: The column to predict, in place of the schema's.
        interface: How a model that others made takes records and answers, by name; see
            :class:`sfumato.release.foreign.Interface`.
        architecture: Of a safetensors file that does not say it: values or a JSON file.
        trust: Opens files that can run code of their maker, and sends records to a service over
            an open line.
        epsilon: What the maker of what is no release of sfumato claims: a guarantee of one record,
            or of whoever the facts name. Findings then have its ceiling.
        delta: Of that claim; 0 of a pure one.
        neighbours: Of that claim: ``"add-remove"`` or ``"replace-one"``.
        spool: A folder for private copies of rows that come in no lasting order, where the
            guarantee is for persons; see :func:`sfumato.api.publish`.
        progress: Told how far the attacks are.

    Returns:
        A finding for each attack, computed on private rows and covered by no guarantee. What came
        without a guarantee has no ceiling.

    Raises:
        InputError: If a name is unknown, something cannot be opened, or the rows do not fit.
    """
    return prepare(
        release,
        members=members,
        non_members=non_members,
        auxiliary=auxiliary,
        schema=schema,
        target=target,
        interface=interface,
        architecture=architecture,
        trust=trust,
        epsilon=epsilon,
        delta=delta,
        neighbours=neighbours,
        spool=spool,
    ).attack(attacks=attacks, confidence=confidence, seed=seed, progress=progress)


def prepare(
    release: Any,
    *,
    members: DataLike,
    non_members: DataLike,
    auxiliary: DataLike | None = None,
    schema: SchemaLike | None = None,
    target: str | None = None,
    interface: Mapping[str, Any] | Interface | None = None,
    architecture: Mapping[str, Any] | str | Path | None = None,
    trust: bool = False,
    epsilon: float | None = None,
    delta: float | None = None,
    neighbours: str | None = None,
    spool: str | Path | None = None,
) -> Prepared:
    """Opens a target and the evidence; arguments as for :func:`attack`.

    Raises:
        InputError: If something cannot be opened, or the rows do not fit the target.
    """
    from sfumato.attack.evidence import Evidence
    from sfumato.release.foreign.claims import MakersClaim, claimed
    from sfumato.release.foreign.opening import how_of, open_target

    how = how_of(schema, target, interface, architecture, trust)
    claim = MakersClaim.of(epsilon, delta, neighbours)
    opened = open_target(release, how, lambda: _facts_of(members))
    own = bool(opened.card.ledger)
    if own and how_of(None, target, interface, architecture, trust) != how_of():
        raise InputError(
            "this is a release of sfumato: it says itself how it is read",
            "Leave out target, interface, architecture and trust.",
        )
    if own and claim is not None:
        raise InputError(
            "this is a release of sfumato: it says itself what is claimed of it",
            "Leave out epsilon, delta and neighbours.",
        )
    if claim is not None:
        opened = claimed(opened, claim)
    written = schema if own else None
    ins, outs, found = sides(members, non_members, opened, spool, written)
    if not own and opened.artefact.kind == "table":
        more = (
            *outside("members", members, ins, opened.data),
            *outside("non-members", non_members, outs, opened.data),
        )
        tell(more)
        found += more
    if auxiliary is None:
        return Prepared(opened, Evidence(ins, outs), found)
    _check_others(auxiliary, members, non_members)
    held = fit(auxiliary, opened, spool, written)
    _check_unknown(held, ins, outs)
    return Prepared(opened, Evidence(ins, outs, held), found)


_OTHERS = (
    "Give records of other people, or leave auxiliary out: attacks then set half of the "
    "non-members apart."
)


def _check_others(auxiliary: DataLike, members: DataLike, non_members: DataLike) -> None:
    """Refuses the attacker's own records that are named as those of a side, too.

    Raises:
        InputError: If they are: whoever holds one side of the game has no need to guess.
    """
    for side, data in (("members", members), ("non-members", non_members)):
        if is_same(auxiliary, data):
            raise InputError(
                f"the auxiliary records are the {side}: an attacker who holds these knows them "
                "without the release",
                _OTHERS,
            )


def _check_unknown(held: Data, members: Data, non_members: Data) -> None:
    """The same of equal records, whatever the files are called.

    Raises:
        InputError: If more of one side equal a record that the attacker holds than of the other,
            or of both than would where his are of other people.
    """
    from sfumato.attack.overlap import known

    if not held.kind == members.kind == non_members.kind:
        return
    found = known(held, members, non_members)
    if found is not None:
        (inside, of), (outside, among) = found
        raise InputError(
            f"{inside} of {of} members and {outside} of {among} non-members that were compared "
            "equal an auxiliary record in every value, more than those of other people would: an "
            "attacker who holds these tells the sides apart without the release, or takes members "
            "for strangers",
            _OTHERS,
        )


def _facts_of(data: DataLike) -> Any:
    """The facts that private data bring along; None if there are none."""
    if not isinstance(data, str | Path):
        return getattr(data, "schema", None)
    from sfumato.data.load import beside

    name = str(data)
    if name.startswith("dataset:"):
        from sfumato.data import load_data

        return load_data(name).schema
    path = Path(name).expanduser()
    facts = beside(path)
    if facts is None and (path.suffix == ".npz" or path.is_dir()):
        from sfumato.release.foreign.opening import seen

        try:
            facts = seen(path) or load(path).schema
        except InputError:
            return None
    return facts


def measure(
    release: Release | str | Path,
    *,
    train: DataLike,
    test: DataLike,
    seed: int = 0,
    schema: SchemaLike | None = None,
    spool: str | Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measures how useful a release is for its task.

    Args:
        release: A release or its folder.
        train: Real rows that a model would otherwise be trained on.
        test: Real rows that models are judged on.
        seed: Of the models.
        schema: How the rows' files are written, where that is not said beside them: the schema
            that the release was made with. What values mean must be the same as in the release.
        spool: As for :func:`attack`.
        progress: Told how far the measurement is.

    Returns:
        The utility matrix, marginal errors and distributions, without findings.

    Raises:
        InputError: If the rows do not fit the release.
    """
    from sfumato.measure.evaluation import evaluate

    opened = _open(release)
    return evaluate(
        opened,
        fit(train, opened, spool, schema),
        fit(test, opened, spool, schema),
        attacks=(),
        seed=seed,
        progress=progress,
    )


def sides(
    members: DataLike,
    non_members: DataLike,
    release: Release,
    spool: str | Path | None = None,
    schema: SchemaLike | None = None,
) -> tuple[Data, Data, tuple[str, ...]]:
    """Members and non-members in the release's own terms, and what to doubt of them, as warned."""
    inside, outside = (fit(data, release, spool, schema) for data in (members, non_members))
    found = doubts((members, non_members), inside, outside)
    tell(found)
    return inside, outside, found


def _written(schema: SchemaLike | None, facts: Any) -> Schema | None:
    """The schema that says how rows are written; refused where it says that they mean otherwise."""
    if schema is None:
        return None
    own = load_schema(schema) if isinstance(schema, str | Path) else schema
    if not (isinstance(own, Schema) and isinstance(facts, Schema) and own.encodes_like(facts)):
        raise InputError(
            "the schema declares other columns, levels or bounds than the release has",
            "Give the schema that the release was made with, or none.",
        )
    return own


def _open(release: Release | str | Path) -> Release:
    return release if isinstance(release, Release) else Release.load(release)


def fit(
    data: DataLike,
    release: Release,
    spool: str | Path | None = None,
    schema: SchemaLike | None = None,
) -> Data:
    """Private rows in the release's own terms.

    Those that were copied, or drawn anew of each person, do not stand where the release's rows do;
    nor do pictures whose labels are protected.

    Args:
        data: The rows.
        release: What they are held against.
        spool: As for :func:`attack`.
        schema: As for :func:`measure`.

    Raises:
        InputError: If the rows or the schema do not fit the release.
    """
    facts: Any = release.facts.with_records(None)
    own: Any = _written(schema, facts)
    file = None
    if isinstance(data, str | Path) and not str(data).startswith("dataset:"):
        file = Path(data).expanduser()
    if own is None and file is not None:
        own = beside(file)
    # How the file is written is said there; what its values mean must be the same.
    told = isinstance(own, Schema) and isinstance(facts, Schema) and own.encodes_like(facts)
    unit = next((f.value for f in release.card.facts if f.name == "unit"), None)
    named = {} if unit is None else {"unit": unit["column"], "rows_per_unit": unit["rows"]}
    try:
        read_as = own.with_target(facts.target) if told else facts
        loaded = load(data, schema=read_as, spool=spool, **named)
    except InputError as error:
        there = file is not None and (file.exists() or "*" in file.name)
        if told or not there:
            raise
        if isinstance(facts, ImageSchema):
            problem, remedy = error.problem, _of_pictures(facts, bool(release.card.ledger))
            problem = problem if str(data) in problem else f"{data}: {problem}"
        else:
            problem, remedy = (
                error.problem,
                f"{error.remedy} How a file is written (encoding, dates, derived columns) a "
                "release does not say: give the schema that it was made with.",
            )
        raise InputError(problem, remedy) from None
    kind = getattr(release.artefact.content, "takes", release.artefact.kind)
    if loaded.kind != kind:
        raise InputError(
            f"the release is about {kind}, {data} holds {loaded.kind}",
            "Give data of the same kind.",
        )
    validate(loaded)
    fitting: Any = bounded(loaded, loaded.schema)
    copied = getattr(loaded, "spool", None) is not None
    if copied or (fitting is not loaded and len(fitting) < len(loaded)):
        fitting = fitting.unaligned()
    if isinstance(fitting, ImageSet) and order_tells_labels(release.card.plan):
        fitting = fitting.unaligned()
    made: Data = fitting
    return made


def _of_pictures(facts: ImageSchema, own: bool) -> str:
    """What pictures must be like to be held against those that are attacked."""
    channels, height, width = facts.shape
    classes = ", ".join(facts.classes[:20]) + (", ..." if facts.classes[20:] else "")
    lacking = (
        "" if own else " Where it merely has no picture of a class, declare all of them: --schema."
    )
    return (
        f"What is attacked holds {'grey' if channels == 1 else 'RGB'} pictures of {width}x{height} "
        f"with the classes {classes}: bring them to one size, mode and set of classes.{lacking}"
    )

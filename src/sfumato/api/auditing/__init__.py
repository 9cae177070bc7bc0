"""Audit: a lower bound on the epsilon of a method or a release, held against its claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.auditing.record import Audit, Claim
from sfumato.errors import InputError
from sfumato.publish.method import Progress, silent

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike, SchemaLike
    from sfumato.privacy.noise import NoiseSource
    from sfumato.release.foreign.interface import Interface

__all__ = ["Audit", "Claim", "audit"]

RECORD, PAGE = "audit.json", "report.html"


def audit(
    subject: Any,
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    neighbours: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data: DataLike | None = None,
    schema: SchemaLike | None = None,
    target: str | None = None,
    runs: int | None = None,
    records: int | None = None,
    canaries: int | None = None,
    members: DataLike | None = None,
    non_members: DataLike | None = None,
    interface: Mapping[str, Any] | Interface | None = None,
    architecture: Mapping[str, Any] | str | Path | None = None,
    trust: bool = False,
    confidence: float = 0.99,
    adversary: str = "release",
    folder: str | Path | None = None,
    spool: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    source: Callable[[int], NoiseSource] | None = None,
    progress: Progress = silent,
) -> Audit:
    """A lower bound on what a method, a release or a model leaks, and whether its claim survives.

    A *method* is run through its public contract, on data made up from public facts: many times on
    two neighbouring data sets, or, with ``canaries``, once. Every run draws the method's own,
    secure noise on a ledger that is thrown away; nobody's data are read and nothing is spent.

    A *release* is audited with records that were and were not in it, and so is whatever other
    software made, against what its maker claims. That is computed on private rows and stays with
    the custodian.

    Args:
        subject: The name of a method or a configured one; a release or its folder; or what others
            made, as :func:`sfumato.api.attack` takes it.
        epsilon: The budget of a method; or what the maker claims of what is no release of sfumato.
        delta: Its other half; None takes the method's default. Of a pure claim it is 0.
        neighbours: Of a maker's claim: ``"add-remove"`` or ``"replace-one"``.
        settings: The method's public choices by name.
        data: Data of which the *facts* are taken for a method; nothing else is read.
        schema: Facts, in place of ``data``; of a release, how the files of ``members`` and
            ``non_members`` are written, as for :func:`sfumato.api.measure`.
        target: The column to predict.
        runs: On each of two data sets; 1000 unless said otherwise.
        records: In each of them; 40 unless said otherwise.
        canaries: How many, for an audit by one run.
        members: Records that a release was made from.
        non_members: Records of the same population that it was not made from; who was a member
            must have been decided at random.
        interface: Of what others made, as ``architecture`` and ``trust``: see
            :func:`sfumato.api.attack`.
        architecture: See there.
        trust: See there.
        confidence: Of the bounds together.
        adversary: Who looks at a method's runs: ``"release"`` sees what is released,
            ``"transcript"`` each noisy value that is drawn for it as well, which is what a proof
            is about, and shows more wherever much lies between the noise and the release.
        folder: For ``audit.json`` and ``report.html``, and for finished runs: the same call goes
            on where an interrupted one stopped, and one of other ``runs`` is refused: a bound that
            is looked at before it is decided how many there are does not hold. It may not lie in a
            release.
        spool: For ``members`` and ``non_members``, as for :func:`sfumato.api.attack`.
        seed: Of canaries and coins; never of privacy noise.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        source: The noise of a run by its number: for tests of audits. The record says so.
        progress: Told how far it is.

    Raises:
        InputError: If anything named is unknown, missing, out of range or does not belong.

    Guarantee: if the claim holds, ``broken`` is False with probability ``confidence``.
    """
    from sfumato.release.release import check_new, check_private

    where = None if folder is None else Path(folder).expanduser().absolute()
    if where is not None:
        check_private(where)
    seen = None if adversary == "release" else adversary  # as if it had not been given
    if not _is_method(subject):
        _refuse(
            "it is for audits of methods",
            settings=settings,
            runs=runs,
            records=records,
            canaries=canaries,
            data=data,
            adversary=seen,
        )
        if where is not None:
            check_new(where)
        found = _release(
            subject,
            members,
            non_members,
            schema=schema,
            target=target,
            interface=interface,
            architecture=architecture,
            trust=trust,
            epsilon=epsilon,
            delta=delta,
            neighbours=neighbours,
            spool=spool,
            confidence=confidence,
            seed=seed,
            progress=progress,
        )
        if where is not None:
            _new(where)
    else:
        _refuse(
            "it is for audits of what was made",
            neighbours=neighbours,
            members=members,
            non_members=non_members,
            interface=interface,
            architecture=architecture,
            trust=trust or None,
            spool=spool,
        )
        if canaries is not None:
            _refuse("it is for audits by many runs", adversary=seen)
        found = _method(
            subject,
            epsilon,
            delta,
            settings,
            _facts(data, schema, target),
            runs=runs,
            records=records,
            canaries=canaries,
            confidence=confidence,
            adversary=adversary,
            folder=where,
            seed=seed,
            device=device,
            source=source,
            progress=progress,
        )
    if where is not None:
        save(found, where)
    return found


def save(found: Audit, folder: Path) -> None:
    """Writes ``audit.json`` and ``report.html``."""
    from sfumato.publish.workspace import write
    from sfumato.report import audit_page

    write(folder / RECORD, found.to_json())
    write(folder / PAGE, audit_page(found))


def _release(
    subject: Any,
    members: DataLike | None,
    non_members: DataLike | None,
    *,
    confidence: float,
    seed: int,
    progress: Progress,
    **opening: Any,
) -> Audit:
    """An audit of something that was made.

    Raises:
        InputError: If records of a side are missing, or nothing is claimed.
    """
    from sfumato.api.auditing.releases import audit_release
    from sfumato.api.judging import prepare

    if members is None or non_members is None:
        raise InputError(
            "a release is audited with members and non-members",
            "Give records of both: members and non_members.",
        )
    prepared = prepare(subject, members=members, non_members=non_members, **opening)
    release = prepared.release
    if not release.card.ledger and release.card.guarantee["kind"] == "empirical":
        raise InputError(
            "this is no release of sfumato, and nothing is claimed of it that could be false",
            "Give its maker's claim: epsilon, delta (0 of a pure claim) and neighbours (add-remove "
            "or replace-one). What it leaks is shown by `sfumato attack`.",
        )
    return audit_release(
        release,
        prepared.evidence.members,
        prepared.evidence.non_members,
        confidence=confidence,
        seed=seed,
        progress=progress,
    )


def _method(
    subject: Any,
    epsilon: float | None,
    delta: float | None,
    settings: Mapping[str, Any] | None,
    facts: Any,
    *,
    runs: int | None,
    records: int | None,
    canaries: int | None,
    adversary: str,
    folder: Path | None,
    seed: int,
    device: str,
    **shared: Any,
) -> Audit:
    from sfumato.api.auditing import canaries as by_canaries
    from sfumato.api.auditing import methods, neighbours
    from sfumato.api.configuring import configure
    from sfumato.privacy.budget import Budget

    method = configure(subject, settings, device) if isinstance(subject, str) else subject
    if epsilon is None:
        raise InputError("a method is audited at a budget", "Give epsilon.")
    budget = Budget(epsilon, method.default_delta if delta is None else delta)
    if facts is not None and _kind(facts) not in method.kinds:
        raise InputError(
            f"{method.name} takes {' or '.join(method.kinds)}, the facts are of {_kind(facts)}",
            "Give other data.",
        )
    if canaries is not None:
        _refuse("it is for audits by many runs", runs=runs, records=records)
        if folder is not None:
            _new(folder)
        return by_canaries.one_run(method, budget, facts, canaries=canaries, seed=seed, **shared)
    return methods.two_points(
        method,
        budget,
        neighbours.usual(method.kinds) if facts is None else facts,
        runs=1000 if runs is None else runs,
        records=neighbours.RECORDS if records is None else records,
        adversary=adversary,
        folder=folder,
        **shared,
    )


def _is_method(subject: Any) -> bool:
    """Whether a subject is a method, and not something that was made.

    Raises:
        InputError: If it names neither.
    """
    from sfumato import registry

    if not isinstance(subject, str | Path):
        return hasattr(subject, "calibrate")
    if str(subject) in registry.load("method"):
        return True
    if "://" in str(subject) or Path(subject).expanduser().exists():
        return False
    try:
        registry.find("method", str(subject))
    except InputError as error:
        raise InputError(
            f"{subject} is neither a method nor a release, a file or an address", error.remedy
        ) from None
    return True


def _facts(data: DataLike | None, schema: SchemaLike | None, target: str | None) -> Any:
    from sfumato.api.inputs import load
    from sfumato.data.load import load_schema

    if data is not None:
        return load(data, schema=schema, target=target).schema.with_records(None)
    if schema is None:
        _refuse("there is no column to look for", target=target)
        return None
    facts: Any = load_schema(schema) if isinstance(schema, str | Path) else schema
    return facts if target is None else facts.with_target(target)


def _kind(facts: Any) -> str:
    return "table" if hasattr(facts, "columns") else "images"


def _new(folder: Path) -> None:
    """Makes a folder of an audit that has nothing to go on from.

    Raises:
        InputError: If it is there already, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise InputError(f"{folder} already exists", "Choose another folder.") from None
    except OSError as error:
        raise InputError(
            f"cannot write {folder} ({error.strerror})", "Choose another folder."
        ) from None


def _refuse(why: str, **given: Any) -> None:
    """Refuses arguments that do not belong.

    Raises:
        InputError: Naming the first that was given.
    """
    for name, value in given.items():
        if value is not None and value != {}:
            raise InputError(f"{name.replace('_', '-')} was given, but {why}", "Leave it out.")

"""Files of PyTorch models, by what is in them and not by their names."""

from __future__ import annotations

import contextlib
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.release.foreign.interface import Interface, made_up
from sfumato.release.foreign.model import ForeignModel
from sfumato.release.model import Model
from sfumato.release.weights import load_weights

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema

SUFFIXES = (".safetensors", ".pt", ".pth", ".pt2", ".ts")
_TRUST = "It opens only where you say that you know who made it: --trust."
_SCRIPT = "TorchScript program"
_RUNS = {_SCRIPT: "asking it runs code of whoever made it, which can write files"}


def load(
    path: Path,
    schema: ImageSchema | Schema,
    *,
    interface: Interface,
    architecture: Mapping[str, Any] | str | Path | None,
    trust: bool,
) -> Model:
    """A model from a file.

    Args:
        path: safetensors, or, where it is trusted, TorchScript, a ``torch.export`` file or a
            pickled module.
        schema: The public facts, with a target.
        interface: How records are given and answers read.
        architecture: Values for :func:`sfumato.learn.architectures.build`, or a JSON file of them;
            None takes those in the header of the safetensors file.
        trust: Whether files that can run code of their maker may be opened.

    Raises:
        InputError: If the file cannot be opened, or not without trust.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path, schema, interface, architecture)
    if architecture is not None:
        raise InputError(
            f"an architecture was given for {path.name}", "Only safetensors files need one."
        )
    kind = _kind(path)
    if not trust:
        raise InputError(
            f"{path} is a {kind}: {_RUNS.get(kind, 'opening it can run code of whoever made it')}",
            "Ask for safetensors. " + _TRUST,
        )
    module = _script(path) if kind == _SCRIPT else _trusted(path, kind)
    return of_module(module, schema, interface=interface, name=f"torch {kind} {path.name}")


def of_module(
    module: Any, schema: ImageSchema | Schema, *, interface: Interface, name: str
) -> ForeignModel:
    """A model from a torch module in memory.

    Raises:
        InputError: If it cannot take such records.
    """
    with contextlib.suppress(NotImplementedError):  # an exported program has no other mode
        module.eval()
    return ForeignModel.of(
        _ask(module),
        schema,
        name=name,
        interface=_numbers(interface),
        network=module,
    )


def _ask(module: Any) -> Callable[[Any], Any]:
    import torch

    like = next(iter(module.parameters()), None)

    def answer(records: Any) -> Any:
        given = torch.from_numpy(records)
        if like is not None and like.is_floating_point():  # in its own precision, where it lies
            given = given.to(like.device, like.dtype)
        with torch.no_grad():
            return module(given)

    return answer


def _numbers(interface: Interface) -> Interface:
    """A network takes numbers, never a data frame."""
    from dataclasses import replace

    if interface.rows == "values":
        raise InputError("a torch model takes numbers, not a data frame", "Leave rows out.")
    return replace(interface, rows="numbers")


def _safetensors(
    path: Path, schema: ImageSchema | Schema, interface: Interface, architecture: Any
) -> Model:
    from sfumato.learn.architectures import families

    if not path.is_file():
        raise InputError(f"there is no file {path}", "Check the path.")
    tensors, own = load_weights(path)
    if isinstance(architecture, str | Path):
        architecture = _read(Path(architecture))
    elif architecture is not None and not isinstance(architecture, Mapping):
        raise InputError(
            f"the architecture is a {type(architecture).__name__}",
            "Give values by name, or a JSON file of them.",
        )
    values = dict(architecture if architecture is not None else own)
    if not values:
        raise InputError(
            f"{path} holds weights and does not say of what network",
            f"Give its architecture as JSON; families: {', '.join(families())}. Or give the "
            "network itself as TorchScript.",
        )
    if interface != Interface():
        raise InputError(
            f"--interface says how {path.name} takes records, but a network that is built of an "
            "architecture takes pixels in [0, 1] and answers logits",
            "Leave it out; or give the network itself, as TorchScript, which is asked as you say.",
        )
    model = Model(schema, values, tensors)
    _fits(values, tensors, path.name)
    _answers(model, path.name)  # found now rather than after the records were read
    return model


def _fits(architecture: Mapping[str, Any], tensors: Mapping[str, Any], name: str) -> None:
    """Refuses weights that are not those of the architecture, by the first that differ."""
    from sfumato.learn.architectures import build, weights

    wanted = {key: value.shape for key, value in weights(build(architecture)).items()}
    held = {key: value.shape for key, value in tensors.items()}
    for key in [*wanted, *held]:
        if wanted.get(key) != held.get(key):
            said = (
                f"{at[key]} numbers as {key!r}" if key in at else f"no {key!r}"
                for at in (wanted, held)
            )
            raise InputError(
                f"the architecture has {next(said)}, {name} has {next(said)}",
                "Correct the architecture, or give the network itself as TorchScript.",
            )


def _answers(model: Model, name: str) -> None:
    """Asks a network about made-up records.

    Raises:
        InputError: If it cannot take such, or does not answer a finite score for each class.
    """
    import torch

    facts: Any = model.schema
    made = made_up(facts)
    if model.takes == "table":
        sizes = [int(column["size"]) for column in model.architecture.get("columns", ())]
        if sizes and sizes != [column.size for column in facts.features]:
            raise InputError(
                f"the network of {name} takes columns of {sizes} values, the schema's have "
                f"{[column.size for column in facts.features]}",
                "Give the schema that it was trained with.",
            )
    try:
        with torch.no_grad():
            found = model.module(torch.from_numpy(made))
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"the network of {name} cannot take such records ({type(error).__name__}: {reason})",
            "Its architecture must have the shape of the pictures, or the columns of the rows.",
        ) from None
    if tuple(found.shape) != (len(made), len(model.classes)):
        raise InputError(
            f"for {len(made)} records the network of {name} answers an array of shape "
            f"{tuple(found.shape)}",
            f"{len(model.classes)} classes are declared: {', '.join(model.classes[:20])}.",
        )
    if not torch.isfinite(found).all():
        raise InputError(f"the network of {name} answers numbers that are not finite", "Mend it.")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON ({error})", "Correct it.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is no JSON object", 'Write {"family": ..., ...}.')
    return values


def _kind(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"there is no file {path}", "Check the path.")
    if not zipfile.is_zipfile(path):
        return "pickle"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inner = [name.partition("/")[2] for name in names]
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        return _SCRIPT
    if "data.pkl" in inner or "data.pkl" in names:
        return "pickle"
    return "torch.export file"


def _script(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no readable TorchScript ({reason})", "Save it anew.") from None


def _trusted(path: Path, kind: str) -> Any:
    import torch

    try:
        if kind == "pickle":
            module = torch.load(path, map_location="cpu", weights_only=False)
        else:
            module = torch.export.load(str(path)).module()
    except Exception as error:  # unpickling raises whatever the file makes it raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path} cannot be opened ({type(error).__name__}: {reason})",
            "Its classes must be importable here.",
        ) from None
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"{path} holds a {type(module).__name__}, not a network",
            "Of weights alone, make safetensors and give the architecture.",
        )
    return module

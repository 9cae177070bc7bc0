"""Training to be continued: tensors as safetensors, everything else as JSON, never a pickle.

A checkpoint is a folder:

- ``checkpoint.json``: the mechanism, the steps taken, the optimiser's settings, the ledger entry,
  and the name and SHA-256 of the tensors' file. It is replaced in one go, after the tensors are on
  the disk, so there is a whole checkpoint at every moment;
- ``state-STEP-HASH.safetensors``: weights, averages, the optimiser's tensors;
- ``steps``: how many steps were *begun*, written before each draws its noise. Steps that came after
  the last checkpoint count as taken: a kill may waste a part of the budget, and never spends it
  twice, whatever was seen of the lost steps. Where a ledger file pays, the same line stands beside
  the ledger (:mod:`sfumato.privacy.ledger.begun`), for all copies of the folder together.

Neither sampler nor independent noise has a state to store: both draw from the operating system's
entropy. Correlated noise has one, and it is not stored: it would take the noise off gradients that
were released. The correlation begins anew (:mod:`sfumato.learn.correlated`, which says why the
event stays the same).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.learn.counted import DAMAGED, STEPS
from sfumato.learn.counted import StepCounter as StepCounter

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

FORMAT = 1
SECONDS = 30.0
"""A checkpoint is due after them, however few steps they were: a kill loses what came after it."""
_JSON = "checkpoint.json"


class Due:
    """When a training that takes its steps alone should be saved: by steps, or by the clock.

    Args:
        every: Steps between two checkpoints.
    """

    def __init__(self, every: int) -> None:
        self._every, self._steps, self._saved = every, 0, time.monotonic()

    def after_a_step(self) -> bool:
        """Whether to save now; then it counts as saved."""
        self._steps += 1
        if self._steps % self._every and time.monotonic() - self._saved < SECONDS:
            return False
        self._saved = time.monotonic()
        return True


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint was ever finished in this folder.

    A training saves before its first step, so where none was, nothing was drawn.
    """
    return (folder / _JSON).is_file()


def found(folder: Path | None) -> bool:
    """Whether there is a checkpoint to continue from; an unfinished first one is removed.

    Raises:
        InputError: If there is none any more, but steps were begun: to begin anew would take them
            twice for one debit. Or if something else lies there, which stays as it is.
    """
    if folder is None or not folder.exists():
        return False
    if is_whole(folder):
        return True
    file = folder / STEPS
    noted = file.read_bytes().split() if file.is_file() else []
    if noted and noted[1:] != [b"0"]:
        raise InputError(
            f"{folder / _JSON} is missing, and steps were taken in {folder}",
            "What was paid for them is lost: start anew, without this folder.",
        )
    others = [part.name for part in folder.iterdir() if not _is_ours(part.name)]
    if others:
        raise InputError(
            f"{folder} holds no checkpoint, but {others[0]!r}", "Give an empty or a new folder."
        )
    shutil.rmtree(folder)
    return False


def _is_ours(name: str) -> bool:
    """Whether a checkpoint that was never finished may have left a file of this name."""
    whole = name.removesuffix(".part")
    return whole in (STEPS, _JSON) or (whole.startswith("state-") and ".safetensors" in whole)


def save(folder: Path, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint, and then removes the one before.

    Args:
        folder: Made if it is missing, for its owner alone.
        state: JSON values; ``taken`` among them.
        tensors: By name.
    """
    from safetensors.torch import save as to_bytes

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    written = to_bytes(plain)
    digest = hashlib.sha256(written).hexdigest()
    # Never the name of the file that the present checkpoint.json points to.
    name = f"state-{int(state['taken']):08d}-{digest[:12]}.safetensors"
    text = json.dumps(
        {**state, "format": FORMAT, "tensors": {"file": name, "sha256": digest}}, indent=1
    )
    _replace(folder / name, written)
    _replace(folder / _JSON, text.encode())
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load(
    folder: Path, kept: Mapping[str, tuple[type, ...]] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint back.

    Args:
        folder: Where it is.
        kept: What it must hold, and of which types.

    Raises:
        InputError: If there is none, it is damaged, of a newer format, or lacks one of ``kept``.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        state = json.loads((folder / _JSON).read_bytes())
    except OSError:
        raise InputError(f"there is no checkpoint in {folder}", "Check the path.") from None
    except ValueError:
        raise InputError(f"{folder / _JSON} is no JSON", DAMAGED) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(
            f"{folder / _JSON} is not of format {FORMAT}", "Use the version that wrote it."
        )
    for name, types in (kept or {}).items():
        value(folder, state, name, *types)
    try:
        name, digest = str(state["tensors"]["file"]), state["tensors"]["sha256"]
        if Path(name).name != name:
            raise ValueError("the tensors lie elsewhere")
        written = (folder / name).read_bytes()
        if hashlib.sha256(written).hexdigest() != digest:
            raise ValueError("the tensors are not those that were saved")
        return state, from_bytes(written)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder / _JSON} cannot be used ({error})", DAMAGED) from None


def value(folder: Path, of: Mapping[str, Any], name: str, *types: type) -> Any:
    """A value of a checkpoint's JSON.

    Args:
        folder: Of the checkpoint.
        of: Where the value stands.
        name: Of the value.
        types: What it may be.

    Raises:
        InputError: If it is missing, or something else.
    """
    if name not in of:
        raise InputError(f"{folder / _JSON} lacks {name!r}", DAMAGED)
    found = of[name]
    if type(found) not in types:
        words = " or ".join("nothing" if t is type(None) else t.__name__ for t in types)
        raise InputError(
            f"{name!r} in {folder / _JSON} is {_short(found)}, where {words} is written", DAMAGED
        )
    return found


def check_steps(folder: Path, taken: int, steps: int) -> None:
    """Refuses a number of steps that a training of ``steps`` cannot have taken.

    Raises:
        InputError: If there are more, or fewer than none.
    """
    if not 0 <= taken <= steps:
        raise InputError(
            f"'taken' in {folder / _JSON} is {taken}, and the training has {steps} steps", DAMAGED
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def pack_optimizer(optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The optimiser's state as JSON values, and its tensors as ``INDEX.NAME``.

    Raises:
        InputError: If it holds something that is neither a tensor nor a plain value.
    """
    from torch import Tensor

    packed = optimizer.state_dict()
    values: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for index, entries in packed["state"].items():
        values[str(index)] = {}
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                values[str(index)][name] = _plain(name, value)
    groups = [
        {name: _plain(name, value) for name, value in group.items()}
        for group in packed["param_groups"]
    ]
    return {"type": type(optimizer).__name__, "state": values, "groups": groups}, tensors


def unpack_optimizer(
    optimizer: Optimizer, packed: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Gives the optimiser the state that :func:`pack_optimizer` took.

    Raises:
        InputError: If it is another kind of optimiser, or one of other parameters.
    """
    if packed.get("type") != type(optimizer).__name__:
        raise InputError(
            f"the checkpoint is of the optimiser {packed.get('type')}",
            f"This one is {type(optimizer).__name__}; continue with the same.",
        )
    try:
        state: dict[int, dict[str, Any]] = {
            int(index): {name: _tuples(value) for name, value in entries.items()}
            for index, entries in packed["state"].items()
        }
        for name, tensor in tensors.items():
            index, _, entry = name.partition(".")
            state.setdefault(int(index), {})[entry] = tensor
        groups = [
            {name: value if name == "params" else _tuples(value) for name, value in group.items()}
            for group in packed["groups"]
        ]
        for group, own in zip(groups, optimizer.param_groups, strict=False):
            if "lr" in own and "lr" not in group:  # torch would go on, and fail at the next step
                raise KeyError("lr")
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the optimiser's state does not fit ({type(error).__name__}: {error})",
            "Give it the same parameters and settings; else the checkpoint is damaged.",
        ) from None


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(name, part) for part in value]
    raise InputError(
        f"the optimiser's {name} is a {type(value).__name__}, which a checkpoint cannot hold",
        "Use an optimiser whose state is tensors and numbers.",
    )


def _tuples(value: Any) -> Any:
    """Lists as the tuples that JSON made them of."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that is either whole or not there."""
    beside = path.with_name(path.name + ".part")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)

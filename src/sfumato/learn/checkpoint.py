"""Training to be continued: tensors as safetensors, everything else as JSON, never a pickle.

A checkpoint is a folder:

- ``checkpoint.json``: the mechanism, the steps taken, the optimiser's settings, the ledger entry,
  and the name and SHA-256 of the tensors' file. It is replaced in one go, after the tensors are on
  the disk, so there is a whole checkpoint at every moment;
- ``state-STEP-HASH.safetensors``: weights, averages, the optimiser's tensors;
- ``steps``: how many steps were *begun*, written before each draws its noise. Steps that came after
  the last checkpoint count as taken: a kill may waste a part of the budget, and never spends it
  twice, whatever was seen of the lost steps.

Neither sampler nor independent noise has a state to store: both draw from the operating system's
entropy. Correlated noise has one, and it is not stored: it would take the noise off gradients that
were released. The correlation begins anew (:mod:`sfumato.learn.correlated`, which says why the
event stays the same).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

FORMAT = 1
_JSON = "checkpoint.json"
_STEPS = "steps"
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)
_DAMAGED = "The checkpoint is damaged; use another, or start anew."


class StepCounter:
    """The number of steps begun, written before each of them.

    It survives the end of the process at any moment. After a loss of power it may lag behind by
    steps whose results were lost with the memory. While it is held no other process can continue
    from the same folder, which would take the same steps twice.

    Args:
        folder: Of the checkpoint; made if it is missing.
        run: The identity of the training.
        taken: Steps begun so far; the count on the disk, if it is higher, is kept.
        resumed: The folder must hold the counter of this training.

    Attributes:
        folder: Where it is.
        count: Steps begun.

    Raises:
        InputError: If the folder belongs to another training, another process holds it, or it
            cannot be written to.
    """

    def __init__(self, folder: Path, run: str, taken: int, *, resumed: bool = False) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = os.open(folder / _STEPS, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
            raise InputError(
                f"the checkpoint {folder} is no folder that can be written to ({error.strerror})",
                "Give another one, or make it writable.",
            ) from None
        self.folder = folder.resolve()
        self._run = run
        # A file object: the lock goes when the counter does, in a notebook too.
        self._file = open(number, "r+b", buffering=0)  # noqa: SIM115  # held until it is closed
        try:
            self.begun(max(self._take(resumed), taken))
        except InputError:
            self._file.close()
            raise

    def _take(self, resumed: bool) -> int:
        """Locks the file, and reads what is in it."""
        if not locked(self._file.fileno()):
            raise InputError(
                f"another process is training with the checkpoint in {self.folder}",
                "Give this training a folder of its own.",
            )
        written = self._file.read(4096)
        if not written and not resumed:
            return 0
        try:
            run, count = written.decode("ascii").split()
            steps = int(count)
        except ValueError:
            raise InputError(f"{self.folder / _STEPS} is no step counter", _DAMAGED) from None
        if run != self._run:
            raise InputError(
                f"{self.folder} holds the checkpoint of another training",
                "Resume it, or give a folder of its own.",
            )
        return steps

    def begun(self, step: int) -> None:
        """Notes that ``step`` is about to draw its noise."""
        # One line of one length, far below a page: it is replaced as a whole.
        self._file.seek(0)
        self._file.write(f"{self._run} {step:>20}\n".encode())
        self.count = step

    def close(self) -> None:
        """Flushes to the disk and lets go of the folder."""
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Takes back what a training that never began has left in the folder."""
        (self.folder / _STEPS).unlink()
        self._file.close()
        with contextlib.suppress(OSError):  # something else lies there
            self.folder.rmdir()


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
    file = folder / _STEPS
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
    return whole in (_STEPS, _JSON) or (whole.startswith("state-") and ".safetensors" in whole)


def locked(file: int) -> bool:
    """Takes the file for this process's lifetime, where the system can; False if it is taken."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint back.

    Raises:
        InputError: If there is none, it is damaged, or of a newer format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        state = json.loads((folder / _JSON).read_bytes())
    except OSError:
        raise InputError(f"there is no checkpoint in {folder}", "Check the path.") from None
    except ValueError:
        raise InputError(f"{folder / _JSON} is no JSON", _DAMAGED) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(
            f"{folder / _JSON} is not of format {FORMAT}", "Use the version that wrote it."
        )
    try:
        name, digest = str(state["tensors"]["file"]), state["tensors"]["sha256"]
        if Path(name).name != name:
            raise ValueError("the tensors lie elsewhere")
        written = (folder / name).read_bytes()
        if hashlib.sha256(written).hexdigest() != digest:
            raise ValueError("the tensors are not those that were saved")
        return state, from_bytes(written)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder / _JSON} cannot be used ({error})", _DAMAGED) from None


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
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError) as error:
        raise InputError(
            f"the optimiser's state does not fit ({error})", "Give it the same parameters."
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

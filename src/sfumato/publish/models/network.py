"""Which network a method trains, by name, for images or rows with given public facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.learn.examples import classes_of, input_values

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema

IMAGES = ("small-cnn", "deep-cnn", "wide-resnet", "dense")
"""Networks for images; tables have one, ``table-dense``."""
AUTO = "auto"
_HIDDEN = ("dense", "table-dense")  # networks whose hidden layers are a setting


def architecture(
    facts: ImageSchema | Schema, network: str = AUTO, hidden: Sequence[int] = ()
) -> dict[str, Any]:
    """The network as :func:`sfumato.learn.architectures.build` takes it.

    Args:
        facts: Public facts of the records.
        network: One of ``IMAGES``, ``"table-dense"``, or ``"auto"``: ``table-dense`` for rows; for
            images ``dense`` below 14 pixels a side, ``small-cnn`` up to 32 and ``deep-cnn`` above.
        hidden: Widths of the hidden layers of a dense network.

    Raises:
        InputError: If the network does not take such records, or has no hidden layers to set, or
            there is one class alone: before a calibration, so before anything is spent.
    """
    from sfumato.learn.architectures import build

    values = input_values(facts)
    rows = "columns" in values
    known = ("table-dense",) if rows else IMAGES
    if network == AUTO:
        network = known[0] if rows else _for_size(values["shape"][1:])
    if network not in known:
        raise InputError(
            f"network is {network!r}",
            f"For {'rows' if rows else 'images'} use auto, {', '.join(known)}.",
        )
    if hidden and network not in _HIDDEN:
        raise InputError(
            f"hidden is {list(hidden)!r}, but {network} has fixed layers",
            f"Leave it out, or use {' or '.join(_HIDDEN)}.",
        )
    classes = len(classes_of(facts))
    if classes < 2:
        raise InputError("there is one class", "Declare the classes to tell apart.")
    made = {"family": network, **values, "classes": classes}
    made = {**made, "hidden": list(hidden)} if network in _HIDDEN else made
    build(made, seed=0)  # refuses images that are too small for it
    return made


def _for_size(sides: Sequence[int]) -> str:
    """A network for images with these sides."""
    if min(sides) < 14:
        return "dense"
    return "deep-cnn" if max(sides) > 32 else "small-cnn"

"""scikit-learn estimators, from memory, from skops files or, where trusted, from pickles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.release.foreign.interface import Interface
from sfumato.release.foreign.model import ForeignModel

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema

SUFFIXES = (".skops", ".joblib", ".pkl", ".pickle")


def load(
    path: Path, schema: ImageSchema | Schema, *, interface: Interface, trust: bool
) -> ForeignModel:
    """An estimator from a file.

    Raises:
        InputError: If it cannot be opened, or not without trust, or it has no probabilities.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}", "Check the path.")
    estimator = _skops(path, trust) if path.suffix == ".skops" else _pickled(path, trust)
    return of_estimator(estimator, schema, interface=interface, name=f"scikit-learn {path.name}")


def of_estimator(
    estimator: Any, schema: ImageSchema | Schema, *, interface: Interface, name: str
) -> ForeignModel:
    """A model from a fitted classifier.

    Raises:
        InputError: If it has no probabilities, or other columns or classes than the schema.
    """
    if not hasattr(estimator, "predict_proba"):
        steps = getattr(estimator, "steps", None) or [("", estimator)]
        last = steps[-1][1]
        kind = type(last).__name__ if last is estimator else f"the pipeline's {type(last).__name__}"
        if _predicts_numbers(last):
            raise InputError(
                f"{kind} predicts a number, and attacks on models are about classes",
                "Give it as a function: for each record the score of each of a few ranges.",
            )
        raise InputError(
            f"{kind} has no predict_proba", "Give a classifier that gives probabilities."
        )
    # Fitted on a data frame it knows its columns' names; else it takes a matrix in their order.
    columns = tuple(str(n) for n in getattr(estimator, "feature_names_in_", ()))
    images = not hasattr(schema, "columns")
    if images:
        interface = replace(interface, layout="flat")
    elif interface.rows == "auto":
        interface = replace(interface, rows="values" if columns else "numbers")
    return ForeignModel.of(
        estimator.predict_proba,
        schema,
        name=name,
        interface=replace(interface, outputs="probabilities"),
        named=tuple(getattr(estimator, "classes_", ())),
        takes_columns=() if images else columns,
    )


def _predicts_numbers(estimator: Any) -> bool:
    from sklearn.base import is_regressor

    try:
        return bool(is_regressor(estimator))
    except Exception:  # of another kind than scikit-learn's
        return False


def _skops(path: Path, trust: bool) -> Any:
    try:
        from skops import io
    except ImportError:
        raise InputError(
            "files of skops are read by the package skops", "Install it: pip install skops."
        ) from None
    try:
        unknown = io.get_untrusted_types(file=path)
        if unknown and not trust:
            raise InputError(
                f"{path} holds types that skops does not know: {', '.join(unknown[:5])}",
                "Opening it can run code of whoever made it; where you know who did: --trust.",
            )
        return io.load(path, trusted=unknown)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path} is no readable skops file ({type(error).__name__}: {reason})",
            "Save it anew: skops.io.dump.",
        ) from None


def _pickled(path: Path, trust: bool) -> Any:
    if not trust:
        raise InputError(
            f"{path} is a pickle: opening it can run code of whoever made it",
            "Ask for a skops file (skops.io.dump). It opens only where you say that you know who "
            "made it: --trust.",
        )
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path} cannot be opened ({type(error).__name__}: {reason})",
            "It must have been written with versions that are installed here.",
        ) from None

"""Measures of a release: how useful it is, how similar, and what attacks found.

The room is also the verb: ``sfumato.measure(release, ...)`` calls :func:`sfumato.api.measure`.
"""

from __future__ import annotations

from sfumato._rooms import make_callable

make_callable(__name__)

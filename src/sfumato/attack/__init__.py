"""Attacks: each takes a release and evidence, and gives a finding.

One attack, one file; each is a frozen dataclass of settings registered with
``@attack("family.name")``. Attacks know releases, never how a release was made.

The room is also the verb: ``sfumato.attack(release, ...)`` calls :func:`sfumato.api.attack`.
"""

from __future__ import annotations

from sfumato._rooms import make_callable
from sfumato.attack.evidence import Evidence
from sfumato.attack.finding import Finding

__all__ = ["Evidence", "Finding"]

make_callable(__name__)

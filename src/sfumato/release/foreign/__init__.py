"""Targets that other software made, as releases about which nothing is claimed.

Attacks take a :class:`~sfumato.release.release.Release`. A file of rows, a folder of pictures, a
model or a prediction service becomes one here: its content is what attacks read, and its card says
that no guarantee came with it, so that no finding has a ceiling.

- :mod:`~sfumato.release.foreign.opening`: from what was named to a release;
- :mod:`~sfumato.release.foreign.model`: any function of records as a model;
- :mod:`~sfumato.release.foreign.interface`: how a model takes records and what it answers;
- :mod:`~sfumato.release.foreign.torch_files`, :mod:`~sfumato.release.foreign.sklearn_files`,
  :mod:`~sfumato.release.foreign.service`: where the function comes from.
"""

from __future__ import annotations

from sfumato.release.foreign.interface import Interface
from sfumato.release.foreign.opening import open_target, unclaimed

__all__ = ["Interface", "open_target", "unclaimed"]

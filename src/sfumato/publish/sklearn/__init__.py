"""Methods as scikit-learn estimators, on numeric arrays with public bounds.

Constructor parameters are public: bounds, granularity and classes are declared there and never
read off ``X`` or ``y``. Values outside the bounds are clamped to them. Privacy noise comes from
the operating system and cannot be repeated, unless a test asks for it and gives up all privacy.
"""

from __future__ import annotations

from sfumato.publish.sklearn.classifier import PrivateClassifier
from sfumato.publish.sklearn.common import GRID
from sfumato.publish.sklearn.perturber import LocalPerturber
from sfumato.publish.sklearn.synthesizer import IndependentSynthesizer

__all__ = ["GRID", "IndependentSynthesizer", "LocalPerturber", "PrivateClassifier"]

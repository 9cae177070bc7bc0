"""The same attacks on the same model and data in other tools; run by benchmarks/membership.py.

    python benchmarks/membership.py --cache FOLDER --peer PEER --advanced-mia FILE --rmia OTHER

PEER is the interpreter of an environment with adversarial-robustness-toolbox 1.20.1, torch and
scikit-learn; FILE is ``advanced_mia.py`` of tensorflow-privacy 0.8.12, which needs no TensorFlow;
OTHER is ``modules/mia/attacks/rmia.py`` of Privacy Meter (commit e384af8), which needs numpy and
scikit-learn. Reads the arrays that the benchmark wrote, prints figures as JSON.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import types
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

LOW = (0.01, 0.001)


def figures(inside: Any, outside: Any) -> dict[str, float]:
    """AUC, and true-positive rates at thresholds that let all but a share of others go."""
    found = {
        "auc": float(
            roc_auc_score(
                np.repeat([1, 0], [len(inside), len(outside)]), np.append(inside, outside)
            )
        )
    }
    for fpr in LOW:
        threshold = np.sort(outside)[::-1][int(np.floor(fpr * len(outside) + 1e-9))]
        found[f"tpr_at_{fpr:g}"] = float(np.mean(inside > threshold))
    return {name: round(value, 4) for name, value in found.items()}


def network(arrays: Any) -> nn.Module:
    """The attacked network, from its weights, with scores as outputs."""
    inner = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    names = [name for name in arrays.files if name.startswith("inner.")]
    inner.load_state_dict(
        {name.removeprefix("inner."): torch.from_numpy(arrays[name]) for name in names}
    )
    return inner.eval()


def art(arrays: Any) -> dict[str, Any]:
    """The toolbox's gap attack and its learnt black-box attacks, which are fitted on half.

    Two learn from the model's answers, a network and trees; one from its loss and the label, a
    logistic regression: a threshold of the loss for each class.
    """
    from art.attacks.inference.membership_inference import (
        MembershipInferenceBlackBox,
        MembershipInferenceBlackBoxRuleBased,
    )
    from art.estimators.classification import PyTorchClassifier

    # Normalised as the attacked model does it.
    x = [(arrays[side] - arrays["centre"]) / arrays["spread"] for side in ("inside", "outside")]
    x = [side.astype(np.float32) for side in x]
    y = [arrays["inside_labels"], arrays["outside_labels"]]
    scores = network(arrays)
    answers, losses = (
        PyTorchClassifier(model=model, loss=loss, input_shape=(1, 28, 28), nb_classes=10)
        for model, loss in (
            (nn.Sequential(scores, nn.Softmax(dim=1)).eval(), nn.NLLLoss()),
            (scores, nn.CrossEntropyLoss()),
        )
    )
    rule = MembershipInferenceBlackBoxRuleBased(answers)
    guesses = [np.asarray(rule.infer(a, b)).ravel() for a, b in zip(x, y, strict=True)]
    found: dict[str, Any] = {"gap, rule-based": figures(*guesses)}
    half = len(x[0]) // 2
    for name, classifier, own in (
        ("black box, nn", answers, {"attack_model_type": "nn"}),
        ("black box, gb", answers, {"attack_model_type": "gb"}),
        ("loss, lr", losses, {"attack_model_type": "lr", "input_type": "loss"}),
    ):
        np.random.seed(0)  # noqa: NPY002, the toolbox draws from it
        torch.manual_seed(0)
        attack = MembershipInferenceBlackBox(classifier, **own)
        attack.fit(x[0][:half], y[0][:half], x[1][:half], y[1][:half])
        told = [
            np.asarray(attack.infer(a[half:], b[half:], probabilities=True)).reshape(-1)
            for a, b in zip(x, y, strict=True)
        ]
        found[name] = figures(*told)
    return found


def lira(arrays: Any, package: str) -> dict[str, Any]:
    """The likelihood ratio of tensorflow-privacy on the same log-odds."""
    stub = types.ModuleType("tensorflow_privacy.privacy.privacy_tests.utils")
    stub.log_loss = None  # type: ignore[attr-defined]  # used by a part that is not called
    for name in ("", ".privacy", ".privacy.privacy_tests"):
        sys.modules[f"tensorflow_privacy{name}"] = types.ModuleType(f"tensorflow_privacy{name}")
    sys.modules[stub.__name__] = stub
    module = loaded("advanced_mia", package)
    own, shadows, inside = arrays["own"], arrays["shadows"], arrays["in_shadow"]
    m, found = len(own) // 2, {}
    for name, fixed in (("each", False), ("global", True)):
        scores = -module.compute_score_lira(
            own[:, None],
            [shadows[inside[:, j], j][:, None] for j in range(len(own))],
            [shadows[~inside[:, j], j][:, None] for j in range(len(own))],
            fix_variance=fixed,
            median_or_mean="mean",
        )
        found[f"lira, online, {name}"] = figures(scores[:m], scores[m:])
    return found


def rmia(arrays: Any, package: str) -> dict[str, Any]:
    """Privacy Meter's RMIA, which goes by models without the record, on the same answers.

    The bank has pairs of models of opposite halves; as there, ``a`` is tuned on one of a pair by
    the other models, here without the pair itself.
    """
    module = loaded("privacy_meter_rmia", package)

    def chances(name: str) -> Any:
        return 1 / (1 + np.exp(-np.asarray(arrays[name], np.float64).T))

    own, shadows, inside = chances("own"), chances("shadows"), arrays["in_shadow"].T
    others, of_others = chances("own_of_others"), chances("shadows_of_others")

    def scored(target: Any, known: Any, a: float, models: Any, each: int | None) -> Any:
        return module.run_rmia(
            target, shadows[:, models], inside[:, models], known, of_others[:, models], a, each
        )

    rest = np.arange(2, shadows.shape[1])

    def tuned(a: float) -> float:
        told = scored(shadows[:, 0], of_others[:, 0], a, rest, None)
        return float(roc_auc_score(inside[:, 0], told))

    a = max(np.arange(0, 1.1, 0.1), key=tuned)
    scores = scored(own, others, a, np.arange(shadows.shape[1]), None)
    m = len(own) // 2
    return {"rmia, offline": {**figures(scores[:m], scores[m:]), "a": round(float(a), 1)}}


def loaded(name: str, file: str) -> Any:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    arrays = np.load(sys.argv[1])
    found: dict[str, Any] = {
        "versions": {
            "adversarial-robustness-toolbox": importlib.metadata.version(
                "adversarial-robustness-toolbox"
            )
        },
        "adversarial-robustness-toolbox": art(arrays),
    }
    likelihood, relative = sys.argv[2:]
    if likelihood:
        found["versions"]["tensorflow-privacy"] = "0.8.12"
        found["tensorflow-privacy"] = lira(arrays, likelihood)
    if relative:
        found["versions"]["privacy-meter"] = "e384af8"
        found["privacy-meter"] = rmia(arrays, relative)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

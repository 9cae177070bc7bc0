"""One attack of the adversarial robustness toolbox (ART), in an environment that has it too.

    PEER/bin/python benchmarks/reconstruction_peer.py inversion FOLDER
    PEER/bin/python benchmarks/reconstruction_peer.py gradients FOLDER SOURCES

Reads ``given.npz`` and the model in FOLDER; writes ``got.npz`` and ``said.json`` there. The toolbox
does not invert gradients; SOURCES are those of the authors of the attack, which do (a copy of
github.com/JonasGeiping/invertinggradients, commit 1157b61).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    game, folder = sys.argv[1], Path(sys.argv[2])
    given = dict(np.load(folder / "given.npz"))
    if game == "ssim":
        import skimage

        got, said = likeness(given), {"peer": f"scikit-image {skimage.__version__}"}
    elif game == "gradients":
        from sfumato.release.model import Model

        got = gradients(Model.load(folder / "model"), given, sys.argv[3])
        said = {"peer": "inversefed (invertinggradients 1157b61)"}
    else:
        import art

        from sfumato.release.model import Model

        play = {"inversion": inversion, "stealing": stealing, "secrets": secrets}[game]
        got = play(Model.load(folder / "model"), given)
        said = {"peer": f"adversarial-robustness-toolbox {art.__version__}"}
    np.savez(folder / "got.npz", **got)
    (folder / "said.json").write_text(json.dumps(said))


def likeness(given: Any) -> dict[str, Any]:
    """SSIM as Wang et al. have it."""
    from skimage.metrics import structural_similarity

    pairs = zip(given["blurred"][:, 0], given["truth"][:, 0], strict=True)
    found = [
        structural_similarity(
            np.float64(one), np.float64(other), gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, data_range=1.0,
        )
        for one, other in pairs
    ]  # fmt: skip
    return {"ssim": found}


def gradients(model: Any, given: Any, sources: str) -> dict[str, Any]:
    """Inverting gradients as its authors wrote it; as many steps and first guesses as ours."""
    import types

    import torch

    from sfumato.attack.gradients import exposure

    for name in ("torchvision", "inversefed", "inversefed.nn"):  # what is used needs none of them
        sys.modules[name] = types.ModuleType(name)
    sys.modules["inversefed"].__path__ = [str(Path(sources) / "inversefed")]
    sys.modules["inversefed.nn"].MetaMonkey = None
    from inversefed.reconstruction_algorithms import GradientReconstructor

    module = exposure.weights_of(model.module, "fresh", int(given["seed"]))
    pictures = torch.from_numpy(given["truth"])
    labels = torch.from_numpy(given["labels"])
    got: dict[str, list[Any]] = {"found": [], "named": [], "found, labels told": []}
    for name in ("found", "found, labels told"):
        torch.manual_seed(int(given["seed"]))
        for picture, label in zip(pictures.split(1), labels.split(1), strict=True):
            loss = torch.nn.functional.cross_entropy(module(picture), label)
            sent = [g.detach() for g in torch.autograd.grad(loss, list(module.parameters()))]
            config = {"signed": True, "restarts": 2, "max_iterations": int(given["iterations"])}
            attack = GradientReconstructor(module, (torch.zeros(1), torch.ones(1)), config)
            told = None if name == "found" else label
            rebuilt, _ = attack.reconstruct(sent, told, img_shape=tuple(picture.shape[1:]))
            got[name].append(rebuilt.numpy()[0])
            if name == "found":
                got["named"].append(int(sent[-2].sum(dim=-1).argmin()))  # as it does by itself
    return {name: np.stack(values) for name, values in got.items()}


def classifier(module: Any, shape: tuple[int, ...], classes: int, rate: float = 2e-3) -> Any:
    """A torch module as the toolbox wants it, trainable by Adam."""
    import torch
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        module,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=shape,
        nb_classes=classes,
        optimizer=torch.optim.Adam(module.parameters(), rate),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def with_softmax(module: Any) -> Any:
    import torch

    return torch.nn.Sequential(module, torch.nn.Softmax(dim=1)).eval()


def inversion(model: Any, given: Any) -> dict[str, Any]:
    """MI-Face from grey noise, with the toolbox's own settings but for fewer steps."""
    from art.attacks.inference.model_inversion import MIFace

    asked = given["asked"]
    start = 0.5 + 0.1 * np.random.default_rng(1).standard_normal((len(asked), 1, 28, 28))
    attack = MIFace(
        classifier(with_softmax(model.module), (1, 28, 28), 10),
        max_iter=1000, batch_size=len(asked), threshold=0.99, verbose=False,
    )  # fmt: skip
    return {"found": attack.infer(np.clip(start, 0, 1).astype(np.float32), y=asked)}


def stealing(model: Any, given: Any) -> dict[str, Any]:
    """Knockoff nets and CopycatCNN: the same questions, passes and copy as our attack."""
    import torch
    from art.attacks.extraction import CopycatCNN, KnockoffNets

    from sfumato.measure import cnn

    target = classifier(with_softmax(model.module), (1, 28, 28), 10)
    own, got = given["own"].astype(np.float32), {}
    common = {"batch_size_fit": 128, "batch_size_query": 128, "nb_epochs": 38}
    common |= {"nb_stolen": len(own)}
    for name, attack in (
        ("KnockoffNets", KnockoffNets(target, sampling_strategy="random", use_probability=True,
                                      **common)),
        ("CopycatCNN", CopycatCNN(target, **common)),
    ):  # fmt: skip
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002  (the toolbox draws from it)
        copy = classifier(cnn.build(cnn.CONVOLUTIONAL, (1, 28, 28), 10), (1, 28, 28), 10)
        labels = np.eye(10, dtype=np.float32)[given["labels"]]
        stolen = attack.extract(own, labels, thieved_classifier=copy)
        got[name] = stolen.predict(given["test"].astype(np.float32)).argmax(axis=1)
    return got


def secrets(model: Any, given: Any) -> dict[str, Any]:
    """Black-box attribute inference from the other values, the label and the model's answers.

    The toolbox's forest has one output a value; where none is likelier than not it names none,
    which is then read as the first value. Boosted trees name one always. ``without``: the same
    trees by the toolbox's attack that asks no model.
    """
    import warnings

    from art.attacks.inference.attribute_inference import (
        AttributeInferenceBaselineTrueLabel,
        AttributeInferenceBlackBox,
    )
    from art.estimators.classification import BlackBoxClassifier

    warnings.simplefilter("ignore")
    goal = int(given["goal"])
    own, members = (np.delete(given[part], goal, axis=1) for part in ("own", "members"))
    classes = len(model.classes)
    labels = [np.eye(classes)[given[part][:, goal]] for part in ("own", "members")]

    def answers(rows: Any) -> Any:
        return model.probabilities_from(np.ascontiguousarray(np.asarray(rows, np.int32)))

    target = BlackBoxClassifier(answers, (own.shape[1],), classes)
    told = answers(members).argmax(axis=1).reshape(-1, 1)
    got = {}
    for at in given["at"]:
        place = int(at) - int(at > goal)
        rest = np.delete(members, place, axis=1).astype(np.float32)
        values = list(np.unique(own[:, place]).astype(float))
        common = {"attack_feature": place}
        for name, attack, pred in (
            ("rf", AttributeInferenceBlackBox(target, attack_model_type="rf", **common), told),
            ("gb", AttributeInferenceBlackBox(target, attack_model_type="gb", **common), told),
            ("without", AttributeInferenceBaselineTrueLabel("gb", **common), None),
        ):
            np.random.seed(1)  # noqa: NPY002  (the toolbox draws from it)
            attack.fit(own.astype(np.float32), y=labels[0])
            asked = {} if pred is None else {"pred": pred}
            found = attack.infer(rest, y=labels[1], values=values, **asked)
            got[f"{name} {at}"] = np.asarray(found).reshape(-1).astype(int)
    return got


if __name__ == "__main__":
    main()

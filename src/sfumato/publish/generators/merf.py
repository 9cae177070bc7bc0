"""``generators.merf``: one noisy mean of random features, and a generator trained on it for free.

Each image becomes a vector of random Fourier features of norm at most 1, kept apart by class. The
mean of these vectors over all records is released once, with Gaussian noise on every coordinate.
From then on nothing private is touched: a conditional generator is trained until the features of
its images have the noisy mean, and it can be drawn from for ever at no further cost.

What is guaranteed, and by what:

- Replacing one record moves the mean of vectors of norm at most 1 by at most ``2 / n``, with ``n``
  public. The noise has ``stddev = multiplier / n``; ``GaussianDpEvent(multiplier)`` under
  replace-one says just that (at epsilon 1, delta 1e-5: 7.46, half of which, 3.73, is the noise
  over the distance).
- The norm is bounded in integer arithmetic (``features.py``); sums of integers are exact; the noise
  is drawn as integers on the same public grid, a 2**-32th of its size, from the operating system's
  entropy. So no floating-point artefact tells two neighbouring sums apart, and the loss is the
  continuous Gaussian's up to the slack that ``mechanisms.Gaussian`` and ``noise.gaussian`` state:
  for 100,000 coordinates below 1e-10 of epsilon and 1e-27 of delta. The mechanism is told a
  contribution of ``1 + 2**-20`` where 1 is the most there is; that pays for the slack many times
  over, so the printed figures hold without it. (A discrete Gaussian event would need no slack, but
  only its zCDP bound is known: 8 % more noise at epsilon 1.)
- The bandwidth is a public setting; by default a function of the noise, which is public too. The
  median heuristic of the paper's code is a statistic of the private images (its 105 is the mean
  squared distance of two MNIST images), and is not offered.
- Classes are never divided by their private counts. A share of each vector's norm goes to a
  constant feature, whose noisy sum estimates the share of each class within the same release.

Source: Harder, Adamczewski, Park 2021 (arXiv 2002.11603); generative.md 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.generators import priors
from sfumato.publish.generators.features import STEP, FourierFeatures
from sfumato.publish.generators.run import Run
from sfumato.publish.generators.sampling import DrawsAgain
from sfumato.publish.method import Calibrated, RecordCaveat, chosen_on
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema
    from sfumato.privacy.budget import Budget

CONTRIBUTION = 1 + 2.0**-20
"""What the mechanism is told of one record's norm, which is at most 1; see above."""
PAPER_BANDWIDTH = math.sqrt(105 / 784)
_SIDE = 28  # what the default smoothing was chosen at
_WHOLE = {
    "features": 2,
    "steps": 1,
    "batch": 2,
    "frequencies_per_step": 1,
    "latent": 1,
    "hidden": 1,
    "width": 1,
}
_DEVICES = ("auto", "cpu", "cuda")


@method("generators.merf")
@dataclass(frozen=True)
class Merf(DrawsAgain):
    """A generator of labelled images from one noisy mean embedding.

    Args:
        features: Number of random Fourier features, half of them cosines.
        bandwidth: Public length scale of the Gaussian kernel, or several that share the
            frequencies: the root-mean-square difference of two (smoothed) images, pixels in
            [0, 1], at which the kernel has fallen to ``exp(-1/2)``. Times the square root of the
            number of pixels it is a Euclidean distance. None: :func:`default_bandwidth`.
        smoothing: Public standard deviation of the blur through which the kernel sees images, in
            28ths of the longer side; 0 for none.
        count_share: Share of a record's squared norm that measures how large its class is.
        class_prior: Shares of the classes among the images drawn: ``"estimated"`` (from the noisy
            embedding), ``"uniform"``, or public shares by class name.
        samples: How many images to publish; None: as many as there are records.
        steps: Training steps. Like all below, of no consequence for privacy.
        batch: Images a step, all classes alike.
        learning_rate: Of Adam, falling to 0 as a cosine.
        frequencies_per_step: How many frequencies a step looks at.
        latent: Normal variables an image is made from.
        hidden: Width of the generator's dense layer.
        width: Channels of its smallest map.
        seed: Of frequencies, training and drawing, none of which is privacy noise; None draws one.
        device: Where to train: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    The defaults were chosen on images held out of the training parts of MNIST, Fashion-MNIST and
    the digits, all public; :meth:`paper` gives the published ones.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for replacing one record; the number of records is
    public.
    """

    features: int = 10_000
    bandwidth: float | Sequence[float] | None = None
    smoothing: float = 1.0
    count_share: float = 0.04
    class_prior: str | Mapping[str, float] = "estimated"
    samples: int | None = None
    steps: int = 2000
    batch: int = 250
    learning_rate: float = 3e-3
    frequencies_per_step: int = 1000
    latent: int = 16
    hidden: int = 200
    width: int = 32
    seed: int | None = None
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    source: ClassVar[str] = "Harder, Adamczewski, Park, AISTATS 2021 (arXiv 2002.11603)"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "bandwidth": PAPER_BANDWIDTH,
            "smoothing": 0.0,
            "class_prior": "uniform",
            "steps": 600,
            "batch": 500,
            "learning_rate": 0.01,
            "latent": 5,
            "width": 16,
        }
    }

    def __post_init__(self) -> None:
        for name, lowest in _WHOLE.items():
            checks.whole(name, getattr(self, name), lowest)
        checks.optional(self, samples=1, seed=0)
        if self.features % 2:
            raise InputError(
                f"features is {self.features}", "Give an even number: each cosine has its sine."
            )
        given = self.bandwidth
        if given is not None and not isinstance(given, int | float):
            if isinstance(given, str) or not isinstance(given, Sequence) or not given:
                raise InputError(f"bandwidth is {given!r}", "Give a number or a list of numbers.")
            object.__setattr__(self, "bandwidth", tuple(given))
        for value in self._chosen_bandwidths:
            _check_number("bandwidth", value, 1e-4, 1e4)
        if len(self._chosen_bandwidths) > self.features // 2:
            raise InputError("there are more bandwidths than frequencies", "Give more features.")
        _check_number("smoothing", self.smoothing, 0, _SIDE)
        _check_number("count_share", self.count_share, 1e-6, 0.5)
        _check_number("learning_rate", self.learning_rate, 1e-9, 1)
        if self.device not in _DEVICES:
            raise InputError(f"device is {self.device!r}", f"Use one of {', '.join(_DEVICES)}.")
        object.__setattr__(self, "class_prior", priors.check(self.class_prior))

    @classmethod
    def paper(cls, **settings: Any) -> Merf:
        """The published hyper-parameters, with noise and class counts put right.

        Bandwidth ``sqrt(105 / 784)`` without smoothing, 5 latent variables, 5 passes over 60,000
        images in batches of 500, Adam at 0.01. The loss and the network stay those of this
        package.
        """
        return cls(**{**cls.presets["paper"], **settings})

    @property
    def _chosen_bandwidths(self) -> tuple[float, ...]:
        given = self.bandwidth
        if given is None:
            return ()
        return (given,) if isinstance(given, int | float) else tuple(given)

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on images with these public facts.

        Raises:
            InputError: If the facts are not those of images or lack the number of records, the
                budget lacks a delta, or a setting does not fit the classes.
        """
        from sfumato.data import ImageSchema
        from sfumato.privacy.mechanisms import Gaussian
        from sfumato.privacy.mechanisms.gaussian import fits

        if not isinstance(facts, ImageSchema):
            raise InputError("generators.merf was given a table", "It publishes images.")
        if facts.records is None:
            raise InputError(
                "the number of records is not declared",
                "Declare records in the schema: the mean's sensitivity is 2 / records.",
            )
        budget.check_records(facts.records)
        needed = Gaussian.calibrate(budget, CONTRIBUTION, Neighbours.REPLACE_ONE).stddev
        if not fits(needed, STEP):
            raise InputError(
                f"epsilon is {budget.epsilon:g}, for which noise of {needed:.2g} times a record's "
                "norm is due: more or less than the grid of the embedding has room for",
                f"Give a {'smaller' if needed < 1 else 'larger'} epsilon.",
            )
        noise = Gaussian.calibrate(budget, CONTRIBUTION, Neighbours.REPLACE_ONE, granularity=STEP)
        run = Run(
            self,
            facts,
            facts.records,
            noise,
            priors.declared(self.class_prior, facts.classes),
            self._device(),
        )
        self.feature_map(facts, run.mean_stddev, 0)  # refuses images that are too large
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(noise.event, budget.delta, "record", Neighbours.REPLACE_ONE),
            plan=run.plan,
            run=run,
            public=self._public(facts, run.mean_stddev),
            caveats=(
                RecordCaveat(
                    "One record is one image: of a person with k images, all together are "
                    "protected as by a Gaussian mechanism with k times the mu."
                ),
                *chosen_on("MNIST", "Fashion-MNIST", "the digits"),
            ),
        )

    def bandwidths(self, facts: ImageSchema, mean_stddev: float) -> tuple[float, ...]:
        """The kernels' length scales, in root-mean-square difference of pixels."""
        classes = len(facts.classes)
        return self._chosen_bandwidths or (default_bandwidth(mean_stddev * classes),)

    def feature_map(self, facts: ImageSchema, mean_stddev: float, seed: int) -> FourierFeatures:
        """The public feature map for images with these facts.

        Args:
            facts: Of the images.
            mean_stddev: Of the noise in each coordinate of the mean.
            seed: Of the frequencies.
        """
        _, height, width = facts.shape
        scale = math.sqrt(math.prod(facts.shape))
        return FourierFeatures(
            shape=facts.shape,
            classes=len(facts.classes),
            bandwidths=tuple(scale * value for value in self.bandwidths(facts, mean_stddev)),
            smoothing=self.smoothing * max(height, width) / _SIDE,
            pairs=self.features // 2,
            count_share=self.count_share,
            seed=seed,
        )

    def _public(self, facts: ImageSchema, mean_stddev: float) -> tuple[Fact, ...]:
        chosen = "public: setting of generators.merf"
        declared = [
            Fact("kernel bandwidth", list(self.bandwidths(facts, mean_stddev)), chosen),
            Fact("kernel smoothing", self.smoothing, chosen),
        ]
        if isinstance(self.class_prior, Mapping):
            declared.append(Fact("class prior", dict(self.class_prior)))
        return tuple(declared)

    def _device(self) -> str:
        if self.device == "cpu":
            return "cpu"
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if self.device == "cuda":
            raise InputError("device is 'cuda', and there is none here", "Use auto or cpu.")
        return "cpu"


def default_bandwidth(noise: float) -> float:
    """A length scale that the noise leaves legible: the more noise, the wider.

    A narrow kernel tells more of the images, in smaller numbers. Chosen on held-out training
    images of MNIST, Fashion-MNIST and the digits at several epsilons.

    Args:
        noise: Of a kernel's mean over one of K equal classes: K times the noise in each
            coordinate of the mean over all. Public.
    """
    return min(max(0.3 * math.pow(noise / 0.06, 0.22), 0.12), 0.4)


def _check_number(name: str, value: object, lowest: float, highest: float) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (ok and lowest <= value <= highest):  # type: ignore[operator]
        raise InputError(f"{name} is {value!r}", f"Give a number from {lowest:g} to {highest:g}.")

"""``tables.augm``: an autoencoder trained by DP-SGD; what it makes of other rows is published.

DP-AuGM shares a private autoencoder and no private row: whoever has public rows sends them through
it. Here those rows are named (``public_data``), or else drawn from noisy counts, which were paid
for: columns that are independent given the class, of which the autoencoder makes rows whose columns
go together. It is trained to put right what was spoilt (some columns of a row are replaced by draws
from the noisy counts), so that sending rows through it again and again is a Markov chain whose law
is the data's as far as it has learnt them. A private row is never sent through: what a network
makes of one row is a function of that row, whatever budget the network was trained under.

Source: Chen et al. 2018 (arXiv 1812.02274), generative.md 3.3; Bengio et al., NeurIPS 2013, for the
chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.addresses import named
from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.publish import checks, room
from sfumato.publish.tables.counted import features_of, target_of
from sfumato.publish.tables.gradient_trained import RowWork, TrainedRows, classes_drawn
from sfumato.registry import method

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.data import Schema
    from sfumato.publish.room import Part
    from sfumato.publish.tables.heads import Heads
    from sfumato.publish.tables.row_networks import Autoencoder
    from sfumato.publish.tables.start import Start

_ROWS = 1 << 13  # rows whose logits are in memory at a time


@method("tables.augm")
@dataclass(frozen=True)
class TableAugm(TrainedRows):
    """What a private autoencoder makes of rows that are public, or of noisy counts.

    Args:
        code: Numbers in the code.
        learning_rate: Of Adam on the noisy mean gradient.
        spoilt: Share of a row's columns that are replaced before it is put right.
        rounds: How often the released rows are sent through.
        public_data: Rows, with their target, that nobody protects: a path or
            ``dataset:NAME/SPLIT``; None takes rows of the noisy counts. Their number is that of
            the released ones, unless ``rows`` says otherwise.

    The other settings are :class:`TrainedRows`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one private record. Public rows
    are not protected at all.
    """

    epochs: float = 5
    code: int = 32
    learning_rate: float = 2e-3
    spoilt: float = 0.5
    rounds: int = 10
    public_data: str | None = None

    source: ClassVar[str] = "Chen et al. 2018 (arXiv 1812.02274), by DP-SGD (Abadi et al. 2016)"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("learning_rate", self.learning_rate, 0, closed=False)
        checks.number("spoilt", self.spoilt, 0, 1)
        for name in ("code", "rounds"):
            checks.whole(name, getattr(self, name), 1)
        if self.public_data is not None and not isinstance(self.public_data, str):
            raise InputError(f"public_data is {self.public_data!r}", "Give a path or dataset:NAME.")

    def prepared(self, facts: Schema) -> tuple[PublicRows | None, tuple[Fact, ...]]:
        """The public rows, if there are any."""
        if self.public_data is None:
            return None, ()
        found = PublicRows.load(self.public_data, facts, self)
        return found, (found.fact,)

    def caveats(self, prepared: PublicRows | None) -> tuple[str, ...]:
        """What is said of the rows that were sent through."""
        if prepared is None:
            return ()
        return (
            "The public rows are not protected at all: a released row is made of one of them, and "
            "keeps its target. That no private record, and nobody who expects protection, is among "
            "them is the custodian's declaration.",
        )

    def released_rows(self, prepared: PublicRows | None, records: int) -> int:
        """As many as there are public rows, or records."""
        return self.rows or (records if prepared is None else len(prepared.labels))

    def certain(self, heads: Heads, classes: int) -> Iterator[Part]:
        """The autoencoder."""
        from sfumato.publish.tables.row_networks import Autoencoder
        from sfumato.publish.tables.start import Start

        start = Start.uniform(classes, heads.sizes)
        yield room.network(
            "the autoencoder's weights",
            ("code", "hidden"),
            lambda: Autoencoder(heads, start, self.code, self.hidden),
            room.TRAINED,
        )

    def train(self, work: RowWork) -> Reconstructed:
        """The autoencoder, trained to put spoilt rows right."""
        import torch

        from sfumato.learn import own_noise
        from sfumato.learn.trainer import PrivateTrainer
        from sfumato.publish.generators.fitting import fit
        from sfumato.publish.tables.row_networks import Autoencoder

        heads, spoil = work.heads, Spoiling(work.heads, work.start, self.spoilt)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"])
            coder = Autoencoder(heads, work.start, self.code, self.hidden).to(work.device)
        seed = work.seeds["training"]

        def spoilt(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
            places, labels, keys = inputs
            # By the row, the step and the seed alone: no other row has a say in it.
            uniform = own_noise.uniform(keys, spoil.numbers, seed, trainer.steps_taken)
            return (spoil(places, labels, uniform.to(places.device)), labels), targets

        trainer = PrivateTrainer(
            coder,
            lambda logits, places: -heads.log_likelihood(logits, places),
            torch.optim.Adam(coder.parameters(), self.learning_rate),
            work.steps.mechanism,
            ((work.places, work.labels, own_noise.keys_of(work.places.int())), work.places),
            averaging=self.averaging,
            augment=spoilt,
            source=work.source,
        )
        fit(trainer, work.within())
        assert trainer.average is not None
        trainer.average.copy_to(coder)
        return Reconstructed(coder.eval().cpu(), spoil, work.start, self.rounds, work.prepared)


@dataclass(frozen=True)
class Spoiling:
    """Replaces columns of rows by draws from the noisy counts.

    Args:
        heads: Of the rows.
        start: Distributions by class.
        share: Of the columns, on average.
    """

    heads: Heads
    start: Start
    share: float

    @property
    def numbers(self) -> int:
        """Uniform numbers that a row takes."""
        return 2 * len(self.heads.sizes)

    def __call__(self, places: Tensor, labels: Tensor, uniform: Tensor) -> Tensor:
        """(n, d) places of (n, d) places and (n,) classes, by (n, 2 d) uniform numbers."""
        import torch

        which, where = uniform.chunk(2, dim=1)
        others = self.heads.at(self.start.shares.to(places.device)[labels], where)
        return torch.where(which < self.share, others, places.long())


@dataclass
class Reconstructed:
    """Rows that an autoencoder made of others.

    Args:
        module: In evaluation mode, on the CPU.
        spoil: What is done to rows before each round.
        start: Of the classes, and of rows where none are public.
        rounds: How often rows are sent through.
        public: The rows that are sent through first.
        taken: How many of the public rows were.
    """

    module: Autoencoder
    spoil: Spoiling
    start: Start
    rounds: int
    public: PublicRows | None
    taken: int = 0

    def sample(
        self, rows: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """(rows,) classes, and (rows,) cells of each feature."""
        import torch

        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        if self.public is None:
            labels, first = classes_drawn(self.start, rows, rng), None
        else:
            at = (self.taken + np.arange(rows)) % len(self.public.labels)
            self.taken += rows
            labels, first = self.public.labels[at], self.public.places[at]
        parts = []
        with torch.no_grad():
            for begin in range(0, rows, _ROWS):
                some = slice(begin, begin + _ROWS)
                given = None if first is None else torch.from_numpy(first[some])
                made = self._sent(torch.from_numpy(labels[some]), given, generator)
                parts.append(made.numpy())
        return labels, list(np.concatenate(parts).T)

    def _sent(self, labels: Tensor, places: Tensor | None, generator: torch.Generator) -> Tensor:
        import torch

        heads = self.spoil.heads
        draw: Callable[[int], Tensor] = lambda k: torch.rand(len(labels), k, generator=generator)  # noqa: E731
        if places is None:
            places = heads.at(self.start.shares[labels], draw(len(heads.sizes)))
        for _ in range(self.rounds):
            spoilt = self.spoil(places, labels, draw(self.spoil.numbers))
            places = heads.draw(self.module(spoilt, labels), generator)
        return places


@dataclass(frozen=True)
class PublicRows:
    """Rows that nobody protects.

    Args:
        name: As the custodian gave it.
        places: (m, d) cells of the features.
        labels: (m,) classes.
    """

    name: str
    places: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def load(cls, name: str, facts: Schema, settings: TableAugm) -> PublicRows:
        """Opens them under the private table's schema.

        Raises:
            InputError: If they cannot be read, or contradict the schema.
        """
        from sfumato.data import Table
        from sfumato.data.load import load_data

        found = load_data(name, schema=facts.with_records(None))
        if not isinstance(found, Table):
            raise InputError(f"the public rows {name!r} are images", "Give a table.")
        codes = found.codes(facts.names)
        target = target_of(facts, settings.target_bins)
        features = features_of(facts, target, settings.bins, settings.binning)
        places = np.stack([cells.place(codes[cells.column.name]) for cells in features], axis=1)
        labels = np.zeros(len(places), np.int64)
        if target is not None:
            labels = np.asarray(target.place(codes[target.column.name]), np.int64)
        return cls(name, places.astype(np.int64), labels)

    @property
    def fact(self) -> Fact:
        """For a card: name, number of rows and a digest of their values."""
        whole = np.ascontiguousarray(np.column_stack([self.places, self.labels]))
        value = {
            "name": named(self.name),
            "records": len(self.labels),
            "sha256": hashlib.sha256(whole.tobytes()).hexdigest(),
        }
        return Fact("public rows", value, "public: declared by the custodian")

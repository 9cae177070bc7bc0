"""Who listens hears every noisy value, and nobody else keeps one."""

from __future__ import annotations

from threading import Thread

import numpy as np
import torch

from sfumato.learn.noise import add_gaussian
from sfumato.privacy.mechanisms import DiscreteLaplace, ExponentialMechanism, NoisyMax
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.privacy.transcript import listening, seen


def test_sums_choices_and_tensors_are_heard_in_order_with_their_noise_on() -> None:
    source = SeededSource(0)
    with listening() as heard:
        counts = DiscreteLaplace(2.0, 1).release(np.zeros((2, 3), int), source)
        tensors = add_gaussian([torch.zeros(2, 2), torch.zeros(3)], [1.0, 2.0], source)
        choices = [
            mechanism.select([0.0, 1.0, 0.5], source)
            for mechanism in (
                NoisyMax(1.0, 1.0, Neighbours.ADD_REMOVE),
                ExponentialMechanism(1.0, 1.0, Neighbours.ADD_REMOVE),
            )
        ]
    assert [part.size for part in heard] == [6, 7, 3, 3]
    assert (heard[0] == counts.ravel()).all()
    assert (heard[1] == np.concatenate([t.numpy().ravel() for t in tensors])).all()
    assert [int(part.argmax()) for part in heard[2:]] == choices


def test_what_is_heard_is_a_copy() -> None:
    with listening() as heard:
        seen(values := np.zeros(2))
    values += 1
    assert heard[0].tolist() == [0, 0]


def test_each_listens_for_itself_and_in_one_thread() -> None:
    with listening() as outer:
        seen(np.ones(1))
        with listening() as inner:
            seen(np.ones(2))
        other = Thread(target=lambda: seen(np.ones(3)))
        other.start()
        other.join()
        seen(np.ones(4))
    seen(np.ones(5))
    assert [part.size for part in outer] == [1, 4]
    assert [part.size for part in inner] == [2]

"""Of a forked test's helper: a copy of a process that computed with several threads computes."""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from tests.forked import in_a_child


def test_a_copy_of_a_process_with_several_threads_computes(tmp_path: Path) -> None:
    def compute() -> None:
        print(int(torch.ones(400_000, 4).log_softmax(1).exp().sum().round()))

    def parent() -> None:  # in a thread of its own: its threads end with it
        torch.set_num_threads(2)
        compute()
        told.append(in_a_child(compute, tmp_path / "told"))

    before, told = torch.get_num_threads(), list[int]()
    try:
        one = threading.Thread(target=parent)
        one.start()
        one.join(60)
    finally:
        torch.set_num_threads(before)
    assert told == [0]
    assert (tmp_path / "told").read_text("utf-8") == "400000\n"

"""The same data published twice is paid for twice."""

from __future__ import annotations

from battery.check import check
from battery.row import MethodRow
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SECURE


@check(methods=True)
def check_replay(row: MethodRow) -> None:
    """Two runs: two debits, two ids, and a total that is their composition."""
    made, private = row.make(row.budget), row.data(0)
    ledger = Ledger.in_memory()
    releases = [made(private, ledger=ledger, source=SECURE) for _ in range(2)]
    entries = ledger.entries()
    assert len(entries) == 2, f"two runs made {len(entries)} debits"
    assert releases[0].card.release_id != releases[1].card.release_id
    for entry, release in zip(entries, releases, strict=True):
        assert entry.release_id == release.card.release_id
        assert entry.hash == release.card.ledger["entry"]
        assert entry.guarantee == release.card.guarantee
    once = row.epsilon(made)
    total = ledger.total(row.delta(made))[0].epsilon
    assert 1.2 * once < total <= 2 * once * (1 + 1e-3), f"one costs {once}, two {total}"
    assert ledger.verify() == []

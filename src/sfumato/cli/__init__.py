"""The command line: parses, calls, prints."""

from __future__ import annotations


def main() -> None:
    """Entry point of ``sfumato``; exit codes are listed in ``sfumato --help``."""
    from sfumato.cli.app import run

    run()

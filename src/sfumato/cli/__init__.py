"""The command line: parses, calls, prints."""

from __future__ import annotations

import os


def main() -> None:
    """Entry point of ``sfumato``; exit codes are listed in ``sfumato --help``.

    Threads of a numeric library that wait for each other sleep, unless ``OMP_WAIT_POLICY`` says
    otherwise: where others compute on the same cores, spinning takes more time than the work.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when the library is loaded
    from sfumato.cli.app import run

    run()

"""A process of its own for what kills or starves one, without another start of the interpreter."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path


def in_a_child(run: Callable[[], object], told: Path) -> int:
    """Runs ``run`` in a copy of this process.

    Args:
        run: Ends as a program does: by returning, by ``SystemExit`` or by a signal.
        told: Gets what it writes to standard output.

    Returns:
        Its exit code; the negative number of the signal that ended it.
    """
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads wait, and hold no lock
        child = os.fork()
    if child == 0:
        code = 1
        try:
            out = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)  # others were left behind: waited for ever
            run()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

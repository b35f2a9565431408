"""Errors that users see: one line, naming the file, the key, the value and the rule."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

PR_SET_PDEATHSIG = 1


class UserError(Exception):
    """Something the user can mend; its text is one line that says what and where."""


def fail(error: UserError) -> NoReturn:
    """Print the error as one line and leave with exit code 1."""
    line = " ".join(str(error).split())
    print(f"error: {line}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def program(main: Callable[[], None]) -> None:
    """Run a stage's main function; users' mistakes end it with one line and no traceback.

    Under a guard (`flows.guard`) the program dies with the process that started it, so that a killed run leaves none.
    """
    if os.environ.get("TEXTGAN_GUARDED") and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    from textgan import local  # it imports this module

    try:
        local.apply()
        main()
    except UserError as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None

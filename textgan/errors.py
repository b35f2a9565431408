"""Errors that users see: one line, naming the file, the key, the value and the rule."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Something the user can mend; its text is one line that says what and where."""


def fail(error: UserError) -> NoReturn:
    """Print the error as one line and leave with exit code 1."""
    line = " ".join(str(error).split())
    print(f"error: {line}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def program(main: Callable[[], None]) -> None:
    """Run a stage's main function; users' mistakes end it with one line and no traceback."""
    try:
        main()
    except UserError as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None

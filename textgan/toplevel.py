"""Commands of the repository work at its top, as git's and DVC's do; a path means what it meant where it was typed."""

from __future__ import annotations

import os
from pathlib import Path

_started = Path()
"""From the top to where the command was typed; `.` at the top and outside of any repository."""


def enter() -> None:
    """Go to the top of the repository that the present directory lies in; stay where there is none.

    The top has `.dvc/config`, as DVC finds it; another git repository in between is not left.
    """
    global _started
    here = Path.cwd()
    for place in (here, *here.parents):
        if (place / ".dvc" / "config").is_file():
            os.chdir(place)
            _started = here.relative_to(place)
            return
        if (place / ".git").exists():
            return


def typed(path: Path | str) -> Path:
    """A path that a person typed, seen from the top; one outside of the repository is absolute."""
    if _started == Path():
        return Path(path)
    absolute = Path(os.path.normpath(Path.cwd() / _started / path))
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def typed_or_name(text: str) -> str:
    """What may be a path or a name (a hash, a stage): a path as `typed` has it, a name as it is."""
    return str(typed(text)) if "/" in text or typed(text).exists() else text

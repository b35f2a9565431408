"""Record this process, then become a command: `python launch.py RECORD DESCRIPTORS COMMAND...`.

Who spawns a process and records it afterwards can be killed in between, and nobody finds that process again. Here it
is the process itself that writes down its pid and its time of creation, before it is what was to be started: an exec
keeps both. DESCRIPTORS (numbers with commas between) close at that moment and not before: a lock among them stays held
until there is a record, whatever happens to the process that took it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import psutil


def main() -> None:
    """Record, and never come back. Raises OSError where the command is none."""
    record, descriptors, *command = sys.argv[1:]
    for descriptor in descriptors.split(","):
        os.set_inheritable(int(descriptor), False)
    part = Path(f"{record}.{os.getpid()}.part")
    value = {"created": psutil.Process().create_time(), "pid": os.getpid()}
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(part, record)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored stays so
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

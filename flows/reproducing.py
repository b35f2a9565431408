"""`textgan reproduce COMMIT`: make a commit's result again, in a worktree, and say whether it is the same."""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer

from flows import commit, storage
from flows.recorded import NotVerifiable
from flows.remote import Remote
from flows.reproduction import Reproduction
from flows.verdict import UNKNOWN, Row, Verdict
from textgan.errors import UserError
from textgan.files import STATE, write_json
from textgan.toplevel import typed

NO_VERDICT = 2
"""Exit code where nothing was compared: 1 is kept for what was, and differs."""


def reproduce(
    revision: Annotated[str, typer.Argument(metavar="COMMIT", help="Commit, tag or branch.")],
    from_raw: Annotated[
        bool, typer.Option("--from-raw", help="Run every stage again from the exports, no cache.")
    ] = False,
    verify: Annotated[str, typer.Option(help="hashes: restore and hash; metrics: evaluate again too.")] = "metrics",
    dataset: Annotated[str, typer.Option(help="Only this dataset of the commit's params.yaml.")] = "",
    keep: Annotated[Path | None, typer.Option(help="Leave the worktree in this directory.")] = None,
) -> None:
    """Exit code 0: reproduced; 1: something differs, and it is named; 2: it cannot be verified, and why."""
    try:
        code = judge(revision, from_raw, verify, dataset, typed(keep) if keep else None)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = NO_VERDICT
    except Exception:  # Python would leave with 1, which says that something differs
        traceback.print_exc()
        code = NO_VERDICT
    raise SystemExit(code)


def judge(revision: str, from_raw: bool, verify: str, dataset: str, keep: Path | None) -> int:
    """Write the verdict, print it; its exit code. Raises UserError where there is none."""
    if verify not in ("hashes", "metrics"):
        raise UserError(f"--verify is {verify!r}; it must be hashes or metrics")
    mode = "from raw" if from_raw else verify
    sha = commit.resolve(revision)
    out = (keep or STATE / "verdicts" / sha[:12]) / "verdict.json"
    if keep is None:
        out.unlink(missing_ok=True)  # an earlier one is not taken for this one, should this one come to none
    else:
        commit.check_keep(keep)
    start = time.monotonic()
    verdict = Verdict(sha, mode)
    try:
        commit.check_verifiable(sha)
        remote = None if from_raw else reachable_storage()
        with commit.worktree(sha, keep) as tree:
            Reproduction(tree, remote, dataset).run(verdict)
    except NotVerifiable as reason:
        verdict.stages.append(Row(sha[:12], UNKNOWN, str(reason)))
    except UserError:
        raise
    except Exception as error:  # who asks a program for the verdict is told that there is none of the commit
        traceback.print_exc()
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        verdict.stages.append(Row(sha[:12], UNKNOWN, f"textgan itself failed: {said}"))
    verdict.seconds = round(time.monotonic() - start, 1)
    write_json(out, verdict.as_json())
    print(f"\n{verdict.table()}\nWritten to {out}; {verdict.seconds:.0f} s.")
    return verdict.exit_code


def reachable_storage() -> Remote:
    """The storage that artifacts are restored from. Raises NotVerifiable: its absence says nothing of the commit."""
    try:
        return storage.ensure_started()
    except UserError as error:
        raise NotVerifiable(f"its artifacts cannot be had: {error}") from None

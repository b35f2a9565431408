"""Push and pull of shards: ours and DVC's against boto3's transfer manager, same bytes, same storage, in turn.

    python benchmarks/transfer_speed.py [--shards 20] [--mb 8] [--rounds 3] [--out FILE.json]

Starts a storage of its own in a temporary directory. A round is: boto3 up, `dvc push`, boto3 down, boto3 down with the
md5 of each file taken afterwards, `textgan storage pull`, `dvc pull`, each into or from nothing. A ratio is boto3's
seconds over another's, transfers alone: what the program takes to start and find that there is nothing to do (the same
command again) is measured too, said beside it, and taken off. The bar is 0.8. Beside wall seconds stand the client's
CPU-seconds: on a busy machine they say more. Both pulls have the md5 of each byte in them; boto3's bare one has not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows import dvc_program, seaweed, storage
from flows.remote import Remote, client
from textgan.errors import UserError, program
from textgan.files import to_json, write_json

THREADS = 10
"""boto3's own default of concurrent requests."""
FILES = Path("data/images/d")
GRAPH = f"stages:\n  images:\n    cmd: 'true'\n    outs: [{FILES}]\n"
Seconds = tuple[float, float]
"""Wall seconds and CPU-seconds."""


def main() -> None:
    """Print one JSON object: median seconds, MB a second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--mb", type=float, default=8.0, help="of one shard")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transfer-") as place, contextlib.chdir(place):
        subprocess.run(["git", "init", "-q"], check=True)
        dvc("init", "-q")
        config = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://dvc/textgan\n    verify = true\n"
        Path(".dvc/config").write_text(config, encoding="utf-8")
        Path(".gitignore").write_text(".state\n", encoding="utf-8")
        try:
            remote = storage.ensure_started()
            result = measure(remote, args.shards, round(args.mb * 1e6), args.rounds)
        finally:
            seaweed.stop(storage.PLACE)
    print(to_json(result), end="")
    if args.out:
        write_json(args.out, result)


def measure(remote: Remote, shards: int, size: int, rounds: int) -> dict[str, object]:
    """Medians over the rounds, by wall clock and by CPU."""
    pulls: dict[str, Callable[[], object]] = {
        "textgan storage pull": textgan_pull,
        "dvc pull": lambda: dvc("pull", "-q"),
    }
    plain: dict[str, Callable[[], object]] = {
        "boto3 down": lambda: boto3_down(remote, False),
        "boto3 down, md5": lambda: boto3_down(remote, True),
    }
    seconds: dict[str, list[Seconds]] = {name: [] for name in ("boto3 up", "dvc push", *plain, *pulls)}
    idle: dict[str, list[Seconds]] = {name: [] for name in ("dvc push", *pulls)}
    Path("dvc.yaml").write_text(GRAPH, encoding="utf-8")
    for number in range(rounds):
        FILES.mkdir(parents=True)
        for idx in range(shards):
            (FILES / f"{idx:05d}.tar").write_bytes(random.Random(f"{number} {idx}").randbytes(size))
        dvc("commit", "-q", "-f")
        seconds["boto3 up"].append(timed(lambda: boto3_up(remote)))
        seconds["dvc push"].append(timed(lambda: dvc("push", "-q")))
        idle["dvc push"].append(timed(lambda: dvc("push", "-q")))
        for name, action in plain.items():
            seconds[name].append(timed(action))
        for name, action in pulls.items():
            forget()
            seconds[name].append(timed(action))
            if len(list(FILES.iterdir())) != shards:
                raise UserError(f"{name} has not brought all of the {shards} shards")
            idle[name].append(timed(action))
        forget()
    result: dict[str, object] = {"shards": shards, "mb": shards * size / 1e6}
    for part, kind in enumerate(("wall", "cpu")):
        medians = {name: statistics.median(value[part] for value in values) for name, values in seconds.items()}
        empty = {name: statistics.median(value[part] for value in values) for name, values in idle.items()}
        pairs = {f"{two} to {one}": (one, two) for one in plain for two in pulls} | {
            "dvc push": ("boto3 up", "dvc push")
        }
        result[kind] = {
            "seconds": medians,
            "seconds_with_nothing_to_do": empty,
            "mb_per_second": {name: shards * size / 1e6 / value for name, value in medians.items()},
            "ratio": {name: medians[one] / max(medians[two] - empty[two], 1e-9) for name, (one, two) in pairs.items()},
            "ratio_with_start_up": {name: medians[one] / medians[two] for name, (one, two) in pairs.items()},
        }
    return result


def boto3_up(remote: Remote) -> None:
    """Every shard by the transfer manager, THREADS at a time."""
    s3 = client(remote)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda path: s3.upload_file(str(path), remote.bucket, f"plain/{path.name}"), FILES.iterdir()))


def boto3_down(remote: Remote, hashed: bool) -> None:
    """Every shard back, into an empty directory that is removed again; `hashed`: by each thread, once it is there."""
    s3 = client(remote)
    listed = s3.list_objects_v2(Bucket=remote.bucket, Prefix="plain/")["Contents"]
    with tempfile.TemporaryDirectory(dir=".") as place, ThreadPoolExecutor(THREADS) as pool:
        names = [(item["Key"], os.path.join(place, Path(item["Key"]).name)) for item in listed]

        def bring(pair: tuple[str, str]) -> None:
            s3.download_file(remote.bucket, *pair)
            if hashed:
                with open(pair[1], "rb") as file:
                    hashlib.file_digest(file, "md5").hexdigest()

        list(pool.map(bring, names))


def textgan_pull() -> None:
    environment = {**dvc_program.environment(), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "textgan.cli", "storage", "pull"]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def forget() -> None:
    """Neither the files nor their cache."""
    shutil.rmtree(FILES)
    shutil.rmtree(".dvc/cache")


def dvc(*arguments: str) -> None:
    subprocess.run(dvc_program.command(*arguments), env=dvc_program.environment(), check=True)


def timed(action: Callable[[], object]) -> Seconds:
    start, cpu = time.monotonic(), cpu_seconds()
    action()
    return time.monotonic() - start, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """Of this process and its ended children; the server is neither."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    program(main)

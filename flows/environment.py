"""What of a machine can change a float or the time taken: recorded with a result, shown beside the present one."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from textgan.files import write_json

RECORD = Path("report/run.json")
"""Git-tracked, beside the dvc.lock that the same run wrote; no DVC out, for it holds times."""
PACKAGES = ("torch", "numpy", "pillow", "nltk", "onnxruntime", "simplejpeg", "deflate")
THREADS = ("TEXTGAN_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
VERSIONS = """\
import importlib.metadata as m, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        found[name] = "absent"
print(json.dumps({"python": sys.version.split()[0], **found}))
"""
MAY_CHANGE_FLOATS = ("cpu", "cores", "instructions", "gpu", "device", "threads", "python", *PACKAGES)
"""Where one of these differs, sums may be rounded otherwise. Cores: evaluation takes as many threads as there are."""
INSTRUCTIONS = ("avx512f", "avx2", "avx", "sse4_2", "asimd")
"""Of a processor, as /proc/cpuinfo names them, the widest first: libraries choose their code by these."""


def present(python: Path = Path(sys.executable)) -> dict[str, str]:
    """This machine, with the versions that an interpreter has."""
    shown = subprocess.run([str(python), "-c", VERSIONS, *PACKAGES], capture_output=True, text=True)
    versions = json.loads(shown.stdout) if shown.returncode == 0 else {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name)]
    return {
        "cpu": cpu_model(),
        "cores": str(cores),
        "instructions": _instructions(),
        "gpu": _gpus(),
        "device": os.environ.get("TEXTGAN_DEVICE") or "as found",
        "threads": ", ".join(threads) or "each stage's own default",
        "system": f"{platform.system()} {platform.machine()}",
        **versions,
    }


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _instructions() -> str:
    """The widest vector instructions of the processor: some virtual machines give every processor one name."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        words = set()
    return next((name for name in INSTRUCTIONS if name in words), "unknown")


def record(seconds: dict[str, float]) -> None:
    """Write report/run.json: this machine, and the seconds of each stage."""
    write_json(RECORD, {"environment": present(), "seconds": seconds})


def recorded(root: Path) -> tuple[dict[str, str], dict[str, float]]:
    """(environment, seconds of each stage) that a commit holds; both empty where it has no record."""
    try:
        value = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}, {}
    parts = [value.get(key) if isinstance(value, dict) else None for key in ("environment", "seconds")]
    environment, seconds = (part if isinstance(part, dict) else {} for part in parts)
    return (
        {str(key): str(text) for key, text in environment.items()},
        {str(key): float(number) for key, number in seconds.items() if isinstance(number, int | float)},
    )


def unlike(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What may change floats and differs, in words; empty where nothing does or nothing was recorded."""
    return [
        f"{key} {before[key]} / {now.get(key, 'unknown')}"
        for key in MAY_CHANGE_FLOATS
        if key in before and before[key] != now.get(key)
    ]


def table(before: dict[str, str], now: dict[str, str]) -> str:
    """Both side by side, what differs marked."""
    if not before:
        return f"the commit holds no {RECORD}: its machine is unknown; here: {', '.join(now.values())}"
    keys = [*now, *(key for key in before if key not in now)]
    width, left = max(map(len, keys)), max(len(text) for text in [*before.values(), "recorded"])
    lines = [f"{'':<{width}}    {'recorded':<{left}}  here"]
    for key in keys:
        old, new = before.get(key, "unknown"), now.get(key, "unknown")
        lines.append(f"{key:<{width}}  {' ' if old == new else '*'} {old:<{left}}  {'same' if old == new else new}")
    return "\n".join(lines)


def _gpus() -> str:
    """Names of the GPUs and their driver, as nvidia-smi says them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "none"
    try:
        asked = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
        shown = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"
    return "; ".join(shown.stdout.split("\n")).strip("; ") if shown.returncode == 0 else "none"

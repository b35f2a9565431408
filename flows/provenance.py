"""Where a dataset's pictures are from, under which licences, and the environment that a release was made in."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import re
from pathlib import Path
from typing import Any

import textgan
from flows import history, locked, pretrained
from textgan.errors import UserError
from textgan.params import Params

DRAWN = (
    "The training pictures are DRAWN by a program (`textgan sample-export`), not photographs: nothing here says how "
    "the model does on photos."
)
PHOTOS = (
    "The training pictures come from LSUN exports (photos of the LSUN dataset, Yu et al. 2015), which are for research "
    "use; the people who took them keep their rights. The pictures are not part of this release."
)
LSUN_LICENCE = "https://www.yf.io/p/lsun"
APACHE = "https://www.apache.org/licenses/LICENSE-2.0"


def provenance(loaded: Params, name: str, commit: str) -> dict[str, Any]:
    """Where a dataset's pictures are from: drawn or real, the exports' hashes and entries, what was left out."""
    from pyarrow import parquet

    drawn = name in loaded.draw
    inputs = {
        entry.path: {"md5": entry.md5, "bytes": entry.size}
        for stage in history.present_lock().values()
        for entry in (*stage.deps, *stage.outs)
        if entry.path == f"data/exports/{name}" or entry.path.startswith(f"data/exports/{name}/")
    }
    exports: dict[str, dict[str, int]] = {}
    inventory = Path("data/inventory") / name / "inventory.parquet"
    if inventory.is_file():
        for batch in parquet.ParquetFile(inventory).iter_batches(columns=["export", "status"]):
            for export, status in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                counts = exports.setdefault(export, {})
                counts[status] = counts.get(status, 0) + 1
    images = read_json(Path("data/images") / name / "manifest.json")
    records = (Path("data/captions") / name / "metrics.json", Path("data/pairs") / name / "manifest.json")
    networks = pretrained.of_dataset(loaded, name, *map(read_json, records))
    return {
        "format": 2,
        "dataset": name,
        "commit": commit,
        "drawn": drawn,
        "statement": DRAWN if drawn else PHOTOS,
        "draw": {"images": loaded.draw[name].images, "seed": loaded.draw[name].seed} if drawn else None,
        "inputs": inputs,
        "exports": exports,
        "images": {key: images.get(key) for key in ("read", "written", "rejected", "width", "height")}
        | {"splits": {split: part.get("images") for split, part in images.get("splits", {}).items()}},
        "captioner": loaded.datasets[name].captions.captioner,
        "licence": {"data": "Apache-2.0" if drawn else LSUN_LICENCE, "code": "Apache-2.0", "pretrained": networks},
    }


def environment() -> dict[str, Any]:
    """Versions and licences of the locked packages as installed here, the interpreter and the processor."""
    pins = locked.pins(Path())
    other = locked.not_as_locked(pins)
    packages = {}
    for package in sorted(pins):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # then `other` says so
            found = importlib.metadata.distribution(package)
            packages[package] = {"version": found.version, "licence": _licence(found.metadata)}
    return {
        "textgan": textgan.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": next(iter(re.findall(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)), ""),
        "packages": packages,
        "not_as_locked": other,
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    return value if isinstance(value, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _licence(metadata: Any) -> str:
    """A package's licence: its expression, its classifier, or the first line of its field."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    names = [
        entry.rpartition(" :: ")[2] for entry in metadata.get_all("Classifier") or [] if entry.startswith("License ::")
    ]
    field = str(metadata.get("License") or "").strip().splitlines()
    return "; ".join(names) or (field[0][:80] if field else "not stated")

"""Orchestration: DVC's graph run by hand or by Prefect, the storage, reproduction. Never pipeline, never torch.

Importing this package settles how Prefect behaves here, before anything imports Prefect: its files in the clone,
nothing sent anywhere. What the environment says already is kept.
"""

import contextlib as _contextlib
import os as _os
from pathlib import Path as _Path

ROOT = _Path.cwd() if _Path("dvc.yaml").exists() else _Path(__file__).resolve().parents[1]
"""The repository: where the program was started, or where this package is."""

_url = ROOT / ".state" / "prefect" / "url"
for _name, _value in {
    **({"PREFECT_API_URL": _url.read_text(encoding="utf-8").strip()} if _url.exists() else {}),
    "PREFECT_HOME": str(ROOT / ".state" / "prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
}.items():
    _os.environ.setdefault(_name, _value)
with _contextlib.suppress(OSError):  # Prefect makes only the last directory of its home
    _Path(_os.environ["PREFECT_HOME"]).mkdir(mode=0o700, parents=True, exist_ok=True)

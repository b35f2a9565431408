"""What a finished run shows in the Prefect UI: stages, metrics, the sample grid, where the report is."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows import ROOT, graph
from flows import dvc_program as dvc

MAX_PICTURE_BYTES = 300_000
"""A picture goes into the server's database as text: larger ones are left on disk and named."""


def stages(found: graph.Graph, outcomes: dict[str, dvc.Outcome]) -> None:
    """One row for each stage of the graph."""
    rows = [
        {"stage": name, "pool": found.stages[name].pool, "how": outcomes[name].how, "seconds": outcomes[name].seconds}
        for name in found.stages
    ]
    create_table_artifact(key="stages", table=rows, description="What DVC did with each stage")


def results(found: graph.Graph) -> None:
    """Metrics, grids and the report's place, of the datasets whose metrics a stage of this run makes."""
    outs = {Path(out) for stage in found.stages.values() for out in stage.outs}
    lines = [f"Stages: {', '.join(found.stages)}."]
    for path in sorted((ROOT / "metrics").glob("*.json")):
        mine = path.relative_to(ROOT)
        if outs & {mine, *mine.parents}:
            if rows := _rows(path):
                create_table_artifact(key=f"metrics-{path.stem}", table=rows, description=f"{path.name} of this run")
            directory = ROOT / "data" / "evaluation" / path.stem
            texts = prompts(directory)
            lines += [_embedded(grid, texts.get(grid.name, "")) for grid in sorted(directory.glob("grid-*.png"))]
    report = ROOT / "report" / "index.html"
    if report.exists() and len(lines) > 1:
        lines.insert(1, f"Report: `{report}` on the machine that ran it.")
    create_markdown_artifact(key="report", markdown="\n\n".join(lines), description="Samples, and where the report is")


def _rows(path: Path) -> list[dict[str, Any]]:
    """The metrics of a file, its headline first."""
    value = json.loads(path.read_text(encoding="utf-8"))
    metrics = value.get("metrics", {})
    first = [name for name in value.get("main", []) if name in metrics]
    return [{"metric": name, "value": metrics[name]} for name in [*first, *sorted(metrics.keys() - set(first))]]


def prompts(directory: Path) -> dict[str, str]:
    """{name of a grid: the prompt of its samples}, as evaluate wrote them; empty where it did not."""
    path = directory / "metrics.json"
    sheets = json.loads(path.read_text(encoding="utf-8")).get("sheets", {}) if path.exists() else {}
    grid = sheets.get("grid", {})
    return dict(zip(grid.get("files", []), grid.get("texts", []), strict=True))


def _embedded(picture: Path, prompt: str) -> str:
    name = picture.relative_to(ROOT)
    payload = picture.read_bytes()
    if len(payload) > MAX_PICTURE_BYTES:
        return f"`{name}` ({len(payload)} bytes) is on the machine that ran it."
    return f"`{name}` {prompt}\n\n![{name}](data:image/png;base64,{base64.b64encode(payload).decode()})"

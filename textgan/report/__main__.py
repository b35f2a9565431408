"""Stage report: what evaluation measured, as a page, as the paper's tables and figures, and as git-tracked metrics.

Usage: python -m textgan.report [--assemble]

Two kinds of facts meet on the page. What follows from the commit (metrics, pictures, curves, tables) is written to
`report/content/`, `report/paper/`, `report/curves/` (what `dvc plots` draws) and `metrics/`: DVC compares these, and no
clock, host or commit is in them. Stage times, hardware, commit and dirty flag come from this machine
(`runs/stages.json`, git) and are only in `report/index.html`, which is no DVC out: content/page.html with the run facts
set in. The stage assembles it as its last act; `--assemble` does only that, and `textgan repro` calls it at its end,
when all times are known.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from textgan import params as parameters
from textgan.errors import program
from textgan.files import publishing, write_json
from textgan.report.assemble import assemble
from textgan.report.page import page
from textgan.report.paper import write_paper
from textgan.report.results import Results, read_results


def main(argv: list[str] | None = None) -> None:
    """Write content, paper and metrics; then the page with this machine's run facts."""
    parser = argparse.ArgumentParser(prog="python -m textgan.report", description="Write the report.")
    parser.add_argument("--assemble", action="store_true", help="only set the run facts into the page again")
    if not parser.parse_args(argv).assemble:
        params = parameters.load()
        results = [read_results(Path("data/evaluation") / name) for name in params.datasets]
        with publishing(Path("report/content")) as out:
            (out / "page.html").write_text(page(results, params), encoding="utf-8")
        with publishing(Path("report/paper")) as out:
            write_paper(results, params, out)
        with publishing(Path("report/curves")) as out:
            for result in results:
                if (result.directory / "curve.csv").is_file():
                    shutil.copyfile(result.directory / "curve.csv", out / f"{result.name}.csv")
        write_metrics(results, Path("metrics"))
    print(f"report: {assemble()}")


def write_metrics(results: list[Results], directory: Path) -> None:
    """metrics/D.json and metrics/captions-D.json; files of datasets that params no longer name are removed."""
    wanted = {}
    for result in results:
        wanted[f"{result.name}.json"] = {
            "metrics": result.metrics,
            "main": result.main_names,
            "fingerprints": result.value.get("fingerprint_index", []),
        }
        if result.captions:
            wanted[f"captions-{result.name}.json"] = result.captions
    for old in directory.glob("*.json"):
        if old.name not in wanted:
            old.unlink()
    for name, value in wanted.items():
        write_json(directory / name, value)


if __name__ == "__main__":
    program(main)

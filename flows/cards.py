"""What a release says of itself: the model card (Hugging Face format), and the words of the Croissant description.

Every number comes from a file that evaluate wrote, none is typed here; every statement about data from params.yaml,
dvc.lock and the inventory.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from flows import croissant as croissant_file
from flows import pretrained
from flows.provenance import APACHE, DRAWN, LSUN_LICENCE, PHOTOS, provenance, read_json
from textgan.params import Params

MAX_MAIN = 12


def main_numbers(name: str) -> dict[str, float]:
    """The headline metrics of a dataset: those that the report puts under `main`, in its order; else the first few."""
    path = Path("metrics") / f"{name}.json"
    main = read_json(path).get("main", []) if path.is_file() else []
    every = _evaluation(name).get("metrics", {})
    metrics = {key: number for key, number in every.items() if isinstance(number, int | float)}
    chosen = [key for key in main if key in metrics] or list(metrics)[:MAX_MAIN]
    return {key: float(metrics[key]) for key in chosen}


def model_card(loaded: Params, name: str, commit: str, date: str) -> str:
    """README.md of a model: YAML header as Hugging Face reads it, then sections."""
    drawn, settings, snapshot = (
        name in loaded.draw,
        loaded.datasets[name],
        read_json(Path("models") / name / "snapshot.json"),
    )
    value = provenance(loaded, name, commit)
    networks = list(map(pretrained.line, value["licence"]["pretrained"]))
    header: dict[str, Any] = (
        {"license": "apache-2.0"}
        if drawn
        else {
            "license": "other",
            "license_name": "lsun-research-use",
            "license_link": LSUN_LICENCE,
        }
    )
    header |= {
        "library_name": "textgan",
        "pipeline_tag": "text-to-image",
        "language": list(settings.pairs.languages),
        "tags": ["gan", "text-to-image", "lsun-format", "drawn-data" if drawn else "lsun"],
        "model-index": [{"name": f"textgan-{name}", "results": _results(name, drawn)}],
    }
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000).rstrip(),
        "---",
        f"# textgan {name}",
        "",
        f"A text-to-image GAN for {snapshot.get('width', '?')}x{snapshot.get('height', '?')} pictures; its generator is"
        f" trained from scratch on the dataset `{name}` (exports {', '.join(settings.exports)}), prompts in"
        f" {' and '.join({'en': 'English', 'es': 'Spanish'}[code] for code in settings.pairs.languages)}.",
        "",
        f"**{DRAWN if drawn else PHOTOS}**",
        "",
        "## Use",
        "",
        "```sh",
        f'textgan sample --model models/{name} --prompt "a red car" --seeds 0-7 --out build/red.png',
        "```",
        "",
        "Weights are safetensors, the rest is JSON. Words that `vocabulary.json` does not hold mean nothing to it.",
        "",
        "## Training",
        "",
        f"- commit `{commit}` ({date[:10]}), preset `{loaded.preset}`",
        f"- `textgan reproduce {commit[:12]}` makes it again, with a verdict",
        f"- architecture {settings.train.architecture}, generator {settings.train.generator},"
        f" objective {settings.train.objective},"
        f" {snapshot.get('cur_nimg', 0):,} images shown, seed {settings.train.seed}",
        f"- weights sha256 `{snapshot.get('weights_sha256', 'not recorded')}`",
        *(f"- looks through a frozen network: {text}" for text in networks if "training" in text),
        "",
        "## Data",
        "",
        *(f"- {line}" for line in _data_lines(value)),
        "",
        "## Evaluation",
        "",
        "Each number stands beside its floor (real images in the place of generated ones) or its control, which must"
        " fail.",
        "",
        *_tables(_evaluation(name)),
        "",
        "## Limits",
        "",
        "Research software. It makes pictures of what its training captions name, and of nothing else;"
        " it has no notion of truth, people or safety. It learns what its captions say, with their errors.",
        "",
        "## Licences",
        "",
        f"- code and this card: Apache-2.0\n- training data: {'drawn by this code, Apache-2.0' if drawn else PHOTOS}",
        *(f"- pretrained: {text}" for text in networks),
        "- packages of the environment: `environment/versions.json`",
        "",
    ]
    return "\n".join(lines)


def croissant(loaded: Params, name: str, commit: str, date: str) -> dict[str, Any]:
    """The Croissant description of the built dataset."""
    drawn = name in loaded.draw
    about = DRAWN.replace("training pictures", "pictures") if drawn else PHOTOS.partition(" The pictures")[0]
    return croissant_file.describe(name, about, APACHE if drawn else LSUN_LICENCE, commit, date)


def lint_card(text: str) -> list[str]:
    """What a model card lacks, a line each: header keys, sections, a floor for each number."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    header = yaml.safe_load(match[1]) if match else None
    if not isinstance(header, dict):
        return ["the card must begin with a YAML header between two lines of ---"]
    lines = [
        f"header: {key} is missing"
        for key in ("license", "library_name", "pipeline_tag", "tags")
        if not header.get(key)
    ]
    if header.get("license") == "other" and not header.get("license_name"):
        lines.append("header: license is other; license_name is missing")
    sections = ("Use", "Training", "Data", "Evaluation", "Limits", "Licences")
    return lines + [f"section {name} is missing" for name in sections if f"\n## {name}\n" not in text]


def _results(name: str, drawn: bool) -> list[dict[str, Any]]:
    """The header's `results`; none where nothing was measured, for the format refuses an empty list of metrics."""
    metrics = [{"type": key, "name": key, "value": value} for key, value in main_numbers(name).items()]
    data = {"type": f"textgan-{name}", "name": f"{name}, test split ({'drawn pictures' if drawn else 'LSUN photos'})"}
    return [{"task": {"type": "text-to-image"}, "dataset": data, "metrics": metrics}] if metrics else []


def _tables(value: dict[str, Any]) -> list[str]:
    """Image metrics with floors and ceilings; agreement and retrieval with their controls; else the bare numbers."""
    lines: list[str] = []
    if value.get("numbers"):
        lines += ["| metric | value [95 %] | floor | ceilings | better |", "|---|---|---|---|---|"]
        for row in value["numbers"]:
            span = f" [{_number(row['low'])}, {_number(row['high'])}]" if row.get("low") is not None else ""
            ceilings = ", ".join(f"{key} {_number(each)}" for key, each in row.get("ceilings", {}).items())
            better = "lower" if row["lower_is_better"] else "higher"
            lines.append(
                f"| `{row['name']}` | {_number(row['value'])}{span} | {_number(row['floor'])} | {ceilings} | {better} |"
            )
    facts = (value.get("agreement") or {}).get("facts", [])
    if facts:
        lines += [
            "",
            "| fact asked for in the prompt | right | shuffled prompts | base rate | pictures |",
            "|---|---|---|---|---|",
        ]
        for fact in facts:
            matched, shuffled = fact["matched"]["value"], fact["shuffled"]["value"]
            lines.append(
                f"| {fact['name']} | {matched:.1%} | {shuffled:.1%} | {fact['base_rate']:.1%} | {fact['count']} |"
            )
    found = value.get("retrieval") or {}
    if "generated" in found:
        shown = ", ".join(
            f"{key} {found[key]['value']:.1%}" for key in ("generated", "real", "shuffled") if key in found
        )
        lines += ["", f"Retrieval `{found.get('name', '')}`: {shown}."]
    if not lines:
        metrics = value.get("metrics", {})
        lines = [
            "| metric | value |",
            "|---|---|",
            *(f"| `{key}` | {_number(each)} |" for key, each in metrics.items()),
        ]
    return lines if value else ["Not evaluated."]


def _data_lines(value: dict[str, Any]) -> list[str]:
    """Provenance in words."""
    lines = [value["statement"]]
    if value["draw"]:
        lines.append(f"drawn: {value['draw']['images']:,} of each kind, seed {value['draw']['seed']}")
    for export, counts in sorted(value["exports"].items()):
        lines.append(
            f"export `{export}`: {counts.get('ok', 0):,} entries taken, {counts.get('rejected', 0):,} rejected"
        )
    for path, entry in sorted(value["inputs"].items()):
        lines.append(f"`{path}`: {entry['bytes']:,} bytes, md5 `{entry['md5']}`")
    splits = ", ".join(f"{count:,} {split}" for split, count in value["images"]["splits"].items())
    return [*lines, f"images by split: {splits or 'not built'}; captions from `{value['captioner']}`"]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "not computed"


def _evaluation(name: str) -> dict[str, Any]:
    """What evaluate wrote of a dataset; empty where it has not run."""
    for path in (Path("data/evaluation") / name / "metrics.json", Path("metrics") / f"{name}.json"):
        if path.is_file():
            return read_json(path)
    return {}

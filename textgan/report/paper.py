"""Tables for the paper: booktabs LaTeX in Spanish and English, every number generated.

Method and experiments are here, results in `paper_results`; what it cost depends on the machine (`cost`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textgan.params import DatasetParams, Params
from textgan.report.figures import write_figures
from textgan.report.latex import NOTHING, booktabs, code, interval, local, share
from textgan.report.paper_results import results_tables
from textgan.report.paper_words import VALUES, WORDS, escape, word
from textgan.report.results import Results


def write_paper(results: Sequence[Results], params: Params, out: Path) -> None:
    """method-, experiments- and results-D-LANGUAGE.tex for every dataset, and the figures."""
    for result in results:
        for language in WORDS:
            sections = {
                "method": [settings_table(params.datasets[result.name], language)],
                "experiments": [
                    data_table(result, language),
                    captions_table(result, language),
                    protocol_table(result, language),
                    names_table(result, language),
                ],
                "results": results_tables(result, language),
            }
            for section, tables in sections.items():
                (out / f"{section}-{result.name}-{language}.tex").write_text("\n".join(tables), encoding="utf-8")
    write_figures(results, out)


def settings_table(params: DatasetParams, language: str) -> str:
    """Every parameter of the training: the method as it ran."""
    rows = [[code(key), _plain(value, language)] for key, value in asdict(params.train).items()]
    return booktabs([word("parameter", language), word("value", language)], rows, "lr")


def data_table(result: Results, language: str) -> str:
    """Images and captions of each split."""
    words, images, pairs = WORDS[language], result.images, result.pairs
    if not images:
        return "% not computed\n"
    head = [words[key] for key in ("split", "images", "captions", "distinct", "length")]
    rows = []
    for split, entry in images["splits"].items():
        said = (pairs or {}).get("splits", {}).get(split, {})
        mean = said.get("words_per_caption", {}).get("mean")
        cells = [str(said.get(key, "--")) for key in ("captions", "distinct_captions")]
        rows.append(
            [words.get(split, split), str(entry["images"]), *cells, "--" if mean is None else local(mean, language)]
        )
    rejected = sum(images["rejected"].values())
    rows.append([words["rejected"], str(rejected), "", "", ""])
    return booktabs(head, rows, "lrrrr")


def captions_table(result: Results, language: str) -> str:
    """What captions say: of how many images, and how far a look at the pixels bears it out."""
    record = result.captions
    if not record:
        return "% not computed\n"
    pixels = (record.get("pixels") or {}).get("facts") or {}
    rows = []
    for name, entry in record["facts"].items():
        seen = pixels.get(name)
        bounds = {"low": seen["precision_low"], "high": seen["precision_high"]} if seen else {}
        right = seen["precision"] if seen else entry.get("precision")
        rows.append(
            [
                word(name, language),
                str(entry["said"]),
                share(entry["coverage"], language),
                NOTHING if right is None else share(right, language),
                interval(bounds, language, share) if bounds else NOTHING,
                str(seen["said"]) if seen else NOTHING,
            ]
        )
    head = [word(key, language) for key in ("fact", "images", "said_of", "borne_out", "interval", "n")]
    return booktabs(head, rows, "lrrrrr")


def protocol_table(result: Results, language: str) -> str:
    """What each group of numbers was made from."""
    rows = [
        [
            word(one["name"], language),
            str(one["data"]["generated_images"]),
            str(one["data"].get("real_images", NOTHING)),
            code(one["sha"]),
        ]
        for one in result.value.get("fingerprint_index", [])
    ]
    head = [word(key, language) for key in ("numbers", "generated", "real", "fingerprint")]
    return booktabs(head, rows, "lrrl")


def names_table(result: Results, language: str) -> str:
    """Every metric by its name, which is its protocol, with the fingerprint of its data."""
    prints = {name: one["sha"] for one in result.value.get("fingerprint_index", []) for name in one["metrics"]}
    rows = [
        [
            code(name),
            NOTHING if value is None else local(value, language),
            code(prints[name]) if name in prints else NOTHING,
        ]
        for name, value in result.metrics.items()
    ]
    return booktabs([word(key, language) for key in ("name", "value", "fingerprint")], rows, "lrl")


def _plain(value: Any, language: str) -> str:
    """A parameter's value: yes or no, a number as it was written, or its name in this language."""
    if isinstance(value, bool):
        return word("yes" if value else "no", language)
    if value is None:
        return NOTHING
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return escape(VALUES.get(language, {}).get(value, text))
    return text.replace(".", ",") if language == "es" and isinstance(value, float) else escape(text)

"""What the result cost, for the paper: seconds of the stages and the machine. No DVC out, for it holds times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from textgan.report.latex import NOTHING, booktabs, local
from textgan.report.paper_words import WORDS, escape, word
from textgan.report.times import StageTime

FACTS = {
    "es": {
        "processor": "procesador", "cores": "núcleos", "memory": "memoria", "GPU": "GPU", "system": "sistema",
        "commit": "commit", "none": "ninguna", "unknown": "desconocida",
    },
}  # fmt: skip
"""Names and values of the machine's facts; in English they are the page's own."""
TOLD = ("commit", "processor", "cores", "memory", "GPU", "system")


def write_cost(stages: Sequence[StageTime], machine: Mapping[str, str], out: Path) -> None:
    """cost-LANGUAGE.tex: a table of the stages' seconds, one of the hardware."""
    for language in WORDS:
        tables = [times_table(stages, language), hardware_table(machine, language)]
        (out / f"cost-{language}.tex").write_text("\n".join(tables), encoding="utf-8")


def times_table(stages: Sequence[StageTime], language: str) -> str:
    """Seconds a stage; those that were only restored show what the commit's own run took, and are not summed."""
    rows = [
        [
            escape(stage.name),
            NOTHING if stage.seconds is None else local(stage.seconds, language),
            word("ran" if stage.ran else "restored", language),
        ]
        for stage in stages
    ]
    total = sum(stage.seconds or 0.0 for stage in stages if stage.ran)
    rows.append([word("all_ran", language), local(total, language), ""])
    return booktabs([word(key, language) for key in ("stage", "seconds", "how")], rows, "lrl")


def hardware_table(machine: Mapping[str, str], language: str) -> str:
    """Processor, memory, GPU."""
    names = FACTS.get(language, {})
    rows = [[names.get(key, key), escape(names.get(machine[key], machine[key]))] for key in TOLD if key in machine]
    return booktabs([word("hardware", language), ""], rows, "ll")

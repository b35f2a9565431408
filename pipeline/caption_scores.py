"""Captions against labels: for every fact, how often it is said and how often it is right."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgan.errors import UserError
from textgan.facts.schema import VALUES

Z = 1.959964
"""Normal quantile of a two-sided interval of 95 %."""
COLUMNS = {"coat": "colour"}
"""Label columns that name a fact in another way."""
SYNONYMS = {
    "colour": {"beige": "cream", "gray": "grey", "ginger": "orange", "violet": "purple"},
    "body": {"minivan": "van", "truck": "pickup"},
    "side": {"center": "centre"},
}
"""Label values that name a fact's value in another way."""
NO_LABEL = frozenset({"", "unclear", "unknown"})
"""What a labeller writes who does not know; a claim about such a photo is not counted."""

Labels = dict[str, dict[str, frozenset[str]]]
"""Key -> fact -> accepted values. A value outside the schema (`mixed`) makes every claim wrong."""


@dataclass(slots=True)
class Score:
    """Counts of one fact over labelled pictures."""

    labelled: int = 0
    said: int = 0
    right: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Counts, coverage, precision and its Wilson interval of 95 % (null where nothing is said)."""
        low, high = wilson(self.right, self.said)
        return {
            "labelled": self.labelled,
            "said": self.said,
            "right": self.right,
            "coverage": round(self.said / self.labelled, 4) if self.labelled else None,
            "precision": round(self.right / self.said, 4) if self.said else None,
            "precision_low": round(low, 4),
            "precision_high": round(high, 4),
        }


def wilson(right: int, total: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of 95 % for a share; of nothing, it may be anything."""
    if total == 0:
        return 0.0, 1.0
    share, spread = right / total, Z * Z / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def read_labels(path: Path) -> Labels:
    """Labels by key: a column `key`, a column for each fact, `FACT_alt` for other accepted values (`a|b`).

    Columns that name no fact are left alone. Raises UserError with file, row and rule.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8") from None
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns, rows = list(reader.fieldnames or []), list(reader)
    except csv.Error as error:
        raise UserError(f"{path}: not CSV: {error}") from None
    facts = {column: COLUMNS.get(column, column) for column in columns if COLUMNS.get(column, column) in VALUES}
    if "key" not in columns or not facts:
        wanted = f"key and one or more of {', '.join([*VALUES, *COLUMNS])}"
        raise UserError(f"{path}: row 1 has the columns {', '.join(columns)}; it must have {wanted}")
    labels: Labels = {}
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise UserError(f"{path}: row {number} has another number of columns than row 1")
        key = row["key"].strip()
        if not key or key in labels:
            raise UserError(f"{path}: row {number} has the key {key!r}; keys must be there, and once")
        labels[key] = {}
        for column, fact in facts.items():
            if row[column].strip() not in NO_LABEL:
                names = [row[column], *(row.get(f"{column}_alt") or "").split("|")]
                accepted = {SYNONYMS.get(fact, {}).get(name.strip(), name.strip()) for name in names}
                labels[key][fact] = frozenset(accepted - {""})
    return labels


def score(claims: Iterable[tuple[Iterable[str], Mapping[str, str]]], labels: Labels) -> dict[str, Score]:
    """Scores by fact; a picture's claims are (the names it goes by in labels, fact -> value)."""
    scores: dict[str, Score] = defaultdict(Score)
    for names, facts in claims:
        accepted = next((labels[name] for name in names if name in labels), None)
        for fact, values in (accepted or {}).items():
            entry = scores[fact]
            entry.labelled += 1
            if fact in facts:
                entry.said += 1
                entry.right += facts[fact] in values
    return dict(sorted(scores.items()))


def table(scores: Mapping[str, Score]) -> str:
    """The scores as text, one fact a line."""
    lines = [
        f"{'fact':<16} {'labelled':>8} {'said':>6} {'coverage':>8} {'right':>6} {'precision':>9}  interval of 95 %"
    ]
    for fact, entry in scores.items():
        values = entry.as_dict()
        coverage = f"{values['coverage']:.1%}" if values["coverage"] is not None else "-"
        precision = f"{values['precision']:.1%}" if values["precision"] is not None else "-"
        interval = f"{values['precision_low']:.3f}-{values['precision_high']:.3f}" if entry.said else "-"
        lines.append(
            f"{fact:<16} {entry.labelled:>8} {entry.said:>6} {coverage:>8} {entry.right:>6} {precision:>9}  {interval}"
        )
    return "\n".join(lines)

"""Pieces of LaTeX: a table with rules, numbers with a comma or a point, shares, intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textgan.report.paper_words import escape

NOTHING = "--"
"""A cell of what was not measured."""


def booktabs(head: Sequence[str], rows: Sequence[Sequence[str]], columns: str) -> str:
    """A tabular with top, middle and bottom rules."""
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", " & ".join(head) + " \\\\", "\\midrule"]
    lines += [" & ".join(row) + " \\\\" for row in rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def local(value: float, language: str) -> str:
    """Three significant digits with their zeros; a decimal comma in Spanish."""
    if value == 0:
        text = "0"
    elif 1e-3 <= abs(value) < 1e4:
        text = f"{value:#.3g}".removesuffix(".") if abs(value) < 1e3 else f"{value:.0f}"
    else:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa} \\cdot 10^{{{int(exponent)}}}"
    mathematical = "cdot" in text or value < 0  # in text, a minus would be a hyphen
    text = text.replace(".", "{,}" if mathematical else ",") if language == "es" else text
    return f"${text}$" if mathematical else text


def share(value: float, language: str) -> str:
    """Per cent with one decimal."""
    text = f"{100 * value:.1f} \\%"
    return text.replace(".", ",") if language == "es" else text


def interval(entry: Mapping[str, Any], language: str, write: Callable[[float, str], str] = local) -> str:
    """`[0,593; 0,672]`."""
    return f"[{write(entry['low'], language)}; {write(entry['high'], language)}]"


def code(text: str) -> str:
    """A name in the typewriter's font."""
    return f"\\texttt{{{escape(text)}}}"

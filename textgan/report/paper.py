"""Tables for the paper: booktabs LaTeX in Spanish and English, every number generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textgan.params import Params
from textgan.report.results import Results

WORDS = {
    "en": {
        "metric": "Metric", "value": "Value", "interval": "95 \\% interval", "floor": "Floor", "fact": "Fact",
        "right": "Right", "shuffled": "Shuffled", "base": "Base rate", "real": "Real pictures", "n": "$n$",
        "kid": "KID", "fd": "Fréchet distance", "recall": "Recall", "coverage": "Coverage",
        "precision": "Precision", "density": "Density", "worst": "Blurred",
        "kind": "Kind", "colour": "Colour", "background": "Background", "side": "Side", "framing": "Framing",
    },
    "es": {
        "metric": "Métrica", "value": "Valor", "interval": "Intervalo del 95 \\%", "floor": "Suelo",
        "fact": "Atributo", "right": "Aciertos", "shuffled": "Permutados", "base": "Tasa base",
        "real": "Imágenes reales", "n": "$n$",
        "kid": "KID", "fd": "Distancia de Fréchet", "recall": "Exhaustividad", "coverage": "Cobertura",
        "precision": "Precisión", "density": "Densidad", "worst": "Desenfocadas",
        "kind": "Tipo", "colour": "Color", "background": "Fondo", "side": "Posición", "framing": "Encuadre",
    },
}  # fmt: skip


def write_paper(results: Sequence[Results], params: Params, out: Path) -> None:
    """tables-D-LANGUAGE.tex for every dataset."""
    for result in results:
        for language in WORDS:
            text = image_table(result, language) + "\n" + agreement_table(result, language)
            (out / f"tables-{result.name}-{language}.tex").write_text(text, encoding="utf-8")


def image_table(result: Results, language: str) -> str:
    """Image metrics with interval, floor and the ceiling of blur."""
    words = WORDS[language]
    head = [words["metric"], words["value"], words["interval"], words["floor"], words["worst"]]
    rows = [
        [
            f"{words[entry['what']]} ({entry['extractor']})",
            local(entry["value"], language),
            f"[{local(entry['low'], language)}; {local(entry['high'], language)}]",
            local(entry["floor"], language),
            local(entry["ceilings"]["blurred"], language),
        ]
        for entry in result.value["numbers"]
    ]
    return booktabs(head, rows, "lrrrr")


def agreement_table(result: Results, language: str) -> str:
    """Facts measured again, with the control."""
    agreed = result.value.get("agreement")
    if not agreed:
        return "% not computed\n"
    words = WORDS[language]
    head = [words[key] for key in ("fact", "right", "interval", "shuffled", "base", "real", "n")]
    rows = [
        [
            words.get(fact["name"], fact["name"]),
            share(fact["matched"]["value"], language),
            f"[{share(fact['matched']['low'], language)}; {share(fact['matched']['high'], language)}]",
            share(fact["shuffled"]["value"], language),
            share(fact["base_rate"], language),
            share(agreed["real"][fact["name"]]["value"], language) if fact["name"] in agreed["real"] else "--",
            str(fact["count"]),
        ]
        for fact in agreed["facts"]
    ]
    return booktabs(head, rows, "lrrrrrr")


def booktabs(head: Sequence[str], rows: Sequence[Sequence[str]], columns: str) -> str:
    """A tabular with top, middle and bottom rules."""
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", " & ".join(head) + " \\\\", "\\midrule"]
    lines += [" & ".join(row) + " \\\\" for row in rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def local(value: float, language: str) -> str:
    """Three significant digits; a decimal comma in Spanish."""
    text = f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        text = f"${mantissa} \\cdot 10^{{{int(exponent)}}}$"
    return text.replace(".", "{,}" if "$" in text else ",") if language == "es" else text


def share(value: float, language: str) -> str:
    """Per cent with one decimal."""
    text = f"{100 * value:.1f} \\%"
    return text.replace(".", ",") if language == "es" else text

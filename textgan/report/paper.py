"""Tables for the paper: booktabs LaTeX in Spanish and English, every number generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textgan.params import DatasetParams, Params
from textgan.report.figures import write_figures
from textgan.report.results import Results

WORDS = {
    "en": {
        "metric": "Metric", "value": "Value", "interval": "95 \\% interval", "floor": "Floor", "fact": "Fact",
        "right": "Right", "shuffled": "Shuffled", "base": "Base rate", "real": "Real pictures", "n": "$n$",
        "kid": "KID", "fd": "Fréchet distance", "recall": "Recall", "coverage": "Coverage",
        "precision": "Precision", "density": "Density", "worst": "Blurred",
        "parameter": "Parameter", "split": "Split", "images": "Images", "captions": "Captions",
        "distinct": "Distinct", "length": "Words a caption", "rejected": "rejected", "numbers": "Numbers",
        "generated": "Generated", "fingerprint": "Data fingerprint", "pairs": "Pairs", "rprecision": "R-precision",
        "yes": "yes", "no": "no", "chance": "Chance (95 \\%)",
        "kind": "Kind", "colour": "Colour", "background": "Background", "side": "Side", "framing": "Framing",
        "lite2": "Lite2", "patches8": "patches", "agreement": "Facts", "retrieval": "R-precision",
        "latent": "Latent space", "generated_pairs": "Generated images", "shuffled_pairs": "Captions shuffled",
    },
    "es": {
        "metric": "Métrica", "value": "Valor", "interval": "Intervalo del 95 \\%", "floor": "Suelo",
        "fact": "Atributo", "right": "Aciertos", "shuffled": "Permutados", "base": "Tasa base",
        "real": "Imágenes reales", "n": "$n$",
        "kid": "KID", "fd": "Distancia de Fréchet", "recall": "Exhaustividad", "coverage": "Cobertura",
        "precision": "Precisión", "density": "Densidad", "worst": "Desenfocadas",
        "parameter": "Parámetro", "split": "Partición", "images": "Imágenes", "captions": "Descripciones",
        "distinct": "Distintas", "length": "Palabras por descripción", "rejected": "rechazadas", "numbers": "Números",
        "generated": "Generadas", "fingerprint": "Huella de los datos", "pairs": "Pares", "rprecision": "R-precisión",
        "yes": "sí", "no": "no", "chance": "Azar (95 \\%)",
        "kind": "Tipo", "colour": "Color", "background": "Fondo", "side": "Posición", "framing": "Encuadre",
        "train": "entrenamiento", "select": "selección", "test": "prueba",
        "lite2": "Lite2", "patches8": "parches", "agreement": "Atributos", "retrieval": "R-precisión",
        "latent": "Espacio latente", "generated_pairs": "Imágenes generadas", "shuffled_pairs": "Permutadas",
    },
}  # fmt: skip


def write_paper(results: Sequence[Results], params: Params, out: Path) -> None:
    """method-, experiments- and results-D-LANGUAGE.tex for every dataset, and the figures."""
    for result in results:
        for language in WORDS:
            sections = {
                "method": [settings_table(params.datasets[result.name], language)],
                "experiments": [data_table(result, language), protocol_table(result, language)],
                "results": [
                    image_table(result, language),
                    agreement_table(result, language),
                    retrieval_table(result, language),
                ],
            }
            for section, tables in sections.items():
                (out / f"{section}-{result.name}-{language}.tex").write_text("\n".join(tables), encoding="utf-8")
    write_figures(results, out)


def settings_table(params: DatasetParams, language: str) -> str:
    """Every parameter of the training: the method as it ran."""
    words = WORDS[language]
    rows = [[f"\\texttt{{{tex(key)}}}", tex(_plain(value, language))] for key, value in asdict(params.train).items()]
    return booktabs([words["parameter"], words["value"]], rows, "lr")


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


def protocol_table(result: Results, language: str) -> str:
    """What each group of numbers was made from."""
    words = WORDS[language]
    rows = [
        [
            words.get(one["name"], tex(one["name"])),
            str(one["data"]["generated_images"]),
            str(one["data"].get("real_images", "--")),
            f"\\texttt{{{one['sha']}}}",
        ]
        for one in result.value.get("fingerprint_index", [])
    ]
    return booktabs([words["numbers"], words["generated"], words["real"], words["fingerprint"]], rows, "lrrl")


def retrieval_table(result: Results, language: str) -> str:
    """R-precision between real pairs and shuffled prompts."""
    found = result.value.get("retrieval")
    if not found:
        return "% not computed\n"
    words = WORDS[language]
    rows = [
        [
            words[label],
            share(found[key]["value"], language),
            f"[{share(found[key]['low'], language)}; {share(found[key]['high'], language)}]",
        ]
        for key, label in (("real", "real"), ("generated", "generated_pairs"), ("shuffled", "shuffled_pairs"))
    ]
    return booktabs([words["pairs"], words["rprecision"], words["interval"]], rows, "lrr")


def image_table(result: Results, language: str) -> str:
    """Image metrics with interval, floor and the ceiling of blur."""
    words = WORDS[language]
    head = [words["metric"], words["value"], words["interval"], words["floor"], words["worst"]]
    rows = [
        [
            f"{words[entry['what']]} ({words.get(entry['extractor'], entry['extractor'])})",
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
    head = [words[key] for key in ("fact", "right", "interval", "shuffled", "chance", "base", "real", "n")]
    rows = [
        [
            words.get(fact["name"], fact["name"]),
            share(fact["matched"]["value"], language),
            f"[{share(fact['matched']['low'], language)}; {share(fact['matched']['high'], language)}]",
            share(fact["shuffled"]["value"], language),
            f"[{share(fact['chance']['low'], language)}; {share(fact['chance']['high'], language)}]",
            share(fact["base_rate"], language),
            share(agreed["real"][fact["name"]]["value"], language) if fact["name"] in agreed["real"] else "--",
            str(fact["count"]),
        ]
        for fact in agreed["facts"]
    ]
    return booktabs(head, rows, "lrrrrrrr")


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


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(f"\\{character}" if character in "_%&#$" else character for character in text)


def _plain(value: Any, language: str) -> str:
    """A parameter's value: yes or no, a number as it was written, or its name."""
    if isinstance(value, bool):
        return WORDS[language]["yes" if value else "no"]
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text.replace(".", ",") if language == "es" and isinstance(value, float) else text

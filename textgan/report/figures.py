"""Figures of the paper as PDF and PNG: the same bytes for the same results (no dates, fonts that matplotlib brings)."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgan.files import STATE
from textgan.report.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
COLOURS = ("#0b6e5f", "#b4531a", "#4a5fb0", "#9a3f7b", "#7a7a1c", "#555555")
CURVES = ("d_loss", "g_loss", "choice_right", "fake_choice_right")
WORDS = {
    "en": {
        "right": "right, %", "own": "own prompt", "chance": "chance (95 %)", "asked": "asked", "seen": "seen",
        "kimg": "thousand images shown", "d_loss": "loss of D", "g_loss": "loss of G",
        "choice_right": "own caption picked, real", "fake_choice_right": "own caption picked, generated",
        "kind": "kind", "colour": "colour", "background": "background", "side": "side", "framing": "framing",
        "none": "nothing",
    },
    "es": {
        "right": "aciertos, %", "own": "descripción propia", "chance": "azar (95 %)", 
        "asked": "pedido", "seen": "visto",
        "kimg": "miles de imágenes mostradas", "d_loss": "pérdida de D", "g_loss": "pérdida de G",
        "choice_right": "elige su descripción, reales", "fake_choice_right": "elige su descripción, generadas",
        "kind": "tipo", "colour": "color", "background": "fondo", "side": "posición", "framing": "encuadre",
        "none": "nada", "black": "negro", "white": "blanco", "grey": "gris", "silver": "plateado", "brown": "marrón",
        "cream": "crema", "orange": "naranja", "red": "rojo", "yellow": "amarillo", "green": "verde", "blue": "azul",
        "purple": "morado", "pink": "rosa", "decimal": ",",
    },
}  # fmt: skip


def write_figures(results: Sequence[Results], out: Path) -> list[str]:
    """curves-D-LANGUAGE, facts-..., confusion-..., samples-..., each as .pdf and .png; none of what has no data."""
    os.environ.setdefault("MPLCONFIGDIR", str((STATE / "matplotlib").resolve()))  # nothing into the user's home
    names = []
    drawings: dict[str, Callable[[Results, dict[str, str]], Figure | None]] = {
        "curves": curves, "facts": facts, "confusion": confusion, "samples": samples,
    }  # fmt: skip
    for result in results:
        for language, words in WORDS.items():
            for what, draw in drawings.items():
                figure = draw(result, words)
                if figure is None:
                    continue
                names.append(f"{what}-{result.name}-{language}")
                save(figure, out / names[-1])
    return names


def save(figure: Figure, stem: Path) -> None:
    """Both formats, without the date and the program's version."""
    bare: dict[str, Any] = {"Creator": None, "Producer": None, "CreationDate": None}
    figure.savefig(stem.with_suffix(".pdf"), metadata=bare, bbox_inches="tight")
    figure.savefig(stem.with_suffix(".png"), metadata={"Software": None}, dpi=DPI, bbox_inches="tight")


def empty(width: float, height: float) -> Figure:
    """A figure in inches, drawn without a screen."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {"font.size": 8, "font.family": "DejaVu Sans", "pdf.fonttype": 42, "axes.spines.top": False,
         "axes.spines.right": False, "axes.linewidth": 0.6}
    )  # fmt: skip
    return Figure(figsize=(width, height), layout="constrained")


def curves(result: Results, words: dict[str, str]) -> Figure | None:
    """The training: losses, and how often the own caption is picked."""
    columns = [name for name in CURVES if name in result.curve]
    if not columns:
        return None
    figure = empty(6.2, 2.2)
    groups = [[name for name in columns if name.endswith("loss")], [name for name in columns if "choice" in name]]
    groups = [group for group in groups if group]
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for number, name in enumerate(group):
            axes.plot(*zip(*result.curve[name], strict=True), color=COLOURS[number], linewidth=1, label=words[name])
        axes.set_xlabel(words["kimg"])
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace(".", words.get("decimal", ".")))
        axes.legend(frameon=False)
    return figure


def facts(result: Results, words: dict[str, str]) -> Figure | None:
    """Right shares with intervals, and the interval of chance behind them."""
    agreed = result.value.get("agreement")
    if not agreed or not agreed["facts"]:
        return None
    figure = empty(3.4, 2.2)
    axes = figure.subplots()
    for place, fact in enumerate(agreed["facts"]):
        own, chance = fact["matched"], fact["chance"]
        once = place == 0
        axes.bar(
            place, 100 * (chance["high"] - chance["low"]), 0.9, 100 * chance["low"], color=COLOURS[1], alpha=0.45,
            label=words["chance"] if once else None,
        )  # fmt: skip
        reach = [[100 * (own["value"] - own["low"])], [100 * (own["high"] - own["value"])]]
        axes.errorbar(
            [place], [100 * own["value"]], reach, fmt="o", color=COLOURS[0], markersize=4, capsize=2,
            label=words["own"] if once else None,
        )  # fmt: skip
    names = [words.get(fact["name"], fact["name"]) for fact in agreed["facts"]]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_ylim(0, 105)
    axes.set_ylabel(words["right"])
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def confusion(result: Results, words: dict[str, str]) -> Figure | None:
    """Colours asked (rows) and seen (columns), in per cent of the row."""
    agreed = result.value.get("agreement")
    fact = next((one for one in agreed["facts"] if one["name"] == "colour"), None) if agreed else None
    if fact is None:
        return None
    figure = empty(3.6, 3.2)
    axes = figure.subplots()
    shares = [[100 * cell / max(1, sum(row)) for cell in row] for row in fact["confusion"]]
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=100)
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            if share >= 0.5:
                axes.text(x, y, f"{share:.0f}", ha="center", va="center", fontsize=6, color="w" if share > 55 else "k")
    names = [words.get(value.strip("()"), value) for value in fact["values"]]
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=6)
    axes.set_yticks(range(len(shares)), names[: len(shares)], fontsize=6)
    axes.set_xlabel(words["seen"])
    axes.set_ylabel(words["asked"])
    return figure


def samples(result: Results, words: dict[str, str]) -> Figure | None:
    """The grid of prompts and seeds, every prompt in its own language."""
    from matplotlib.image import imread

    sheet = result.value["sheets"].get("grid")
    if not sheet:
        return None
    figure = empty(6.2, 0.6 * len(sheet["files"]))
    figure.set_layout_engine("constrained", h_pad=0.01, hspace=0)
    for axes, name, text in zip(
        figure.subplots(len(sheet["files"]), 1, squeeze=False)[:, 0], sheet["files"], sheet["texts"], strict=True
    ):
        axes.imshow(imread(result.directory / name), interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(
            "\n".join(textwrap.wrap(text, 44)), rotation=0, ha="right", va="center", fontsize=6, parse_math=False
        )
    return figure

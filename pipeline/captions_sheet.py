"""The command `textgan captions-sheet`: images with their captions on one page, for people to judge."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textgan.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

CELL_PX, TEXT_PX, COLUMNS = 200, 66, 6
RIGHT, WRONG, UNJUDGED = "#1a7f37", "#cf222e", "#24292f"


@dataclass(frozen=True, slots=True)
class Card:
    """One image, its caption, and whether its claims are right (None: not labelled)."""

    picture: Image.Image
    """Upright, of at most CELL_PX."""
    caption: str
    verdict: bool | None
    note: str


def captions_sheet(
    directory: Annotated[Path, typer.Argument(help="a directory of images, or a dataset of data/images by its path")],
    out: Annotated[Path, typer.Option(help="the PNG to write")],
    labels: Annotated[Path | None, typer.Option(help="label CSV: wrong claims are marked and counted")] = None,
    kind: Annotated[str | None, typer.Option(help="cat or car, where the directory does not tell")] = None,
    limit: Annotated[int, typer.Option(min=1, max=600, help="at most this many images, drawn by seed")] = 48,
    seed: Annotated[int, typer.Option(help="seed of the draw")] = 0,
) -> None:
    """Draw images with their captions; with labels, say which claims are right."""
    from pipeline import caption_scores

    if out.suffix.lower() != ".png" or not out.parent.is_dir():
        raise UserError(f"--out is {out}; it must be a file that ends in .png, in a directory that is there")
    wanted = caption_scores.read_labels(labels) if labels else {}
    found = _from_dataset(directory, seed, limit) if (directory / "manifest.json").exists() else None
    if found is None:
        found = _from_files(directory, kind, seed, limit)
    if wanted and not any(name in wanted for _picture, names, _facts, _text in found for name in names):
        raise UserError(f"{labels}: none of its {len(wanted)} keys is among the images drawn from {directory}")
    cards, claims = [], []
    for picture, names, facts, text in found:
        accepted = next((wanted[name] for name in names if name in wanted), None)
        judged = {fact: facts[fact] in accepted[fact] for fact in facts if accepted is not None and fact in accepted}
        wrong = [f"{fact} {facts[fact]}" for fact, is_right in judged.items() if not is_right]
        cards.append(Card(picture, text or "(silent)", all(judged.values()) if judged else None, ", ".join(wrong)))
        claims.append((names, facts))
    _draw(cards).save(out)
    print(f"{out}: {len(cards)} images")
    if wanted:
        print(caption_scores.table(caption_scores.score(claims, wanted)))


Found = list[tuple["Image.Image", tuple[str, ...], dict[str, str], str]]
"""Picture, the names it goes by in labels, facts, caption."""


def _from_files(directory: Path, kind: str | None, seed: int, limit: int) -> Found:
    from pipeline.caption_files import measure_files, pictures_in, read_pixels
    from textgan.facts.wording import realise
    from textgan.seeds import derive_seed

    paths = sorted(pictures_in(directory), key=lambda path: derive_seed(seed, "sheet", path.name))[:limit]
    found: Found = []
    for path, claims in zip(paths, measure_files(paths, kind), strict=True):
        facts = {fact.name: fact.value for fact in claims.facts}
        texts = realise(facts, "en", derive_seed(seed, "caption", "en", path.name), 1)
        found.append((_thumbnail(read_pixels(path)), (path.stem, path.name), facts, texts[0] if texts else ""))
    return found


def _from_dataset(images: Path, seed: int, limit: int) -> Found:
    """The test split of data/images/D with data/captions/D."""
    from pyarrow import parquet

    from pipeline import imaging
    from pipeline.captions import MAX_PIXELS, OUT, members, shard_files
    from textgan.seeds import derive_seed

    rows = []
    for path in shard_files(OUT / images.name):
        if path.name.startswith("test-"):
            for row in parquet.read_table(path).to_pylist():
                rows.append(row | {"shard": images / f"{path.stem}.tar"})
    if not rows:
        raise UserError(f"{OUT / images.name}: has no test split")
    rows = sorted(rows, key=lambda row: derive_seed(seed, "sheet", row["sample_key"]))[:limit]
    wanted = {row["sample_key"] for row in rows}
    encoded: dict[str, bytes] = {}
    for shard in sorted({row["shard"] for row in rows}):
        encoded |= {key: value for key, value in members(shard) if key in wanted}
    return [
        (
            _thumbnail(imaging.decode(encoded[row["sample_key"]], MAX_PIXELS)),
            (row["sample_key"], row["lmdb_key"].decode("utf-8", "replace")),
            {fact["name"]: fact["value"] for fact in row["facts"]},
            row["captions_en"][0] if row["captions_en"] else "",
        )
        for row in rows
    ]


def _thumbnail(pixels: np.ndarray) -> Image.Image:  # uint8 [H,W,3]
    from PIL import Image

    picture = Image.fromarray(pixels)
    scale = CELL_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _draw(cards: Sequence[Card]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(cards) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL_PX + 8), rows * (CELL_PX + TEXT_PX)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for idx, card in enumerate(cards):
        x, y = idx % COLUMNS * (CELL_PX + 8), idx // COLUMNS * (CELL_PX + TEXT_PX)
        sheet.paste(card.picture, (x + 4, y + 4))
        ink = UNJUDGED if card.verdict is None else RIGHT if card.verdict else WRONG
        lines = textwrap.wrap(card.caption, 34)[:3]
        lines += textwrap.wrap(f"wrong: {card.note}", 34)[:1] if card.note else []
        draw.multiline_text((x + 4, y + CELL_PX + 5), "\n".join(lines), fill=ink, font=font, spacing=1)
    return sheet

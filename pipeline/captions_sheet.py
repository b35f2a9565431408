"""The command `textgan captions-sheet`: images with their captions on one page, for people to judge."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from textgan.errors import UserError

CELL_PX, TEXT_PX, COLUMNS = 200, 66, 6
RIGHT, WRONG, UNJUDGED = "#1a7f37", "#cf222e", "#24292f"


@dataclass(frozen=True, slots=True)
class Card:
    """One image, its caption, and whether its claims are right (None: not labelled)."""

    image: Path | bytes
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

    wanted = caption_scores.read_labels(labels) if labels else {}
    found = _from_dataset(directory, seed, limit) if (directory / "manifest.json").exists() else None
    if found is None:
        found = _from_files(directory, kind, seed, limit)
    cards, claims = [], []
    for image, names, facts, text in found:
        accepted = next((wanted[name] for name in names if name in wanted), None)
        judged = {fact: facts[fact] in accepted[fact] for fact in facts if accepted is not None and fact in accepted}
        wrong = [f"{fact} {facts[fact]}" for fact, is_right in judged.items() if not is_right]
        cards.append(Card(image, text or "(silent)", all(judged.values()) if judged else None, ", ".join(wrong)))
        claims.append((names, facts))
    _draw(cards).save(out)
    print(f"{out}: {len(cards)} images")
    if wanted:
        print(caption_scores.table(caption_scores.score(claims, wanted)))


Found = list[tuple[Path | bytes, tuple[str, ...], dict[str, str], str]]
"""Image, the names it goes by in labels, facts, caption."""


def _from_files(directory: Path, kind: str | None, seed: int, limit: int) -> Found:
    from pipeline.caption_files import measure_files, pictures_in
    from textgan.facts.wording import realise
    from textgan.seeds import derive_seed

    paths = sorted(pictures_in(directory), key=lambda path: derive_seed(seed, "sheet", path.name))[:limit]
    found: Found = []
    for path, claims in zip(paths, measure_files(paths, kind), strict=True):
        facts = {fact.name: fact.value for fact in claims.facts}
        texts = realise(facts, "en", derive_seed(seed, "caption", "en", path.name), 1)
        found.append((path, (path.stem, path.name), facts, texts[0] if texts else ""))
    return found


def _from_dataset(images: Path, seed: int, limit: int) -> Found:
    """The test split of data/images/D with data/captions/D."""
    from pyarrow import parquet

    from pipeline.captions import OUT, members, shard_files
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
            encoded[row["sample_key"]],
            (row["sample_key"], row["lmdb_key"].decode("utf-8", "replace")),
            {fact["name"]: fact["value"] for fact in row["facts"]},
            row["captions_en"][0] if row["captions_en"] else "",
        )
        for row in rows
    ]


def _draw(cards: Sequence[Card]):  # type: ignore[no-untyped-def]  # -> PIL.Image.Image
    import io

    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(cards) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL_PX + 8), rows * (CELL_PX + TEXT_PX)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for idx, card in enumerate(cards):
        x, y = idx % COLUMNS * (CELL_PX + 8), idx // COLUMNS * (CELL_PX + TEXT_PX)
        with Image.open(card.image if isinstance(card.image, Path) else io.BytesIO(card.image)) as image:
            picture = image.convert("RGB")
        scale = CELL_PX / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), (x + 4, y + 4))
        ink = UNJUDGED if card.verdict is None else RIGHT if card.verdict else WRONG
        lines = textwrap.wrap(card.caption, 34)[:3]
        lines += textwrap.wrap(f"wrong: {card.note}", 34)[:1] if card.note else []
        draw.multiline_text((x + 4, y + CELL_PX + 5), "\n".join(lines), fill=ink, font=font, spacing=1)
    return sheet

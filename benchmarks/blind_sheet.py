"""Photos to judge before their captions are seen: 48 random test photos that took no part in choosing anything.

Usage: TEXTGAN_LSUN_ROOT=DIR python -m benchmarks.blind_sheet draw OUT.png
       TEXTGAN_LSUN_ROOT=DIR python -m benchmarks.blind_sheet score LABELS.csv
`draw` numbers the photos and prints key by number, without any caption. Whoever looks writes LABELS.csv (`key` and a
column for each fact, see pipeline.caption_scores). `score` then captions the same photos, photo by photo.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline import caption_scores, imaging
from pipeline.captioners import Picture
from pipeline.exports import open_export
from pipeline.ingest import split_of
from textgan import params
from textgan.facts.wording import realise
from textgan.records import sample_key
from textgan.seeds import derive_seed

EXPORTS, PHOTOS, SEED = ("car", "cat"), 48, 0
CELL_PX, COLUMNS, ROWS = 250, 6, 4
PRESET = Path(__file__).parents[1] / "presets/photos-cpu.yaml"


def chosen(root: Path) -> list[tuple[str, bytes]]:
    """(export, LMDB key) of the photos: of the test split, not among the labelled ones, drawn by hash."""
    rules = next(iter(params.load(PRESET).datasets.values())).ingest
    found = []
    for name in EXPORTS:
        labelled = caption_scores.read_labels(root / f"labels-{name}.csv")
        for key, _value in open_export(root / name).items():
            if key.decode() not in labelled and split_of(sample_key(name, key), name, rules) == "test":
                found.append((name, key))
    return sorted(found, key=lambda item: derive_seed(SEED, "blind sheet", sample_key(*item)))[:PHOTOS]


def draw(root: Path, out: Path) -> None:
    """Sheets of 24 numbered photos: OUT-0.png, OUT-1.png."""
    font, photos = ImageFont.load_default(16), chosen(root)
    for start in range(0, len(photos), COLUMNS * ROWS):
        sheet = Image.new("RGB", (COLUMNS * CELL_PX, ROWS * (CELL_PX + 20)), "white")
        brush = ImageDraw.Draw(sheet)
        for place, (name, key) in enumerate(photos[start : start + COLUMNS * ROWS]):
            x, y = place % COLUMNS * CELL_PX, place // COLUMNS * (CELL_PX + 20)
            picture = Image.fromarray(imaging.decode(open_export(root / name).get(key), 1 << 28))
            picture.thumbnail((CELL_PX - 6, CELL_PX - 6), Image.Resampling.LANCZOS)
            brush.text((x + 3, y), str(start + place), fill="black", font=font)
            sheet.paste(picture, (x + 3, y + 20))
            print(f"{start + place},{key.decode()},{name}")
        sheet.save(out.with_name(f"{out.stem}-{start // (COLUMNS * ROWS)}.png"))


def score(root: Path, labels: Path) -> None:
    """Each photo's caption beside its verdict, then counts with intervals."""
    from pipeline.captioners.measured import MeasuredCaptioner
    from pipeline.captioners.probes import shipped_thresholds

    wanted, captioner = caption_scores.read_labels(labels), MeasuredCaptioner(shipped_thresholds())
    claims, clean = [], 0
    photos = chosen(root)
    print("| key | caption | wrong |\n|---|---|---|")
    for name, key in photos:
        pixels = imaging.decode(open_export(root / name).get(key), 1 << 28)
        [said] = captioner.caption([Picture(sample_key(name, key), name, pixels)])
        facts = {fact.name: fact.value for fact in said.facts}
        accepted = wanted[key.decode()]
        wrong = [f"{fact} {value}" for fact, value in facts.items() if value not in accepted.get(fact, {value})]
        clean += not wrong
        claims.append(((key.decode(),), facts))
        caption = realise(facts, "en", derive_seed(SEED, "blind caption", key.decode()), 1)[0]
        print(f"| `{key.decode()[:12]}` | {caption} | {', '.join(wrong)} |")
    print(f"\n{clean} of {len(photos)} captions have no wrong claim ({captioner.name})\n")
    print(caption_scores.table(caption_scores.score(claims, wanted)))


def main() -> None:
    """Draw the sheet, or score the labels."""
    root = os.environ.get("TEXTGAN_LSUN_ROOT")
    if not root or len(sys.argv) != 3 or sys.argv[1] not in ("draw", "score"):
        print("needs photos (set TEXTGAN_LSUN_ROOT) and: draw OUT.png | score LABELS.csv")
        return
    (draw if sys.argv[1] == "draw" else score)(Path(root), Path(sys.argv[2]))


if __name__ == "__main__":
    main()

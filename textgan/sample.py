"""`textgan sample`: a grid of pictures, prompts in rows, seeds in columns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from textgan.errors import UserError


def sample(
    model: Annotated[Path, typer.Option("--model", help="Directory of a snapshot, e.g. models/catcar.")],
    out: Annotated[Path, typer.Option("--out", help="PNG to write.")],
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="A sentence; repeat for more rows.")] = None,
    prompt_file: Annotated[Path | None, typer.Option("--prompt-file", help="A sentence a line.")] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Columns: 0-7, or 1,5,9.")] = "0-7",
    truncation: Annotated[
        float, typer.Option("--truncation", help="1: all variety; 0: the mean picture of a prompt.")
    ] = 1.0,
    scale: Annotated[int, typer.Option("--scale", help="Enlarge pictures so many times.")] = 2,
    unknown: Annotated[str, typer.Option("--unknown", help="Words never seen in training: warn, or error.")] = "warn",
) -> None:
    """Pictures from prompts; the same seed and prompt give the same picture."""
    import json

    from PIL.PngImagePlugin import PngInfo

    import textgan
    from textgan.sampling import generate, load_snapshot, read_prompts
    from textgan.sheets import labelled_sheet
    from textgan.text import Vocabulary, encode_prompt

    prompts = [*(prompt or []), *(_lines(prompt_file) if prompt_file else [])]
    if not prompts:
        raise UserError("textgan sample: no prompt; give --prompt TEXT or --prompt-file FILE")
    if unknown not in ("warn", "error"):
        raise UserError(f"--unknown is {unknown!r}; it must be warn or error")
    if not 1 <= scale <= 32:
        raise UserError(f"--scale is {scale}; it must be between 1 and 32")
    if not 0 <= truncation <= 2:
        raise UserError(f"--truncation is {truncation}; it must be between 0 and 2")
    numbers = parse_seeds(seeds)
    snapshot = load_snapshot(model)
    vocabulary = Vocabulary.load(snapshot.vocabulary_file)
    for text in prompts:
        _check_words(text, vocabulary, unknown, snapshot.settings.text_encoder == "words")
    token_ids = [encode_prompt(text, vocabulary, snapshot.info["max_tokens"]) for text in prompts]
    read = read_prompts(snapshot, prompts, token_ids)
    pictures = generate(
        snapshot,
        [prompt for prompt in read for _seed in numbers],
        numbers * len(prompts),
        truncation=truncation,
    )
    rows = [list(pictures[row * len(numbers) : (row + 1) * len(numbers)]) for row in range(len(prompts))]
    sheet = labelled_sheet(rows, prompts, [str(number) for number in numbers], scale)
    said = PngInfo()
    said.add_text("textgan", textgan.__version__)
    said.add_itxt("prompts", json.dumps(prompts, ensure_ascii=False))
    said.add_text("seeds", json.dumps(numbers))
    said.add_text("truncation", str(truncation))
    said.add_text("model", snapshot.info["weights_sha256"])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out, "PNG", pnginfo=said)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error}") from None
    print(f"{out}: {len(prompts)} prompts x {len(numbers)} seeds, {snapshot.info['width']}x{snapshot.info['height']}")


def parse_seeds(text: str) -> list[int]:
    """`0-7`, `3`, `1,5,9-11` to numbers. Raises UserError."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise UserError(f"--seeds is {text!r}; it must be like 0-7 or 1,5,9")
        numbers += range(int(first), int(last if dash else first) + 1)
        if len(numbers) > 1024:
            raise UserError(f"--seeds is {text!r}; at most 1024 seeds at once")
    return numbers


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _check_words(text: str, vocabulary: object, unknown: str, needed: bool) -> None:
    """Say which words were never seen in training, and which known ones are near; one must be known where `needed`."""
    from textgan.text import Vocabulary, unknown_words, words

    assert isinstance(vocabulary, Vocabulary)
    missing = unknown_words(text, vocabulary)
    if not missing:
        return
    hints = [f"{word} (near: {', '.join(near)})" if near else word for word, near in missing.items()]
    message = f"prompt {text!r}: words that training never saw: {'; '.join(hints)}"
    if unknown == "error" or (needed and len(missing) == len(set(words(text)))):
        raise UserError(message)
    typer.echo(f"warning: {message}", err=True)

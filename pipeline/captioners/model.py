"""The captioner `model`: free captions by a local Hugging Face image-to-text model (extra `model`)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.captioners import Claims, Picture, kind_of_export
from textgan.errors import UserError
from textgan.files import fingerprint, sha256_file
from textgan.text import words

VARIABLE = "TEXTGAN_CAPTION_MODEL"
"""Environment variable that names the directory: places are local, they stand in no parameter."""
MAX_NEW_TOKENS = 40


def model_directory() -> Path:
    """The directory that TEXTGAN_CAPTION_MODEL names. Raises UserError."""
    value = os.environ.get(VARIABLE, "")
    if not value or not (Path(value) / "config.json").is_file():
        raise UserError(f"{VARIABLE} is {value!r}; it must name the directory of a Hugging Face image-to-text model")
    return Path(value)


class ModelCaptioner:
    """One English caption for each picture, greedily decoded; on a GPU where there is one."""

    looks = True

    def __init__(self, directory: Path) -> None:
        """`directory`: config.json, safetensors weights, processor and tokenizer. Nothing is downloaded."""
        try:
            from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
        except ImportError:
            raise UserError("captioner model: transformers is missing; pip install 'textgan[model]'") from None
        try:
            options = {"local_files_only": True, "trust_remote_code": False}
            self.processor = AutoImageProcessor.from_pretrained(directory, **options)
            self.tokenizer = AutoTokenizer.from_pretrained(directory, **options)
            model = AutoModelForImageTextToText.from_pretrained(directory, use_safetensors=True, **options)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{directory}: no image-to-text model: {error}") from None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval()
        self.model.to(device=self.device)
        files = {path.name: sha256_file(path) for path in sorted(directory.iterdir()) if path.is_file()}
        kind = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type", "unknown")
        self.name = f"model/1:{kind}:{fingerprint(files)}"

    def caption(self, pictures: Sequence[Picture]) -> list[Claims]:
        """The caption of each picture, and the kind that its export tells."""
        pixels = [picture.pixels for picture in pictures]
        inputs = self.processor(images=pixels, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            token_ids = self.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1)
        texts = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        claims = []
        for picture, text in zip(pictures, texts, strict=True):
            kind = kind_of_export(picture.export)
            claims.append(Claims((kind,) if kind else (), {"en": [text.strip()]} if words(text) else {}))
        return claims

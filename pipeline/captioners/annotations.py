"""The captioner `annotations`: facts and captions that people, or the drawer, wrote down by key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.captioners import Claims, Picture, kind_of_export
from textgan.errors import UserError
from textgan.facts.schema import Fact
from textgan.facts.wording import LANGUAGES
from textgan.text import words


class AnnotationCaptioner:
    """Says what the annotation of a picture says; without one, only the kind that the export's name tells."""

    name = "annotations/1"
    looks = False

    def __init__(self, annotations: Mapping[str, str], file: str, missing: str) -> None:
        """`annotations`: JSON text by sample key; `file` is named in errors; `missing` is fallback or reject."""
        self.annotations, self.file, self.missing = annotations, file, missing

    def caption(self, pictures: Sequence[Picture]) -> list[Claims]:
        """The claims for each picture. Raises UserError for an annotation that is not one."""
        return [self._claims(picture) for picture in pictures]

    def _claims(self, picture: Picture) -> Claims:
        kind = kind_of_export(picture.export)
        text = self.annotations.get(picture.sample_key)
        if text is None and self.missing == "reject":
            raise UserError(f"{self.file}: {picture.sample_key} has no annotation; captions.missing is reject")
        if text is None:
            return Claims((kind,) if kind else ())
        where = f"{self.file}: {picture.sample_key}"
        annotation = json.loads(text)
        named = _mapping(annotation.get("facts"), f"{where}: facts")
        try:
            facts = {name: Fact(name, str(value), 1.0, "annotations") for name, value in named.items()}
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None
        if kind and "kind" not in facts:
            facts["kind"] = kind
        captions = {}
        for language, texts in _mapping(annotation.get("captions"), f"{where}: captions").items():
            if language not in LANGUAGES or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
                raise UserError(
                    f"{where}: captions.{language}; it must be a list of texts, in {' or '.join(LANGUAGES)}"
                )
            captions[language] = [caption for caption in texts if words(caption)]
        return Claims(tuple(facts[name] for name in sorted(facts)), captions)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}; it must be an object")
    return value

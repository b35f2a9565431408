"""An ONNX network cut down to what one of its inner values needs, without the package `onnx`.

ONNX files are protocol buffers: a run of (field number, wire type, value). Only the fields that name things are
read; everything else is copied as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

# Field numbers of onnx.proto3 (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT, _VALUE_INFO = 1, 5, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _TENSOR_NAME = 1, 2, 8
_FLOAT_TENSOR = b"\x0a\x02\x08\x01"
"""TypeProto of a float tensor of any shape."""


def cut(model: bytes, weight: str) -> bytes:
    """The network whose one output is the value of the node that reads `weight`.

    Raises ValueError where the bytes are no network with such a weight.
    """
    try:
        [graph] = [value for number, value, _raw in _fields(model) if number == _GRAPH]
        fields = [(number, raw, _names(number, value)) for number, value, raw in _fields(graph)]
    except (IndexError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"not an ONNX network: {error}") from None
    needed = {name for number, _raw, names in fields if number == _NODE and weight in names[0] for name in names[1]}
    if len(needed) != 1:
        raise ValueError(f"not a network of which one node reads {weight}")
    [output] = needed
    kept = []
    for number, raw, (inputs, made) in reversed(fields):  # nodes stand in the order in which they run
        if number == _NODE and needed.intersection(made):
            needed.update(inputs)
            kept.append(raw)
    initializers = [raw for number, raw, names in fields if number == _INITIALIZER and needed.issuperset(names[1])]
    others = [raw for number, raw, _ in fields if number not in (_NODE, _INITIALIZER, _OUTPUT, _VALUE_INFO)]
    value_info = _field(_OUTPUT, _field(1, output.encode()) + _field(2, _FLOAT_TENSOR))
    smaller = b"".join([*reversed(kept), *initializers, *others, value_info])
    return b"".join(raw for number, _value, raw in _fields(model) if number != _GRAPH) + _field(_GRAPH, smaller)


def _names(number: int, value: bytes) -> tuple[set[str], set[str]]:
    """What a field of the graph reads, and what it makes."""
    if number == _NODE:
        parts = [(part, name) for part, name, _raw in _fields(value) if part in (_NODE_INPUT, _NODE_OUTPUT)]
        reads = {name.decode() for part, name in parts if part == _NODE_INPUT}
        return reads, {name.decode() for part, name in parts if part == _NODE_OUTPUT}
    if number == _INITIALIZER:
        return set(), {name.decode() for part, name, _raw in _fields(value) if part == _TENSOR_NAME}
    return set(), set()


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, value, the whole field as it stands) of a message; only values with a length are given."""
    start = 0
    while start < len(message):
        key, end = _varint(message, start)
        begin, wire = end, key & 7
        if wire == 0:
            _number, end = _varint(message, end)
        elif wire == 1:
            end += 8
        elif wire == 2:
            length, begin = _varint(message, end)
            end = begin + length
        elif wire == 5:
            end += 4
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        if end > len(message):
            raise ValueError(f"it ends within the field at byte {start}")
        yield key >> 3, message[begin:end] if wire == 2 else b"", message[start:end]
        start = end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _field(number: int, value: bytes) -> bytes:
    """A field with a length."""
    length, encoded = len(value), bytearray()
    while length > 127:
        encoded.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *encoded, length]) + value

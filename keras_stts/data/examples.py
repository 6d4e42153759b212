"""Messages of `tf.train.Example`, read and written without TensorFlow.

With the numbers of protobuf fields: an example has features (1), which have a
map (1) of name (1) to feature (2), which is a list of bytes (1), floats (2) or
int64 (3), each with values (1).
"""

import struct

import numpy as np

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5


def encode(features):
    """Serialize an example whose features are lists of bytes.

    Args:
        features: Dict of name to a list of bytes.
    """
    entries = []
    for name, values in features.items():
        values = b"".join(_field(1, value) for value in values)
        feature = _field(1, values)
        entry = _field(1, name.encode()) + _field(2, feature)
        entries.append(_field(1, entry))
    return _field(1, b"".join(entries))


def decode(data):
    """Dict of name to a list of bytes, floats or ints.

    Raises:
        ValueError: If the data are not an example.
    """
    result = {}
    try:
        for features in _fields(memoryview(data), 1):
            for entry in _fields(features, 1):
                names, values = _fields(entry, 1), _fields(entry, 2)
                name = bytes(names[-1]).decode() if names else ""
                result[name] = _values(values[-1]) if values else []
    except (IndexError, struct.error, TypeError) as error:
        raise ValueError(f"no example ({error})") from error
    return result


def _values(feature):
    lists = {number: value for number, value in _read(feature)}
    if 1 in lists:
        return [bytes(value) for value in _fields(lists[1], 1)]
    if 2 in lists:
        return _floats(lists[2])
    if 3 in lists:
        return _ints(lists[3])
    return []


def _floats(data):
    parts = [
        value if isinstance(value, memoryview) else struct.pack("<I", value)
        for _, value in _read(data)
    ]
    return np.frombuffer(b"".join(parts), "<f4").tolist()


def _ints(data):
    values = []
    for _, value in _read(data):
        if isinstance(value, memoryview):
            place = 0
            while place < len(value):
                found, place = _varint(value, place)
                values.append(found)
        else:
            values.append(value)
    return [v - 2**64 if v >= 2**63 else v for v in values]


def _fields(data, number):
    """The values of one field of a message."""
    return [value for found, value in _read(data) if found == number]


def _read(data):
    """Yield (number, value) of the fields of a message: ints or bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, place = _varint(data, place)
        elif kind in (FIXED_32, FIXED_64):
            size = 4 if kind == FIXED_32 else 8
            form = "<I" if kind == FIXED_32 else "<Q"
            value = struct.unpack(form, data[place : place + size])[0]
            place += size
        elif kind == BYTES:
            size, place = _varint(data, place)
            if place + size > len(data):
                raise IndexError("it is cut short")
            value = data[place : place + size]
            place += size
        else:
            raise IndexError(f"it has a field of kind {kind}")
        yield number, value


def _varint(data, place):
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise IndexError("a number of it is too long")


def _field(number, data):
    return (
        _written_varint(number << 3 | BYTES)
        + _written_varint(len(data))
        + bytes(data)
    )


def _written_varint(value):
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)

"""TFRecord files: length, its checksum, bytes, their checksum, again and again.

Read and written without TensorFlow.
"""

import struct

from keras_stts.data.checksums import masked_crc32c

LENGTH = struct.Struct("<Q")
CRC = struct.Struct("<I")
HEADER = LENGTH.size + CRC.size


class RecordError(ValueError):
    """A record that is cut or damaged."""


def frame(data):
    """A record as it is in a file, as bytes."""
    length = LENGTH.pack(len(data))
    parts = (length, _crc(length), data, _crc(data))
    return b"".join(parts)


def _crc(data):
    return CRC.pack(masked_crc32c(data))


def unframe(record):
    """The bytes of a record as it is in a file.

    Raises:
        RecordError: If it is damaged.
    """
    length = check_header(record[:HEADER])
    if len(record) != HEADER + length + CRC.size:
        raise RecordError("is cut short")
    data = record[HEADER : HEADER + length]
    if record[-CRC.size :] != _crc(data):
        raise RecordError("is damaged: its checksum is another")
    return data


def check_header(header):
    """Length of the bytes of a record.

    Raises:
        RecordError: If it is damaged.
    """
    if len(header) < HEADER:
        raise RecordError("is cut short")
    length = header[: LENGTH.size]
    if header[LENGTH.size :] != _crc(length):
        raise RecordError("is damaged: the checksum of its length is another")
    return LENGTH.unpack(length)[0]


def read_records(file):
    """Yield the bytes of all records of a binary file object.

    Raises:
        RecordError: If one is damaged; there is no way to those after it.
    """
    while header := file.read(HEADER):
        rest = check_header(header) + CRC.size
        yield unframe(header + file.read(rest))

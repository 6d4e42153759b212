"""TFRecord files, read and written without TensorFlow.

A record is a length, the checksum of the length, bytes, and their checksum.
"""

import struct

from keras_stts.data.checksums import masked_crc32c

LENGTH = struct.Struct("<Q")
CRC = struct.Struct("<I")
HEADER = LENGTH.size + CRC.size


class RecordError(ValueError):
    """A record is truncated or damaged."""


def frame(data):
    """The record of some data, as bytes of a file."""
    length = LENGTH.pack(len(data))
    parts = (length, _crc(length), data, _crc(data))
    return b"".join(parts)


def _crc(data):
    return CRC.pack(masked_crc32c(data))


def unframe(record):
    """The data of a record.

    Raises:
        RecordError: If it is damaged.
    """
    length = check_header(record[:HEADER])
    if len(record) != HEADER + length + CRC.size:
        raise RecordError("is cut short")
    data = record[HEADER : HEADER + length]
    if record[-CRC.size :] != _crc(data):
        raise RecordError("is damaged: its checksum does not match")
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
        raise RecordError("is damaged: its length does not fit its checksum")
    return LENGTH.unpack(length)[0]


def read_records(file):
    """Yield the bytes of all records of a binary file object.

    Raises:
        RecordError: If one is damaged; later records cannot be found then.
    """
    while header := file.read(HEADER):
        rest = check_header(header) + CRC.size
        yield unframe(header + file.read(rest))

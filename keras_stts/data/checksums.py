"""CRC-32C, the checksum of TFRecord files."""

import functools

import numpy as np

try:
    import google_crc32c
except ImportError:
    google_crc32c = None

POLYNOMIAL = 0x82F63B78  # Castagnoli's polynomial with its bits reversed.
MASK = 0xA282EAD8  # TFRecord adds this number.
BLOCK = 2048  # Bytes of a block.
AT_ONCE = 512  # Blocks that are processed at once.


def masked_crc32c(data):
    """CRC-32C of bytes, rotated and masked as in TFRecord files."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + MASK) & 0xFFFFFFFF


def crc32c(data):
    """CRC-32C of bytes, by google-crc32c if it is installed."""
    if google_crc32c is not None:
        return google_crc32c.value(bytes(data))
    return _crc32c(data)


def _crc32c(data):
    """Checksums of blocks: the xor of the checksums of their bytes."""
    data = np.frombuffer(data, "uint8")
    table, skip = _block_table(), _skip_table()
    start = len(data) % BLOCK
    crc = 0xFFFFFFFF
    if start:
        crc = _skip_bytes(crc, start)
        crc ^= int(_sum(table[-start:], data[None, :start])[0])
    blocks = data[start:].reshape(-1, BLOCK)
    for first in range(0, len(blocks), AT_ONCE):
        for value in _sum(table, blocks[first : first + AT_ONCE]).tolist():
            crc = (
                skip[0][crc & 255]
                ^ skip[1][crc >> 8 & 255]
                ^ skip[2][crc >> 16 & 255]
                ^ skip[3][crc >> 24]
                ^ value
            )
    return crc ^ 0xFFFFFFFF


def _sum(table, blocks):
    """Table (L, 256), blocks (N, L) -> checksums (N,), from 0."""
    places = np.arange(blocks.shape[1])
    return np.bitwise_xor.reduce(table[places, blocks], axis=1)


def _skip_bytes(crc, count):
    """A checksum after this number of zero bytes."""
    table = _byte_table()
    for _ in range(count):
        crc = int(table[crc & 255]) ^ crc >> 8
    return crc


@functools.cache
def _byte_table():
    """Uint32 (256,), checksums of one byte."""
    table = np.arange(256, dtype="uint32")
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(POLYNOMIAL), 0)
    return table.astype("uint32")


@functools.cache
def _block_table():
    """Uint32 (BLOCK, 256), checksums of a byte and the zeros after it."""
    byte = _byte_table()
    table = np.empty((BLOCK, 256), "uint32")
    table[-1] = byte
    for i in range(BLOCK - 2, -1, -1):
        table[i] = byte[table[i + 1] & 255] ^ table[i + 1] >> 8
    return table


@functools.cache
def _skip_table():
    """Four lists of 256: each byte of a checksum, one block later."""
    byte = _byte_table()
    tables = []
    for shift in (0, 8, 16, 24):
        crc = np.arange(256, dtype="uint32") << np.uint32(shift)
        for _ in range(BLOCK):
            crc = byte[crc & 255] ^ crc >> 8
        tables.append(crc.tolist())
    return tables

"""Colours for all readers, and for print."""

import itertools

import numpy as np
import pytest

from keras_stts.pictures import drawing

pytestmark = pytest.mark.once
# Machado, Oliveira and Fernandes (2009), on linear RGB, complete deficiency.
READERS = {
    "all colours": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def seen(matrix):
    """CIELab (6, 3) of the colours as a reader sees them."""
    rgb = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in drawing.COLORS]
    rgb = np.array(rgb) / 255
    linear = np.where(
        rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92
    )
    linear = np.clip(linear @ np.transpose(matrix), 0, 1)
    x = linear @ XYZ.T / XYZ.sum(1)
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    a, b = 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])
    return np.stack([116 * f[:, 1] - 16, a, b], axis=1)


@pytest.mark.parametrize("reader", READERS)
def test_readers_tell_colours_apart(reader):
    colors = seen(READERS[reader])
    distances = [
        np.linalg.norm(one - other)
        for one, other in itertools.combinations(colors, 2)
    ]
    assert min(distances) > 20  # 2.3 is a just noticeable difference.


def test_colours_differ_in_print():
    lightness = np.sort(seen(READERS["all colours"])[:, 0])
    assert np.diff(lightness).min() > 8
    assert lightness.max() < 80  # They show on white.


def test_lines_and_bars_differ_without_colour():
    lines = list(itertools.islice(drawing.lines(), 24))
    styles = {(x["marker"], x["linestyle"]) for x in lines}
    assert len({tuple(line.values()) for line in lines}) == 24
    assert len(styles) == 24
    bars = list(itertools.islice(drawing.bars(), 6))
    assert len({bar["hatch"] for bar in bars}) == 6

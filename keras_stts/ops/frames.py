"""What is known of the frames of a batch, beside their pixels."""

from collections import namedtuple

from keras import ops


class Frames(
    namedtuple(
        "Frames", ["mask", "segments", "grids"], defaults=[None, None, None]
    )
):
    """Which frames are real, which video each is of, and how many blocks.

    Attributes:
        mask: Optional bool tensor (B, T), False for padding frames, which
            come last. Defaults to real ones alone.
        segments: Optional int tensor (B, T), for rows that several videos
            share: the number of each frame's video, see
            `keras_stts.ops.select_blocks`. Defaults to one video a row.
        grids: Optional int tensor (B, T, 2): rows and columns of the blocks
            of each frame, if they are not those of the tower. The frames of a
            video are alike. Its blocks come first, in row order; the others,
            up to P, are padding.

    Example:
    ```python
    mask = np.array([[True, True, False]])
    grids = np.array([[[1, 2], [1, 2], [1, 1]]])
    frames = keras_stts.ops.Frames(mask, grids=grids)
    frames.real(np.zeros((1, 3, 4)))  # T is 3, P is 4.
    # [[[True, True, False, False], [True, True, False, False], 4 * [False]]]
    ```
    """

    __slots__ = ()

    @property
    def num_blocks(self):
        """Blocks of each frame, int32 (B, T); `None` where all have P."""
        if self.grids is None:
            return None
        return ops.prod(ops.cast(self.grids, "int32"), axis=-1)

    def real(self, like):
        """Which blocks are real.

        Args:
            like: Tensor (B, T, P, ...).

        Returns:
            Bool tensor (B, T, P), False for padding frames, and for what a
            frame lacks.
        """
        return real_blocks(like, self.mask, self.num_blocks)


def real_blocks(like, mask=None, number=None):
    """Which blocks are real, see `Frames.real`.

    Args:
        like: Tensor (B, T, P, ...).
        mask: Optional bool tensor (B, T).
        number: Optional int tensor (B, T), blocks of each frame.
    """
    found = ops.ones(ops.shape(like)[:3], "bool")
    if mask is not None:
        found = found & ops.cast(mask, "bool")[..., None]
    if number is not None:
        place = ops.arange(like.shape[2], dtype="int32")
        found = found & (place < ops.cast(number, "int32")[..., None])
    return found

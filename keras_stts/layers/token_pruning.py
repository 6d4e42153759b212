import keras

from keras_stts.ops import Selection
from keras_stts.ops import num_kept_blocks
from keras_stts.ops import select_blocks


@keras.saving.register_keras_serializable(package="keras_stts")
class TokenPruning(keras.layers.Layer):
    """Chooses which blocks of a video stay: the highest-scoring, and frame 0.

    The blocks of a whole video compete with each other, so a frame can keep
    none, some or all of its blocks. The number of blocks that the video keeps
    is known before the run.

    Args:
        prune_ratio: Float in [0, 1). Share of the blocks removed.
        num_segments: Int. Most videos in a row, if `segments` are given.
            Defaults to `1`.

    Call arguments:
        inputs: Tensor (B, T, P) of scores.
        frame_mask: Optional bool tensor (B, T), False for padding frames,
            which come after the real ones and are never kept. A shorter
            video has a smaller budget.
        segments: Optional int tensor (B, T): the number of each frame's
            video in rows that several videos share, see
            `keras_stts.ops.select_blocks`.
        frame_blocks: Optional int tensor (B, T): how many blocks each frame
            has, see `keras_stts.ops.select_blocks`.

    Returns:
        A `keras_stts.ops.Selection`: `index` (B, K), `mask` (B, K) and
        `kept` (B, T, P), K = `P * T - int(P * prune_ratio * T)`, see
        `keras_stts.ops.num_kept_blocks`. Of blocks with equal scores the
        earlier one is removed first.

    Raises:
        ValueError: If `prune_ratio` is outside [0, 1), or too large for the
            number of frames to keep the whole frame 0; or if T or P is
            unknown.

    Example:
    ```python
    scores = np.array([[[0.1, 0.2], [0.9, 0.3], [0.4, 0.8]]])
    selection = keras_stts.layers.TokenPruning(prune_ratio=0.34)(scores)
    selection.index  # [[0, 1, 2, 5]]
    ```

    Reference:
        STTS (arXiv 2603.18004), token pruning.
    """

    def __init__(self, prune_ratio, num_segments=1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        # Checks the ratio; `build` checks it for the number of frames.
        num_kept_blocks(1, 10**9, prune_ratio)
        self.prune_ratio = prune_ratio
        self.num_segments = num_segments

    def build(self, input_shape, *args, **kwargs):
        if len(input_shape) != 3:
            raise ValueError(
                "`TokenPruning` takes scores of shape (videos, frames, "
                f"blocks). Received: shape {tuple(input_shape)}."
            )
        _, num_frames, num_blocks = input_shape
        if num_frames is None or num_blocks is None:
            raise ValueError(
                "`TokenPruning` must know the numbers of frames and blocks: "
                "they determine how many blocks stay. "
                f"Received: shape {tuple(input_shape)}."
            )
        num_kept_blocks(num_blocks, num_frames, self.prune_ratio)
        self.built = True

    def call(self, inputs, frame_mask=None, segments=None, frame_blocks=None):
        most = 1 if segments is None else self.num_segments
        return select_blocks(
            inputs,
            self.prune_ratio,
            frame_mask,
            segments,
            most,
            frame_blocks=frame_blocks,
        )

    def compute_output_spec(
        self, inputs, frame_mask=None, segments=None, frame_blocks=None
    ):
        batch, num_frames, num_blocks = inputs.shape
        num_kept = None
        if num_frames is not None:
            most = 1 if segments is None else self.num_segments
            num_kept = num_kept_blocks(
                num_blocks, num_frames, self.prune_ratio, most
            )
        return Selection(
            keras.KerasTensor((batch, num_kept), dtype="int32"),
            keras.KerasTensor((batch, num_kept), dtype="bool"),
            keras.KerasTensor((batch, num_frames, num_blocks), dtype="bool"),
        )

    def get_config(self):
        config = super().get_config()
        config.pop("autocast", None)
        config["prune_ratio"] = self.prune_ratio
        config["num_segments"] = self.num_segments
        return config

import dataclasses
import math

from keras_stts.preprocessing.video_vlm_tokenizer import VideoVLMTokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placeholders:
    """Makes the token ids of videos and images.

    Args: those of `VideoVLMPreprocessor` that say what these look like.
    """

    tokenizer: VideoVLMTokenizer
    num_blocks: int
    time_tokens: int
    use_frame_special_tokens: bool
    video_use_col_tokens: bool
    image_use_col_tokens: bool
    use_single_crop_col_tokens: bool | None
    use_single_crop_start_token: bool

    @property
    def frame_length(self):
        """Most tokens of a frame and its time."""
        return self.time_tokens + len(self._frame())

    def video(self, timestamps, num_frames):
        """The time and the placeholders of each frame.

        Args:
            timestamps: Seconds of the frames.
            num_frames: Int. Number of frames that fit.

        Returns:
            List of ints.

        Raises:
            ValueError: If the times need more tokens than there is room for.
        """
        texts = [
            f"{' ' if i else ''}{seconds:.1f} "
            for i, seconds in enumerate(timestamps)
        ]
        frame, ids = self._frame(), []
        for marks in self.tokenizer.tokenize(texts):
            ids += [int(i) for i in marks] + frame
        if len(ids) > num_frames * self.frame_length:
            raise ValueError(
                "The times of the frames need more tokens than `time_tokens` "
                f"leaves room for. Received: {len(texts)} frames up to second "
                f"{timestamps[-1]:.1f}, time_tokens={self.time_tokens}. Make "
                "`time_tokens` larger."
            )
        return ids

    def image(self, grid):
        """Placeholders of the small view and of the crops, row by row.

        Args:
            grid: Four ints, see `keras_stts.data.image.Tiles`.

        Returns:
            List of ints.
        """
        tokenizer = self.tokenizer
        start = tokenizer.image_start_token_id
        if self.use_single_crop_start_token:
            start = tokenizer.low_res_image_start_token_id
        end = tokenizer.image_end_token_id
        columns = self.use_single_crop_col_tokens
        if columns is None:
            columns = self.image_use_col_tokens
        small = self._rows(*grid[:2], ends=columns)
        large = self._rows(*grid[2:], ends=self.image_use_col_tokens)
        return [
            *(start, *small, end),
            *(tokenizer.image_start_token_id, *large, end),
        ]

    def _frame(self):
        """Placeholders of a frame, row by row."""
        tokenizer = self.tokenizer
        if not self.video_use_col_tokens:
            rows = [tokenizer.image_patch_token_id] * self.num_blocks
        else:
            side = math.isqrt(self.num_blocks)
            rows = self._rows(side, side, ends=True)
        if self.use_frame_special_tokens:
            start, end = "frame_start_token_id", "frame_end_token_id"
        else:
            start, end = "image_start_token_id", "image_end_token_id"
        return [getattr(tokenizer, start), *rows, getattr(tokenizer, end)]

    def _rows(self, rows, columns, *, ends):
        row = [self.tokenizer.image_patch_token_id] * columns
        row += [self.tokenizer.image_col_token_id] * ends
        return row * rows

"""Token ids as arrays of fixed size: padded, never cut."""

import dataclasses

import numpy as np

from keras_stts.preprocessing.packed_rows import join
from keras_stts.preprocessing.packed_rows import segments


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaddedRows:
    """Puts the token ids of samples into rows of a fixed length.

    Args:
        sizes: Ints, samples of each row.
        num_segments: Int. Most samples of a row.
        pad_id: Int.
        prompt_mask: Bool. Whether arrays say where prompts end.
    """

    sizes: list
    num_segments: int
    pad_id: int
    prompt_mask: bool

    def vision_part(self, heads, num_blocks, *, length, room):
        """Inputs of the vision part of sequences.

        Args:
            heads: List with a list of ints for each sample.
            num_blocks: Ints. Blocks of the real frames of each row.
            length: Int. Length of the part.
            room: Int. Tokens that fit beside the blocks of videos.

        Raises:
            ValueError: If a row holds more.
        """
        rows = join(heads, self.sizes)
        # Words may not use the place of blocks that pruning removes: in a
        # short video it removes few.
        blocks = np.broadcast_to(num_blocks, len(rows)).tolist()
        longest = max(len(ids) - n for ids, n in zip(rows, blocks))
        if longest > room:
            raise ValueError(
                "Vision tokens, and words between them, must fit the vision "
                f"part of a sequence. Received: {longest} tokens beside the "
                f"blocks of a video, room for {room}. Put the words after "
                "images and video, or make `time_tokens` larger."
            )
        ids, mask = _pad(rows, length, self.pad_id, "int32")
        part = {"vision_token_ids": ids, "vision_mask": mask}
        if self.num_segments > 1:
            part["vision_segments"] = self._segments(heads, length)
        return part

    def text_part(self, texts, length, prompts=None):
        """Inputs of the text part of sequences.

        Args:
            texts: List with a list of ints for each sample.
            length: Int. Length of the part.
            prompts: The prompts in these texts. Defaults to the whole texts.

        Raises:
            ValueError: If a row is longer.
        """
        rows = join(texts, self.sizes)
        longest = max(len(ids) for ids in rows)
        if longest > length:
            raise ValueError(
                "A prompt, with its template and response, must fit "
                "`sequence_length` tokens, and so must those of a row "
                f"together; they are never cut. Received: {longest} tokens, "
                f"room for {length}. Make `sequence_length` (or `max_length` "
                "of `generate`) larger."
            )
        ids, mask = _pad(rows, length, self.pad_id, "int32")
        inputs = {"token_ids": ids, "padding_mask": mask}
        if self.num_segments > 1:
            inputs["text_segments"] = self._segments(texts, length)
        if self.prompt_mask:
            ends = [len(ids) for ids in prompts or texts]
            inputs["prompt_mask"] = np.arange(length) < np.array(ends)[:, None]
        return inputs

    def labelled_text_part(self, prompts, texts, weights, length):
        """Inputs of the text part, the next tokens and their weights."""
        padded = self.text_part(texts, length + 1, prompts)
        inputs = {name: padded[name][:, :-1] for name in padded}
        weights, _ = _pad(join(weights, self.sizes), length + 1, 0, "float32")
        return inputs, padded["token_ids"][:, 1:], weights[:, 1:]

    def _segments(self, samples, length):
        return segments([len(ids) for ids in samples], self.sizes, length)


def without_padding(inputs, sizes, num_frames):
    """A batch without padding at the end of videos and vision part.

    Args:
        inputs: Dict of preprocessed inputs.
        sizes: Dict of names to ints, the new sizes of the second axis.
        num_frames: Int. Frames that videos are then padded to.

    Raises:
        ValueError: If more than padding would be removed.
    """
    for name in ("frame_mask", "vision_mask"):
        if np.any(inputs[name][:, sizes[name] :]):
            longest = np.max(np.sum(inputs[name], axis=1))
            raise ValueError(
                "Only padding can be left out of a batch. Received: "
                f"num_frames={num_frames}, which leaves room for "
                f"{sizes[name]} in `{name}`, of which {longest} are used."
            )
    cut = {name: inputs[name][:, :size] for name, size in sizes.items()}
    return {**inputs, **cut}


def _pad(rows, length, value, dtype):
    ids = np.full((len(rows), length), value, dtype)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask

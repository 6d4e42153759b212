"""Checks of preprocessed inputs."""

import keras
import numpy as np
from keras import ops


def check_inputs(backbone, x):
    """Check that preprocessed inputs fit a backbone.

    Raises:
        ValueError: If an input is missing; if frames are not uint8 of the
            right number and size; if real frames are missing or do not come
            first; if a video does not have P placeholders per frame; if the
            samples of a row do not follow each other; or if a prompt is not
            at the beginning of its text.
    """
    missing = sorted(set(backbone.input) - set(x))
    if missing:
        raise ValueError(
            "Preprocessed inputs must be complete. Received a dict without "
            f"{', '.join(missing)}."
        )
    blocks, tokens = 0, 0
    if "videos" in backbone.input:
        blocks = _checked_blocks(backbone, x)
    if "images" in backbone.input:
        _check_pixels(backbone, "images", x["images"])
        tokens = backbone.input_layout.are_image_tokens(x).sum(-1)
    _check_placeholders(backbone, x, np.sum(blocks, axis=-1), tokens)
    if "videos" in backbone.input:
        _check_room(backbone, x, np.sum(blocks, axis=-1))
    if backbone.num_segments > 1:
        _check_segments(backbone, x, blocks)
    if "prompt_mask" in backbone.input:
        _check_prompts(x)


def check_alone(x):
    """Raise if preprocessed rows hold several samples."""
    found = _numpy(x.get("text_segments", 0)).max() + 1
    if found > 1:
        raise ValueError(
            "`generate` takes one sample a row. Received: rows of up to "
            f"{found} samples. Pass each as a row of its own."
        )


def check_room_for_answers(x):
    """Raise if a prompt fills the whole text part."""
    if x["padding_mask"][..., -1].any():
        raise ValueError(
            "A prompt must leave room for an answer. Received: a prompt "
            "that with its template fills all of "
            f"{x['padding_mask'].shape[-1]} tokens. Make "
            "`sequence_length` (or `max_length` of `generate`) larger."
        )


def _checked_blocks(backbone, x):
    """Blocks of each frame, (B, T), 0 of padding."""
    _check_pixels(backbone, "videos", x["videos"])
    frames = _numpy(x["frame_mask"]).astype(bool)
    if frames.shape != tuple(x["videos"].shape[:2]):
        raise ValueError(
            "`frame_mask` must have a value for each frame. Received: "
            f"videos of shape={tuple(x['videos'].shape)}, frame_mask of "
            f"shape={frames.shape}."
        )
    needed = backbone.input_layout.needs_video
    missing = needed and not frames[:, 0].all()
    if missing or (frames[:, 1:] > frames[:, :-1]).any():
        least = "; there is at least one" if needed else ""
        raise ValueError(
            "`frame_mask` must be True at the real frames of a video, which "
            f"come first{least}. Received: {frames.astype(int).tolist()}."
        )
    return frames * backbone.input_layout.blocks_of_frames(x)


def _check_pixels(backbone, name, pixels):
    wanted = backbone.input[name].shape
    dtype = keras.backend.standardize_dtype(pixels.dtype)
    fits = len(pixels.shape) == len(wanted) and all(
        size in (None, given) for size, given in zip(wanted, pixels.shape)
    )
    if not fits or dtype != "uint8":
        sizes = ", ".join(str(size or "frames") for size in wanted[1:])
        raise ValueError(
            f"Preprocessed {name} must be uint8, 0 to 255, of shape (batch, "
            f"{sizes}). Received: dtype={dtype}, shape={tuple(pixels.shape)}."
        )


def _check_placeholders(backbone, x, blocks, tokens):
    """Raise unless there is a placeholder for each block and each token."""
    format = backbone.sequence_format
    wanted = {format.placeholder_id: blocks + tokens}
    if format.image_id is not None:
        wanted = {format.placeholder_id: blocks, format.image_id: tokens}
    ids, mask = _numpy(x["vision_token_ids"]), _numpy(x["vision_mask"])
    for placeholder, number in wanted.items():
        found = ((ids == placeholder) & mask.astype(bool)).sum(-1)
        if (found != number).any():
            raise ValueError(
                "Each token of an image, and each of the "
                f"{backbone.num_blocks} blocks of a real frame, or as many as "
                "it has, needs a placeholder in `vision_token_ids`. Received: "
                f"{found.tolist()} placeholders of id {placeholder}, "
                f"{np.broadcast_to(number, found.shape).tolist()} needed."
            )


def _check_room(backbone, x, blocks):
    """Raise if pruning would cut a sequence: its length is known before.

    As many places leave as of a video of all frames and blocks.
    """
    if not (backbone.prunes_blocks or backbone.language_pruning):
        return
    mask = _numpy(x["vision_mask"]).astype(bool)
    blocks_of_frame = backbone.input_layout.most_blocks(x)
    most = x["frame_mask"].shape[1] * blocks_of_frame
    needed = int((mask.sum(-1) - blocks).max()) + most
    if mask.shape[1] < needed:
        raise ValueError(
            "The vision part must have room for all blocks that a video can "
            f"have, {most} here, whatever each has. Received: vision_mask of "
            f"shape={mask.shape}, {needed} tokens needed. Pad it."
        )


def _check_segments(backbone, x, blocks):
    """Raise unless the samples of rows stand one after the other."""
    most, all_show = backbone.num_segments, backbone.input_layout.needs_video
    ids = {n: _numpy(x[n]) for n in backbone.input if n.endswith("_segments")}
    for name, which in ids.items():
        steps = np.diff(which, axis=1, prepend=0)
        good = (steps >= 0).all()
        if all_show or name == "text_segments":  # Else a sample may lack it.
            good = good and steps.max() <= 1 and not which[:, 0].any()
        if not good or which.max() >= most:
            raise ValueError(
                f"`{name}` must number the samples of a row, up to "
                f"num_segments={most} of them, 0, 1, ... one after the other; "
                "padding has the number of the last. Received: "
                f"{which.tolist()}."
            )
    format = backbone.sequence_format
    patches = _numpy(x["vision_token_ids"]) == format.placeholder_id
    real = _numpy(x["vision_mask"]).astype(bool)
    tokens = _count(real, ids["vision_segments"], most)
    wanted = found = _count(real & patches, ids["vision_segments"], most)
    if "videos" in backbone.input:
        wanted = _count(blocks, ids["frame_segments"], most)
        missing = all_show & (wanted == 0) & (tokens > 0)
        wanted = np.where(missing, backbone.num_blocks, wanted)
    texts = ids["text_segments"].max(1) + 1
    told = [which.max(1) < texts for which in ids.values()]
    if all_show:
        told.append((tokens > 0).sum(1) == texts)
    if (found != wanted).any() or not np.all(told):
        start = " a start token," if all_show else ""
        least = ", of which there must be at least one" if all_show else ""
        raise ValueError(
            f"Each sample of a row must have a text,{start} and a "
            f"placeholder for each of the {backbone.num_blocks} blocks of its "
            f"real frames, or as many as they have{least}. Received: "
            f"{found.tolist()} placeholders in `vision_segments`, "
            f"{wanted.tolist()} needed, and {texts.tolist()} texts."
        )


def _count(mask, segments, num_segments):
    """The sum of the elements of each sample: (B, num_segments)."""
    same = segments[..., None] == np.arange(num_segments)
    return (same * mask[..., None]).sum(1)


def _check_prompts(x):
    prompt = _numpy(x["prompt_mask"]).astype(bool)
    outside = prompt & ~_numpy(x["padding_mask"]).astype(bool)
    late = (prompt[:, 1:] > prompt[:, :-1]).any()
    if not prompt[:, 0].all() or late or outside.any():
        raise ValueError(
            "`prompt_mask` must be True at the tokens of a prompt, which come "
            "first and are not padding; there is at least one. Received: "
            f"{prompt.astype(int).tolist()}."
        )


def _numpy(value):
    return np.asarray(ops.convert_to_numpy(value))

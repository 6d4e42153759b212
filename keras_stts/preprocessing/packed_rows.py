"""Short samples that share a row of a batch, one after the other."""

import numpy as np


def take_rows_apart(x, num_segments):
    """Turn rows of several samples into samples.

    Args:
        x: Dict of lists, of which each entry is a sample or a list of samples.
        num_segments: Int. Most samples in a row.

    Returns:
        Tuple of the dict of samples, and the number of samples in each row.

    Raises:
        ValueError: If a row holds more samples, or a different number of
            videos, prompts or responses.
    """
    is_row = [_is_row(prompt) for prompt in x["prompts"]]
    sizes = [len(p) if row else 1 for p, row in zip(x["prompts"], is_row)]
    if max(sizes) > num_segments or (any(is_row) and num_segments == 1):
        raise ValueError(
            "A row may hold up to `num_segments` samples. Received: "
            f"{max(sizes)} prompts in a list, num_segments={num_segments}. "
            "Load the model with `from_preset(..., num_segments=...)`."
        )
    if not any(is_row):
        return x, sizes
    return {
        name: _flatten(name, values, sizes, is_row)
        for name, values in x.items()
    }, sizes


def _is_row(prompt):
    """Whether a value is a list of prompts, not a prompt or its messages."""
    many = isinstance(prompt, (list, tuple)) and len(prompt)
    return bool(many) and not isinstance(prompt[0], dict)


def _flatten(name, values, sizes, is_row):
    if name == "fps" and not isinstance(values, (list, tuple)):
        return values  # One for all.
    samples = []
    for value, size, row in zip(values, sizes, is_row):
        if name == "fps" and not isinstance(value, (list, tuple)):
            value = [value] * size
        elif not row:
            value = [value]
        many = len(value) if type(value) in (list, tuple) else None
        if many != size:
            raise ValueError(
                f'In "{name}", too, a row must be a list of its samples. '
                f"Received: {many or type(value).__name__} in a row of {size} "
                "prompts."
            )
        samples += value
    return samples


def join(lists, sizes):
    """The lists of each row's samples, one after the other."""
    return [[item for x in row for item in x] for row in by_row(lists, sizes)]


def segments(lengths, sizes, row_length):
    """The number of each element's sample in its row.

    Args:
        lengths: Ints, of each sample.
        sizes: Ints, samples of each row.
        row_length: Int S.

    Returns:
        Int32 array (B, S); padding has the number of the row's last sample.
    """
    ids = np.zeros((len(sizes), row_length), "int32")
    for row, parts in zip(ids, by_row(lengths, sizes)):
        which = np.repeat(np.arange(len(parts)), parts)
        row[: len(which)] = which
        row[len(which) :] = len(parts) - 1
    return ids


def join_videos(arrays, sizes):
    """Concatenate the videos of each row.

    Args:
        arrays: Dict of `"videos"`, uint8 (samples, T, H, W, 3), and
            `"frame_mask"`, bool (samples, T).
        sizes: Ints, samples of each row.

    Returns:
        The same dict for rows, with `"frame_segments"`, int32 (B, T).

    Raises:
        ValueError: If the videos of a row have more than T frames together.
    """
    videos, lengths = arrays["videos"], arrays["frame_mask"].sum(1).tolist()
    shape = (len(sizes), *videos.shape[1:])
    frames, mask = np.zeros(shape, "uint8"), np.zeros(shape[:2], bool)
    samples = list(zip(videos, lengths))
    for i, row in enumerate(by_row(samples, sizes)):
        real = [video[:length] for video, length in row]
        total = sum(map(len, real))
        if total > shape[1]:
            raise ValueError(
                "The videos of a row must fit `num_frames` frames together; "
                "they are never cut. Received: a row of "
                f"{' + '.join(str(len(r)) for r in real)} frames, num_frames="
                f"{shape[1]}. See `keras_stts.data.plan_rows`."
            )
        frames[i, :total] = np.concatenate(real)
        mask[i, :total] = True
    which = segments(lengths, sizes, shape[1])
    return {"videos": frames, "frame_mask": mask, "frame_segments": which}


def by_row(samples, sizes):
    """Cut a list of samples into lists of these sizes."""
    ends = np.cumsum(sizes)
    return [samples[end - size : end] for end, size in zip(ends, sizes)]

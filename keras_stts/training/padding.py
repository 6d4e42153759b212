"""Filling up batches with rows that do not count, so that devices divide them.

An added row has no real token in its `padding_mask`, one real frame, so that it
does not count for the auxiliary loss, and weights of 0.
"""

import functools

import keras
import numpy as np
from keras import ops

from keras_stts.training import distributing
from keras_stts.training import jobs

# Reductions of losses that ignore rows of weight 0.
REDUCTIONS = ("sum", "mean_with_sample_weight")


def fill_up(model, batch, parts=None):
    """Fill up a batch to a number of rows that the devices divide.

    Args:
        model: A `VideoVLM`.
        batch: Preprocessed x, or a tuple (x, y) or (x, y, sample_weight).
        parts: Int, of which the number of rows must be a multiple. Defaults to
            `distributing.replicas()`, which is known only in the thread in
            which the distribution was set.

    Raises:
        ValueError: If the loss or a metric would count the added rows.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    size = len(x["token_ids"])
    missing = -size % (parts or distributing.replicas())
    if not missing:
        return batch
    if y is not None:
        _check_counted(model, size, missing)
        if sample_weight is None:
            sample_weight = np.ones(y.shape, "float32")
        y = _extend(y, missing)
        none = np.zeros((missing, *sample_weight.shape[1:]))
        sample_weight = np.concatenate([sample_weight, none], dtype="float32")
    x = fill_up_inputs(model.backbone, x, missing)
    return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


def _extend(array, missing):
    array = ops.convert_to_numpy(array)
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def fill_up_inputs(backbone, x, missing):
    """Add rows, made of the first, to the inputs of a backbone.

    Args:
        backbone: A `VideoVLMBackbone`.
        x: Dict of arrays (B, ...).
        missing: Int. Number of rows to add.

    Returns:
        Dict of arrays (B + missing, ...).
    """
    size = len(x["token_ids"])
    x = {name: _extend(value, missing) for name, value in x.items()}
    rows = {name: value[size:] for name, value in x.items()}
    rows["padding_mask"][:] = False
    if "videos" in rows:
        _keep_one_frame(backbone, rows)
    for name in rows:
        if name.endswith("_segments"):
            rows[name][:] = 0
    return x


def _keep_one_frame(backbone, rows):
    """Leave out all frames but the first, and what follows it."""
    layout, format = backbone.input_layout, backbone.sequence_format
    rows["frame_mask"][:, 1:] = False
    wanted = rows["frame_mask"] * layout.blocks_of_frames(rows)
    wanted = wanted[:, :1]
    if "images" in rows and format.image_id is None:
        tokens = layout.are_image_tokens(rows)
        wanted = wanted + tokens.sum(-1, keepdims=True)
    ids, mask = rows["vision_token_ids"], rows["vision_mask"].astype(bool)
    patches = mask & (ids == format.placeholder_id)
    mask = rows["vision_mask"][:] = mask & (np.cumsum(patches, 1) <= wanted)
    if "image_grids" in rows:
        tokens = (mask & (ids == format.image_id)).sum(-1, keepdims=True)
        ends = rows["image_grids"].prod(-1).cumsum(-1)
        rows["image_grids"][ends > tokens] = 0


def as_in_others(x):
    """Pad inputs to the shapes that they have in the other processes of a job.

    Samples differ, so a process may be given a larger bucket or more rows.

    Args:
        x: Dict of arrays (B, ...), and perhaps `"prefix"`, which stays.

    Returns:
        Dict of arrays. In each row, what is added is masked out; rows that are
        added are copies of the first.
    """
    if not distributing.are_joint():
        return x
    arrays = {name: value for name, value in x.items() if name != "prefix"}
    shapes = jobs.exchange({name: v.shape for name, v in arrays.items()})
    for name, value in arrays.items():
        size, *sides = np.max([shape[name] for shape in shapes], axis=0)
        missing = sides - np.array(value.shape[1:], int)
        value = np.pad(value, [(0, 0), *((0, int(n)) for n in missing)])
        arrays[name] = _extend(value, size - len(value))
    return x | arrays


def spread(x, rows=1):
    """Inputs of `generate`, split over devices, and their number of rows.

    Args:
        x: Dict of arrays (B, ...), and perhaps of `"prefix"`, a structure of
            tensors (B, ...) or (1, ...).
        rows: Int. Rows to fill up to, at least.

    Returns:
        Tuple of the dict, where copies of the first row were added, and B.
    """
    size, parts = len(x["token_ids"]), distributing.replicas()
    missing = max(rows, size) - size
    missing += -(size + missing) % parts
    number = size + missing
    prefix = {"prefix": x["prefix"]} if "prefix" in x else {}
    x = {name: value for name, value in x.items() if name != "prefix"}
    if missing:
        x = {name: _extend(value, missing) for name, value in x.items()}
    if parts == 1:
        shared = functools.partial(_prefix_rows, number=number)
        return distributing.spread(x) | keras.tree.map_structure(
            shared, prefix
        ), size
    # Each device takes rows of its own.
    own = functools.partial(_prefix_rows, number=number, shared=False)
    return distributing.spread(x | keras.tree.map_structure(own, prefix)), size


def _prefix_rows(tensor, *, number, shared=True):
    """Rows of a prefix for a number of texts: copies of the first are added,
    if it is not the only one, which texts can share."""
    missing = number - len(tensor)
    if not missing or (len(tensor) == 1 and shared):
        return tensor
    return ops.concatenate([tensor, *[tensor[:1]] * missing])


def gather(outputs, size):
    """Arrays of this process' rows, without added rows."""
    arrays = keras.tree.map_structure(distributing.own_rows, outputs)
    return keras.tree.map_structure(lambda rows: rows[:size], arrays)


def real_rows(x):
    """Bool (B,): which rows of preprocessed inputs are the user's."""
    return ops.any(ops.cast(x["padding_mask"], "bool"), axis=-1)


class Counted(dict):
    """Inputs whose first size, for Keras, is the number of real rows."""

    def __init__(self, x):
        super().__init__(x)
        self.shape = (ops.sum(ops.cast(real_rows(x), "float32")),)


def _check_counted(model, size, missing):
    reduction = getattr(model.loss, "reduction", "sum_over_batch_size")
    metrics = getattr(model, "_compile_metrics", None)
    metrics = getattr(metrics, "_user_metrics", None)
    if reduction in REDUCTIONS and not metrics:
        return
    what = f"metrics={metrics!r}" if metrics else f"a loss of {reduction=}"
    raise ValueError(
        "A batch that the devices do not divide is filled up with rows of "
        "weight 0, which the loss and the metrics have to leave out. "
        f"Received: {size} rows for {size + missing} devices, {what}. Pass "
        '`weighted_metrics`, and a loss with reduction="mean_with_sample_'
        'weight" or "sum", or a `batch_size` that the devices divide.'
    )

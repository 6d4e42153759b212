"""What a model keeps of a video, for pictures of it."""

import math

import keras
import numpy as np
from keras import ops

from keras_stts.models.encoding import frames_of
from keras_stts.ops.grid import from_blocks
from keras_stts.ops.merging import first_of_groups


def kept_of(model, video, fps=None):
    """See `VideoVLM.kept_blocks`."""
    if model.preprocessor is None:
        raise ValueError(
            "`kept_blocks` reads a video, for which the model needs its "
            "preprocessor. Received: a model with preprocessor=None."
        )
    sampled = model.preprocessor.video_converter.read(video, fps)
    x = model.preprocessor.see_video(sampled)
    tower = model.backbone.vision_encoder
    grid = model.preprocessor.input_layout.grid_of(x, 0)
    patches = tower.grid
    in_blocks = patches[0] is None  # Of frames that differ in size.
    if in_blocks:
        patches = tuple(tower.window * side for side in grid)
    vision = model.backbone.encode_video(
        ops.convert_to_tensor(x["videos"]),
        frames_of(keras.tree.map_structure(ops.convert_to_tensor, x)),
    )
    total, seen = len(sampled.frames), int(x["frame_mask"].sum())
    # Of each frame of a block that has several.
    shown = np.arange(total) // -(-total // seen)

    def of_frames(values, number=math.prod(grid)):
        return ops.convert_to_numpy(values)[0, :, :number][shown]

    kept, scores, groups = np.ones((total, math.prod(grid)), bool), None, None
    if "selection" in vision:
        kept = of_frames(vision["selection"].kept)
        scores = of_frames(vision["scores"])
    if "place" in vision:
        place = of_frames(vision["place"], math.prod(patches))
        if in_blocks:
            place = _in_rows(place, tower.window, patches)
        groups = first_of_groups(place)
    return {
        "frames": sampled.frames,
        "timestamps": sampled.times,
        "kept": kept,
        "scores": scores,
        "grid": grid,
        "groups": groups,
        "patch_grid": patches,
    }


def _in_rows(values, window, grid):
    """Values (T, N) of patches in row order, from block after block."""
    number = len(values)
    values = np.reshape(values, (1, number, -1, window**2, 1))
    rows = from_blocks(ops.convert_to_tensor(values), window, grid)
    return ops.convert_to_numpy(rows).reshape(number, -1)

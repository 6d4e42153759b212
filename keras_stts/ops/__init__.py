"""The mathematics of STTS as pure functions of `keras.ops`."""

from keras_stts.ops.attending import attention
from keras_stts.ops.attending import prefix_attention
from keras_stts.ops.frames import Frames
from keras_stts.ops.grid import block_grid
from keras_stts.ops.grid import block_mask
from keras_stts.ops.grid import flat_blocks
from keras_stts.ops.grid import from_blocks
from keras_stts.ops.grid import grid_size
from keras_stts.ops.grid import spread_to_patches
from keras_stts.ops.grid import to_blocks
from keras_stts.ops.merging import Merged
from keras_stts.ops.merging import merge_schedule
from keras_stts.ops.merging import merge_tokens
from keras_stts.ops.merging import unmerged
from keras_stts.ops.packing import Layout
from keras_stts.ops.packing import frame_layout
from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.packing import plan_groups
from keras_stts.ops.packing import ragged_attention
from keras_stts.ops.packing import rank_caps
from keras_stts.ops.packing import unpack_blocks
from keras_stts.ops.reach import Reach
from keras_stts.ops.reach import reach_mask
from keras_stts.ops.refill import alone_in_row
from keras_stts.ops.scoring import RESCALE_MIN
from keras_stts.ops.scoring import auxiliary_loss
from keras_stts.ops.scoring import concat_previous_frame
from keras_stts.ops.scoring import neighbor_similarity
from keras_stts.ops.scoring import rescale_scores
from keras_stts.ops.scoring import score_bias
from keras_stts.ops.selection import Selection
from keras_stts.ops.selection import num_kept_blocks
from keras_stts.ops.selection import num_pruned_blocks
from keras_stts.ops.selection import select_blocks

__all__ = [
    "Frames",
    "Layout",
    "Merged",
    "RESCALE_MIN",
    "Reach",
    "Selection",
    "alone_in_row",
    "attention",
    "auxiliary_loss",
    "block_grid",
    "block_mask",
    "concat_previous_frame",
    "frame_layout",
    "flat_blocks",
    "from_blocks",
    "grid_size",
    "merge_schedule",
    "merge_tokens",
    "neighbor_similarity",
    "num_kept_blocks",
    "num_pruned_blocks",
    "pack_blocks",
    "plan_groups",
    "prefix_attention",
    "ragged_attention",
    "rank_caps",
    "reach_mask",
    "rescale_scores",
    "score_bias",
    "select_blocks",
    "spread_to_patches",
    "to_blocks",
    "unmerged",
    "unpack_blocks",
]

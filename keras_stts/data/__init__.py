"""Reading videos: from files to frames, from tables to batches.

Example:

>>> from keras_stts.data import sample_indices
>>> sample_indices(num_total=100, fps=25.0, num_frames=4).tolist()
[0, 25, 50, 75]
"""

from keras_stts.data.cache import FrameCache
from keras_stts.data.dataset import VideoDataset
from keras_stts.data.formats import as_grain_dataset
from keras_stts.data.formats import as_tf_dataset
from keras_stts.data.formats import video_dataset_from_manifest
from keras_stts.data.indexing import VideoIndex
from keras_stts.data.manifest import read_manifest
from keras_stts.data.packing import plan_rows
from keras_stts.data.resize import resize_frames
from keras_stts.data.sampled import SampledVideo
from keras_stts.data.sampling import choose_frames
from keras_stts.data.sampling import sample_indices
from keras_stts.data.shard_source import ShardSource
from keras_stts.data.shards import write_shards
from keras_stts.data.validation import Anomaly
from keras_stts.data.validation import ValidationResult
from keras_stts.data.validation import validate
from keras_stts.data.video import index_video
from keras_stts.data.video import read_video
from keras_stts.data.video import sampled_shape
from keras_stts.data.video import sampled_times
from keras_stts.data.workers import DecodeError
from keras_stts.data.workers import DecodePool

__all__ = [
    "Anomaly",
    "DecodeError",
    "DecodePool",
    "FrameCache",
    "SampledVideo",
    "ShardSource",
    "ValidationResult",
    "VideoDataset",
    "VideoIndex",
    "as_grain_dataset",
    "as_tf_dataset",
    "choose_frames",
    "index_video",
    "plan_rows",
    "read_manifest",
    "read_video",
    "resize_frames",
    "sample_indices",
    "sampled_shape",
    "sampled_times",
    "validate",
    "video_dataset_from_manifest",
    "write_shards",
]

"""Reading videos as numpy arrays: no Keras, no backend.

Example:

>>> from keras_stts.data import sample_indices
>>> sample_indices(num_total=100, fps=25.0, num_frames=4).tolist()
[0, 25, 50, 75]
"""

from keras_stts.data.resize import resize_frames
from keras_stts.data.sampling import sample_indices
from keras_stts.data.video import VideoIndex
from keras_stts.data.video import index_video
from keras_stts.data.video import read_video

__all__ = [
    "VideoIndex",
    "index_video",
    "read_video",
    "resize_frames",
    "sample_indices",
]

"""Reading videos as numpy arrays: no Keras, no backend.

Example:

>>> from keras_stts.data import sample_indices
>>> sample_indices(num_total=100, fps=25.0, num_frames=4).tolist()
[0, 25, 50, 75]
"""

from keras_stts.data.video import read_video
from keras_stts.data.video import resize_frames
from keras_stts.data.video import sample_indices

__all__ = ["read_video", "resize_frames", "sample_indices"]

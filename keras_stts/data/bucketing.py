"""What the videos of a batch are padded to, so that shapes are few.

`buckets_of` chooses the class: frames of one size are counted, those of any
size have buckets of the preprocessor's own. Both have

- `sizes`, the buckets;
- `keys`, ints from 1 on that name them, as many;
- `look(reader, row)`, which starts to find what `key_of` is told;
- `key_of(found)`, the key of a row's bucket;
- `preprocess(x, key)`, inputs and labels of raw samples in a bucket;
- `blank()`, a black video that each bucket holds.
"""

import numpy as np

from keras_stts.data.sampled import ResizedVideo


def buckets_of(preprocessor, sizes):
    """The buckets of a preprocessor's batches.

    Args:
        preprocessor: A `VideoVLMPreprocessor` or a `Qwen3VLPreprocessor`.
        sizes: Optional ints that the caller asks for.

    Raises:
        ValueError: If they are not positive, or the preprocessor has its own.
    """
    if not hasattr(preprocessor, "buckets"):
        return FrameBuckets(preprocessor, sizes or ())
    if sizes is not None:
        raise ValueError(
            "Videos of any size are padded to the preprocessor's own buckets. "
            f"Received: buckets={sizes!r} beside a "
            f"{type(preprocessor).__name__} with buckets="
            f"{[tuple(each) for each in preprocessor.buckets]}. Leave "
            "`buckets` out, or make a preprocessor with others."
        )
    return GridBuckets(preprocessor)


class FrameBuckets:
    """Numbers of frames, each of one size."""

    def __init__(self, preprocessor, sizes):
        if any(size < 1 for size in sizes):
            raise ValueError(
                f"`buckets` must be positive. Received: buckets={tuple(sizes)}."
            )
        self.preprocessor = preprocessor
        most = preprocessor.num_frames
        self.sizes = (*sorted(n for n in set(sizes) if n < most), most)
        self.keys = self.sizes

    def look(self, reader, row):
        return reader.times(row)

    def key_of(self, times):
        return self.sizes[np.searchsorted(self.sizes, len(times))]

    def preprocess(self, x, key):
        x, *labels = self.preprocessor(x)
        return self.preprocessor.shorten(x, key), *labels

    def blank(self):
        size = self.preprocessor.video_converter.image_size
        return _black((1, *size), size)


class GridBuckets:
    """Pairs of temporal patches and blocks of a frame."""

    def __init__(self, preprocessor):
        self.preprocessor = preprocessor
        self.sizes = tuple(tuple(each) for each in preprocessor.buckets)
        self.keys = tuple(range(1, len(self.sizes) + 1))

    def look(self, reader, row):
        return reader.shape(row)

    def key_of(self, shape):
        found = self.preprocessor.bucket_of(shape)
        return self.sizes.index(found) + 1

    def preprocess(self, x, key):
        bucket = self.sizes[key - 1]
        return self.preprocessor.preprocess(x, bucket=bucket)

    def blank(self):
        converter = self.preprocessor.video_converter
        side = converter.patch_size * converter.merge_size
        shape = (converter.temporal_patch_size, side, side)
        return _black(shape, converter.image_size)


def _black(shape, size):
    frames = np.zeros((*shape, 3), "uint8")
    return ResizedVideo(frames, np.zeros(len(frames)), size)

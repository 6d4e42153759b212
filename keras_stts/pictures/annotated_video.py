"""A video beside what a model keeps of it, with the video's own sound."""

import contextlib
import os

import av
import numpy as np

from keras_stts.data.damage import Damage
from keras_stts.data.frames import upright
from keras_stts.data.opening import decoded
from keras_stts.data.opening import open_video
from keras_stts.data.source import as_source
from keras_stts.pictures import painting

ENDINGS = (".mp4", ".mkv", ".mov")


def write(path, video, frames, annotated, timestamps):
    """See `keras_stts.visualize.write_side_by_side`.

    Args:
        path: Str or path-like.
        video: See `keras_stts.data.read_video`; not a folder.
        frames: Uint8 (T, H, W, 3), of which only the size is used.
        annotated: Function of the number of a frame to its picture, uint8
            (H, W, 3).
        timestamps: (T,) seconds from the first frame of the video.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in ENDINGS:
        raise ValueError(
            f"`path` must end in {', '.join(ENDINGS)}. Received: path={path}. "
            "Change it."
        )
    source = as_source(video)
    damage = Damage(source.name)
    with open_video(source, damage) as (container, stream):
        output = av.open(os.fspath(path), "w")
        try:
            with output:
                writer = _Writer(output, stream, frames.shape[1:3], damage)
                sound = _sound(container, output, path)
                writer.write_all(container, sound, annotated, timestamps)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)  # No half of a video stays.
            raise


def _sound(container, output, path):
    """Streams of sound, and what they are in the output: copies."""
    copies = {}
    for stream in container.streams.audio:
        codec = stream.codec_context.name
        if codec not in output.supported_codecs:
            raise ValueError(
                "The file must be of a kind that holds the video's sound. "
                f"Received: path={path}, for sound of the codec {codec}. "
                "Pass a path that ends in .mkv."
            )
        copies[stream] = output.add_stream_from_template(stream)
    return copies


class _Writer:
    """Writes frames of a video beside their annotated ones.

    Args:
        output: An open `av` container.
        stream: The stream that is read.
        size: (height, width) of the frames.
        damage: `Damage` of what is read.
    """

    def __init__(self, output, stream, size, damage):
        self.output, self.stream, self.damage = output, stream, damage
        self.size = tuple(size)
        self.encoder = output.add_stream("libx264", rate=stream.average_rate)
        height, width = size
        width = 2 * width + painting.GUTTER
        self.encoder.height, self.encoder.width = (
            side + side % 2 for side in (height, width)
        )
        self.encoder.pix_fmt = "yuv420p"
        self.encoder.codec_context.time_base = stream.time_base
        self.first = None

    def write_all(self, container, sound, annotated, timestamps):
        for packet in container.demux(self.stream, *sound):
            if packet.stream is self.stream:
                for frame in decoded(packet):
                    self.write(frame, annotated, timestamps)
            elif packet.dts is not None:
                packet.stream = sound[packet.stream]
                self.output.mux(packet)
        self.output.mux(self.encoder.encode(None))

    def write(self, frame, annotated, timestamps):
        """Write a frame beside the last one that the model has seen by then."""
        pixels = frame.to_ndarray(format="rgb24")
        pixels = upright(pixels, frame, self.damage)
        if pixels.shape[:2] != self.size:
            raise ValueError(
                "`seen` must be of the same video. Received: a video of "
                f"(height, width) {pixels.shape[:2]} for frames of "
                f"{self.size}. Pass what `model.kept_blocks(video)` returned."
            )
        pts = frame.dts if frame.pts is None else frame.pts  # In AVI.
        if pts is None:
            self.damage.fail(
                "lacks the times of its frames. Convert it to mp4."
            )
        self.first = pts if self.first is None else self.first
        # Times of frames are rounded to those of the file.
        time = float((pts - self.first) * self.stream.time_base) + 1e-3
        number = np.searchsorted(timestamps, time, "right") - 1
        both = painting.beside(pixels[None], annotated(max(0, number))[None])
        both = np.ascontiguousarray(painting.with_even_sides(both)[0])
        made = av.VideoFrame.from_ndarray(both, format="rgb24")
        made.pts, made.time_base = pts, self.stream.time_base
        self.output.mux(self.encoder.encode(made))

"""Shapes: small videos with questions that need every event.

A clip has 8 or more frames at 1 frame per second. A frame has 48 x 48 pixels in
a grid of 4 x 4 cells. Rows are named a-d from the top, columns 1-4 from the
left. In front of static noise there are

- events, which the questions are about: a mover (3 frames, one cell per frame,
  in a straight line), two single-frame flashes in two different frames, and a
  colour that flashes 1 to 4 times, each time in a frame and cell of its own;
- clutter: 3 static shapes in other colours, and 2 cells of new grey noise in
  each frame.

Nothing happens in frame 0, and no cell shows two things in one frame. The
four events have four different colours, so a colour names an object. About
7 of the 128 cells show an event; with a patch size of 4 and blocks of 3 x 3
patches a cell is a block.

With a moving camera the noise and the static shapes move by up to 5 pixels per
frame in a constant direction, and come back in from the other side. Events and
new noise stay in their cells, so the questions are the same; but every block
differs from that of the previous frame.

Everything depends only on `(seed, split, index)`: a clip is the same on every
machine, and the splits use different random streams.
"""

import collections
import json
import operator
import os

import numpy as np

from keras_stts._collection import cheap_collection
from keras_stts.data.disk import replacing
from keras_stts.datasets import _shapes_checks as checks
from keras_stts.datasets import _shapes_files as files
from keras_stts.datasets import _shapes_render as world

__all__ = [
    "ANSWERS",
    "CAMERAS",
    "CELLS",
    "COLORS",
    "Clip",
    "FRAME_SIZE",
    "KINDS",
    "NUM_FRAMES",
    "SHAPES",
    "generate",
    "load",
    "render",
    "write_video",
]

ANSWERS = world.ANSWERS  # kind of question -> its possible answers
CAMERAS = world.CAMERAS  # still, moving
CELLS = world.CELLS  # rows and columns of cells in a frame
COLORS = world.COLORS  # name -> (red, green, blue)
FRAME_SIZE = world.FRAME_SIZE  # height and width, in pixels
KINDS = world.KINDS
NUM_FRAMES = world.NUM_FRAMES
SHAPES = world.SHAPES

# Increase it whenever a clip, its questions or its file would change.
VERSION = 2
SCALE = 4


class Clip(
    collections.namedtuple("Clip", "frames questions informative labels")
):
    """One rendered clip.

    Attributes:
        frames: uint8 array of shape `(T, 48, 48, 3)`, RGB, T = `num_frames`.
        questions: list of 8 dicts with the strings `"kind"` (one of `KINDS`),
            `"question"` and `"answer"` (one of `ANSWERS[kind]`).
        informative: bool array of shape `(T, 16)`, frames and cells in row
            order: true where an event is shown.
        labels: int32 array of shape `(T, 16, 2)`: the colour (1 to 8, in the
            order of `COLORS`) and the shape (1 to 4, in the order of
            `SHAPES`) in each cell, 0 for none. Static shapes are included
            unless the camera moves; grey noise is not.
    """

    __slots__ = ()


def render(split, index, seed=0, num_frames=NUM_FRAMES, camera="still"):
    """Renders one clip with its questions.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        index: int, 0 or more: number of the clip in the split.
        seed: int, 0 or more: another seed gives another data set.
        num_frames: int, 5 or more. The number of events does not depend on it.
        camera: `"still"` or `"moving"`.

    Returns:
        A `Clip`.

    Raises:
        ValueError: if `split` or `camera` is unknown, or a number is not
            whole, too small, or above 2**32 - 1.

    Example:

    >>> from keras_stts.datasets import shapes
    >>> clip = shapes.render("train", 0)
    >>> clip.frames.shape
    (8, 48, 48, 3)
    >>> clip.questions[0]["question"], clip.questions[0]["answer"]
    ('which way does the green object move?', 'left')
    """
    checks.check_integer("index", index, 0)
    checks.check_world(split, seed, num_frames, camera)
    rng = world.open_stream(split, index, seed)
    layout = world.draw_layout(rng, num_frames, camera)
    return Clip(
        world.draw_frames(rng, layout),
        layout.questions,
        world.mark_events(layout),
        world.label_blocks(layout),
    )


def write_video(path, frames, fps=1.0, *, scale=SCALE):
    """Writes frames as an mp4 file (H.264, yuv420p, high quality).

    Each pixel becomes a square of `scale` x `scale` equal pixels. The file
    appears under its name only when it is complete.

    Args:
        path: path that ends in `.mp4`. Its folder is created if it is
            missing, and an existing file is replaced.
        frames: uint8 array of shape `(T, H, W, 3)`, RGB.
        fps: float, frames per second.
        scale: int, how many times larger to write the frames.

    Raises:
        ValueError: if `path`, `fps` or `scale` is wrong, `frames` has another
            shape or dtype, or the video's height or width would be odd.

    Example:

    >>> import os
    >>> import tempfile
    >>> import imageio.v3 as iio
    >>> from keras_stts.datasets import shapes
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.mp4")
    >>> shapes.write_video(path, shapes.render("train", 0).frames)
    >>> iio.imread(path, plugin="pyav").shape
    (8, 192, 192, 3)
    """
    path = os.fspath(path)
    frames = np.asarray(frames)
    checks.check_integer("scale", scale, 1)
    checks.check_video(path, frames, fps, scale)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with replacing(path, lasting=False) as temporary:
        large = frames.repeat(scale, 2).repeat(scale, 1)
        files.encode(temporary, large, fps)


def generate(
    directory,
    split,
    num_clips,
    *,
    seed=0,
    progress=False,
    num_frames=NUM_FRAMES,
    camera="still",
):
    """Writes a split's videos and the list of its questions.

    The videos are `directory/split/000000.mp4` and so on; the list is
    `directory/split.jsonl`, with one line per question. Complete videos are
    kept, missing and damaged ones are written, so an interrupted run resumes
    where it stopped. A list that holds more clips is kept.

    Args:
        directory: path of a folder, created if it is missing.
        split: `"train"`, `"validation"` or `"test"`.
        num_clips: int, 1 or more: clips 0 to `num_clips - 1`.
        seed: int, 0 or more.
        progress: bool, whether to count the clips on stderr.
        num_frames, camera: see `render`.

    Returns:
        List with a dict for each question: `"video"` (absolute path),
        `"clip"` (int), `"kind"`, `"question"` and `"answer"`. In the file the
        path is relative to `directory`.

    Raises:
        ValueError: if an argument is wrong, or `directory` holds the split
            of another seed, version, number of frames or camera.

    Example:

    >>> import tempfile
    >>> from keras_stts.datasets import shapes
    >>> rows = shapes.generate(tempfile.mkdtemp(), "test", num_clips=2)
    >>> len(rows), rows[-1]["clip"], rows[-1]["kind"]
    (16, 1, 'where')
    """
    checks.check_integer("num_clips", num_clips, 1)
    checks.check_world(split, seed, num_frames, camera)
    directory = os.path.abspath(directory)
    folder = os.path.join(directory, split)
    world_of = (split, seed, num_frames, camera)
    reuse = files.claim(folder, _key(*world_of))
    rows, what = [], f"{split}: clips written"
    with cheap_collection():
        for index in files.counted(num_clips, what, progress):
            video = f"{split}/{index:06d}.mp4"
            path = os.path.join(directory, video)
            if not (reuse and files.is_whole(path)):
                clip = render(split, index, seed, num_frames, camera)
                write_video(path, clip.frames)
            for question in _layout(index, *world_of).questions:
                rows.append({"video": video, "clip": index, **question})
    files.write_manifest(os.path.join(directory, f"{split}.jsonl"), rows)
    return [
        {**row, "video": os.path.join(directory, row["video"])} for row in rows
    ]


def load(
    directory,
    split,
    num_clips,
    *,
    seed=0,
    progress=False,
    num_frames=NUM_FRAMES,
    camera="still",
):
    """Reads a split from its videos, after writing those that are missing.

    The returned frames were decoded from the mp4 files. They are also kept in
    `directory/split.npz`, which later calls read instead if it holds at least
    `num_clips` clips of the same seed and version.

    Args:
        directory: path of a folder, as for `generate`.
        split: `"train"`, `"validation"` or `"test"`.
        num_clips: int, 1 or more.
        seed: int, 0 or more.
        progress: bool, whether to count the clips on stderr.
        num_frames, camera: see `render`.

    Returns:
        Dict of
        - `"videos"`: uint8 array of shape `(num_clips, T, 48, 48, 3)`, RGB,
        - `"questions"`, `"answers"`, `"kinds"`: a list of 8 str for each clip,
        - `"informative"`: bool array of shape `(num_clips, T, 16)`,
        - `"labels"`: int32 array of shape `(num_clips, T, 16, 2)`,

        the last five as in `Clip`.

    Raises:
        ValueError: as in `generate`, or if a video is no clip of this world.

    Example:

    >>> import tempfile
    >>> from keras_stts.datasets import shapes
    >>> data = shapes.load(tempfile.mkdtemp(), "test", num_clips=2)
    >>> data["videos"].shape
    (2, 8, 48, 48, 3)
    >>> data["kinds"][0][:3]
    ['direction', 'first', 'count']
    """
    world_of = (split, seed, num_frames, camera)
    generate(
        directory,
        split,
        num_clips,
        seed=seed,
        progress=progress,
        num_frames=num_frames,
        camera=camera,
    )
    layouts = [_layout(index, *world_of) for index in range(num_clips)]
    asked = [layout.questions for layout in layouts]
    return {
        "videos": _videos(directory, num_clips, progress, world_of),
        "questions": [[row["question"] for row in rows] for rows in asked],
        "answers": [[row["answer"] for row in rows] for rows in asked],
        "kinds": [[row["kind"] for row in rows] for rows in asked],
        "informative": np.stack([world.mark_events(x) for x in layouts]),
        "labels": np.stack([world.label_blocks(x) for x in layouts]),
    }


def _layout(index, split, seed, num_frames, camera):
    rng = world.open_stream(split, index, seed)
    return world.draw_layout(rng, num_frames, camera)


def _videos(directory, num_clips, progress, world_of):
    split, _, num_frames, _ = world_of
    cache, key = os.path.join(directory, f"{split}.npz"), _key(*world_of)
    videos = files.load_cache(cache, key, num_clips)
    if videos is not None:
        return videos
    shape = (num_clips, num_frames, FRAME_SIZE, FRAME_SIZE, 3)
    videos, what = np.empty(shape, "uint8"), f"{split}: clips read"
    with cheap_collection():
        for index in files.counted(num_clips, what, progress):
            path = os.path.join(directory, split, f"{index:06d}.mp4")
            videos[index] = files.decode(path, num_frames, FRAME_SIZE, SCALE)
    with replacing(cache, lasting=False) as temporary:
        np.savez(temporary, videos=videos, num_clips=num_clips, key=key)
    return videos


def _key(split, seed, num_frames, camera):
    key = {"version": VERSION, "split": split, "seed": operator.index(seed)}
    # Files from before there was a choice have neither entry.
    if (num_frames, camera) != (NUM_FRAMES, "still"):
        key |= {"num_frames": operator.index(num_frames), "camera": camera}
    return json.dumps(key)

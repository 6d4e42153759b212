"""Qwen3-VL's inputs: the same as of transformers' processor."""

import hashlib
import json
import subprocess
import sys

import av
import numpy as np
import pytest
import tokenizers

from keras_stts.data import DecodePool
from keras_stts.data import FrameCache
from keras_stts.data import read_video
from keras_stts.data import sample_indices
from keras_stts.data.bicubic import resize_bicubic
from keras_stts.data.records import settings_text
from keras_stts.preprocessing.qwen3_vl import patches
from keras_stts.preprocessing.qwen3_vl import positions
from keras_stts.preprocessing.qwen3_vl import prompt
from keras_stts.preprocessing.qwen3_vl import sampling
from keras_stts.preprocessing.qwen3_vl import sizes
from keras_stts.preprocessing.qwen3_vl import vision_positions
from tests.preprocessing import qwen3_vl_cases as cases

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def tokenizer():
    path = cases.GOLDEN / "tokenizer.json"
    return tokenizers.Tokenizer.from_file(str(path))


@pytest.fixture(scope="module")
def tables():
    return dict(np.load(cases.GOLDEN / "tables.npz"))


def golden(name):
    """Dict of what transformers makes of a batch, and of hashes of pixels."""
    with np.load(cases.GOLDEN / "batches.npz") as arrays:
        found = {
            key.removeprefix(f"{name}/"): arrays[key]
            for key in arrays
            if key.startswith(f"{name}/")
        }
    hashes = json.loads((cases.GOLDEN / "hashes.json").read_text())
    for kind in ("image", "video"):
        found[f"{kind}_hash"] = hashes.get(f"{name}/{kind}_pixels")
    return found


def limits(pair):
    return dict(zip(("min_pixels", "max_pixels"), pair))


def see_image(size):
    """Patches and grid of an image of `cases`."""
    size_now = sizes.image_size(*size, **limits(cases.IMAGE_LIMITS))
    frames = resize_bicubic(cases.picture(*size)[None], size_now)
    return _cut(frames)


def see_video(num_frames, height, width, fps):
    """Patches, grid and times of a video of `cases`."""
    if fps is None:
        with pytest.warns(UserWarning, match="24 are assumed. Pass `fps`"):
            chosen = sampling.frame_indices(num_frames, fps)
        fps = 24
    else:
        chosen = sampling.frame_indices(num_frames, fps)
    size = sizes.video_size(
        len(chosen), height, width, **limits(cases.VIDEO_LIMITS)
    )
    frames = cases.clip(num_frames, height, width)[chosen]
    cut, grid = _cut(resize_bicubic(frames, size))
    return cut, grid, sampling.patch_times(chosen / fps)


def _cut(frames):
    cut = patches.cut_patches(patches.normalize(frames))
    grid = patches.grid_of(*frames.shape[:3])
    assert len(cut) == np.prod(grid)
    return cut, grid


def check_pixels(cut, wanted, kind):
    """Bit for bit; the patches that are kept tell where they would not be."""
    some = np.rint((cut[:: cases.PIXELS_STEP] * 0.5 + 0.5) * 255)
    np.testing.assert_array_equal(some, wanted[f"{kind}_pixels"])
    assert cut.dtype == "float32"
    digest = hashlib.sha256(np.ascontiguousarray(cut).tobytes()).hexdigest()
    assert digest == wanted[f"{kind}_hash"]


def tokenize(tokenizer, texts, side):
    """Padded ids and mask."""
    rows = [tokenizer.encode(text).ids for text in texts]
    length = max(map(len, rows))
    pads = [[0] * (length - len(row)) for row in rows]
    pad = tokenizer.token_to_id("<|endoftext|>")
    mask = np.array([[1] * len(r) + p for r, p in zip(rows, pads)], bool)
    ids = np.array([r + [pad] * len(p) for r, p in zip(rows, pads)])
    if side == "left":
        for row, gap in enumerate(map(len, pads)):
            ids[row], mask[row] = (
                np.roll(ids[row], gap),
                np.roll(mask[row], gap),
            )
    return ids, mask


@pytest.mark.parametrize("name", cases.BATCHES)
def test_as_transformers(name, tokenizer):
    texts, images, videos, side = cases.BATCHES[name]
    wanted = golden(name)
    seen_images = [see_image(size) for size in images]
    seen_videos = [see_video(*video) for video in videos]
    for kind, seen in (("image", seen_images), ("video", seen_videos)):
        if seen:
            grids = [grid for _, grid, *_ in seen]
            np.testing.assert_array_equal(grids, wanted[f"{kind}_grids"])
            check_pixels(np.concatenate([s[0] for s in seen]), wanted, kind)
    image_grids = [grid for _, grid in seen_images]
    video_parts = [(grid, times) for _, grid, times in seen_videos]
    expanded, first, second = [], 0, 0
    for text in texts:
        last = first + text.count(prompt.IMAGE_PAD)
        end = second + text.count(prompt.VIDEO_PAD)
        expanded.append(
            prompt.expand_prompt(
                text,
                image_grids=image_grids[first:last],
                videos=video_parts[second:end],
            )
        )
        first, second = last, end
    ids, mask = tokenize(tokenizer, expanded, side)
    np.testing.assert_array_equal(ids, wanted["ids"])
    np.testing.assert_array_equal(mask, wanted["mask"])
    placed, deltas = positions.rope_positions(
        ids,
        image_token_id=tokenizer.token_to_id(prompt.IMAGE_PAD),
        video_token_id=tokenizer.token_to_id(prompt.VIDEO_PAD),
        image_grids=image_grids,
        video_grids=[grid for grid, _ in video_parts],
        padding_mask=mask,
    )
    # transformers leaves the positions of padding at 0, too.
    np.testing.assert_array_equal(placed, wanted["positions"])
    np.testing.assert_array_equal(deltas, wanted["deltas"])


def test_sizes_as_transformers(tables):
    made = {"images": [], "videos": [], "capped_patches": []}
    published = limits((65536, 16777216)), limits((4096, 25165824))
    for frames, height, width in cases.sizes().tolist():
        made["images"].append(sizes.image_size(height, width, **published[0]))
        made["videos"].append(
            sizes.video_size(frames, height, width, **published[1])
        )
        capped = sizes.video_size(
            frames,
            height,
            width,
            max_frame_blocks=768,
            **limits((131072, 786432)),
        )
        grid = patches.grid_of(frames, *capped)
        made["capped_patches"].append(np.prod(grid))
    for name, values in made.items():
        np.testing.assert_array_equal(values, tables[name])


def test_frames_as_transformers(tables):
    chosen = [sampling.frame_indices(*pair) for pair in cases.lengths()]
    np.testing.assert_array_equal(
        [len(each) for each in chosen], tables["num_chosen"]
    )
    np.testing.assert_array_equal(np.concatenate(chosen), tables["chosen"])
    # The rule by which files are read.
    for (num_total, fps), frames in zip(cases.lengths(), chosen):
        read = sample_indices(num_total, fps, 768, rule="qwen3_vl")
        np.testing.assert_array_equal(read, frames)


def test_file_as_array(tmp_path):
    path = str(tmp_path / "clip.mp4")
    with av.open(path, "w") as file:
        stream = file.add_stream("mpeg4", rate=10, width=160, height=96)
        for image in cases.clip(37, 96, 160):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    resizing = sizes.VideoResizing(**limits(cases.VIDEO_LIMITS))
    whole, _ = read_video(path, 37, sampling="all")
    given = {"sampling": "qwen3_vl", "size": resizing}
    frames, times = read_video(path, 768, **given)
    chosen = sampling.frame_indices(37, 10.0)
    assert times.tolist() == (chosen / 10.0).tolist()
    size = sizes.video_size(len(chosen), 96, 160, **limits(cases.VIDEO_LIMITS))
    assert size != (96, 160)
    np.testing.assert_array_equal(
        frames, resize_bicubic(whole[chosen], size), strict=True
    )
    # In another process, which is handed the resizing.
    with DecodePool(1) as pool:
        again, seconds = pool.submit(path, 768, **given).result()
    np.testing.assert_array_equal(again, frames)
    assert seconds.tolist() == times.tolist()
    # Caches and shards tell one resizing from another.
    same = sizes.VideoResizing(**limits(cases.VIDEO_LIMITS))
    other = sizes.VideoResizing(**limits(cases.IMAGE_LIMITS))
    cache = FrameCache(tmp_path / "cache")
    keys = [cache.key(path, size=each) for each in (resizing, same, other)]
    assert keys[0] == keys[1] != keys[2]
    texts = [settings_text({"size": each}) for each in (resizing, same, other)]
    assert texts[0] == texts[1] != texts[2]


def test_vision_positions_as_transformers(tables):
    for number, (height, width) in enumerate(cases.GRIDS):
        places = vision_positions.patch_places(height, width)
        indices, weights = vision_positions.interpolation(height, width, 7)
        wanted = {
            name: tables[f"grid{number}/{name}"]
            for name in ("places", "indices", "weights")
        }
        np.testing.assert_array_equal(places, wanted["places"])
        np.testing.assert_array_equal(indices, wanted["indices"])
        np.testing.assert_array_equal(weights, wanted["weights"])
    with pytest.raises(ValueError, match="multiples of merge_size=2.*width=3"):
        vision_positions.patch_places(2, 3)
    with pytest.raises(ValueError, match="`side` must be positive.*side=0"):
        vision_positions.interpolation(2, 2, 0)


def test_interpolation_by_hand():
    # A table as large as the grid is taken as it is.
    indices, weights = vision_positions.interpolation(4, 4, 4)
    table = np.arange(16.0)
    seen = (table[indices] * weights).sum(axis=1)
    places = vision_positions.patch_places(4, 4)
    assert seen.tolist() == (places @ [4, 1]).tolist()


def test_order_of_patches_by_hand():
    # Each pixel says its patch, counted row by row in a frame of 4 x 6.
    rows, columns = np.indices((64, 96)) // 16
    frame = np.stack([rows * 6 + columns] * 3, axis=-1).astype("uint8")
    cut = patches.cut_patches(np.stack([frame, frame + 100, frame + 200]))
    assert cut.shape == (48, 1536)
    cut = cut.reshape(2, 24, 3, 2, 256)
    assert (cut == cut[..., :1]).all()
    # Blocks row by row, and in each block its four patches.
    assert cut[0, :8, 0, 0, 0].tolist() == [0, 1, 6, 7, 2, 3, 8, 9]
    assert (cut[0, :, :, 1, 0] == cut[0, :, :, 0, 0] + 100).all()
    # The third frame stands twice.
    assert (cut[1, :, :, 0] == cut[1, :, :, 1]).all()


def test_positions_by_hand():
    # Text, two frames of 1 x 2 tokens with a time between, text.
    placed, deltas = positions.rope_positions(
        [[5, 2, 2, 6, 2, 2, 7, 0]],
        image_token_id=1,
        video_token_id=2,
        video_grids=[(2, 2, 4)],
        padding_mask=[[1, 1, 1, 1, 1, 1, 1, 0]],
    )
    assert placed[:, 0].tolist() == [
        [0, 1, 1, 3, 4, 4, 6, 0],
        [0, 1, 1, 3, 4, 4, 6, 0],
        [0, 1, 2, 3, 4, 5, 6, 0],
    ]
    assert deltas.tolist() == [[0]]


def test_images_side_by_side_and_only_padding():
    placed, deltas = positions.rope_positions(
        [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]],
        image_token_id=1,
        video_token_id=2,
        image_grids=[(1, 4, 4), (1, 2, 2)],
        padding_mask=[[1] * 5, [0] * 5],
    )
    assert placed[:, 0].tolist() == [
        [0, 0, 0, 0, 2],
        [0, 0, 1, 1, 2],
        [0, 1, 0, 1, 2],
    ]
    assert not placed[:, 1].any()
    assert deltas.tolist() == [[-2], [0]]


@pytest.mark.parametrize(
    ("ids", "grids", "match"),
    [
        ([[1, 1, 5]], [], "0 merged patches for the placeholders 1 from"),
        ([[1, 1, 5]], [(1, 2, 6)], "3 merged patches for the placeholders 1"),
        ([[5, 1, 1]], [(1, 2, 6)], "Was a sequence cut|a sequence cut"),
        ([[1, 1, 5]], [(1, 2, 2)], "0 merged patches .* from token 1 on"),
        ([[5, 5]], [(1, 2, 2)], "grids left over of {1: 1}"),
        ([5, 5], [], r"must be \(B, S\). Received: shapes \(2,\)"),
    ],
)
def test_positions_refused(ids, grids, match):
    with pytest.raises(ValueError, match=match):
        positions.rope_positions(
            ids, image_token_id=1, video_token_id=2, image_grids=grids
        )


def test_frames_and_times():
    assert sampling.frame_indices(3, 30.0).tolist() == [0, 1, 2]
    assert sampling.frame_indices(1, 30.0).tolist() == [0]
    assert len(sampling.frame_indices(10**6, 30.0)) == 768
    assert sampling.frame_indices(9, None, num_frames=3).tolist() == [0, 4, 8]
    with pytest.raises(ValueError, match="must be positive.*num_total=0"):
        sampling.frame_indices(0, 30.0)
    with pytest.raises(ValueError, match="at most `max_frames`.*min_frames=9"):
        sampling.frame_indices(5, 30.0, min_frames=9, max_frames=8)
    with pytest.raises(ValueError, match="positive and finite.*fps=0"):
        sampling.frame_indices(5, 0)
    with pytest.raises(ValueError, match="one frame or more"):
        sampling.patch_times([])


def test_sizes_refused():
    bounds = limits((4096, 16384))
    with pytest.raises(ValueError, match="at most 200 times.*height=1, wi"):
        sizes.image_size(1, 201, **bounds)
    with pytest.raises(ValueError, match="Pass a single frame as an image"):
        sizes.video_size(1, 64, 64, **bounds)
    with pytest.raises(ValueError, match="min_pixels=4096, max_pixels=1"):
        sizes.image_size(64, 64, **limits((4096, 1)))
    with pytest.raises(ValueError, match="positive.*width=0"):
        sizes.image_size(64, 0, **bounds)
    with pytest.raises(ValueError, match=r"multiples of 32.*\(1, 48, 64, 3\)"):
        patches.cut_patches(np.zeros((1, 48, 64, 3), "uint8"))
    with pytest.raises(ValueError, match=r"size=\(0, 4\)"):
        resize_bicubic(np.zeros((1, 48, 64, 3), "uint8"), (0, 4))


def test_outer_marks():
    text = f"{cases.IMAGE_TOKEN}{cases.VIDEO_TOKEN}<|video_pad|>"
    given = {"image_grids": [(1, 2, 2)], "videos": [((1, 2, 2), [3.0])] * 2}
    bare = f"<3.0 seconds>{cases.VIDEO_TOKEN}"
    marked = f"{prompt.VISION_START}{bare}{prompt.VISION_END}"
    made = prompt.expand_prompt(text, **given)
    assert made == f"{cases.IMAGE_TOKEN}{marked}{bare}"
    made = prompt.expand_prompt(text, **given, outer_marks=False)
    assert made == f"{cases.IMAGE_TOKEN}{bare}{bare}"


def test_prompt_refused():
    with pytest.raises(ValueError, match="one <.image_pad.> for each image"):
        prompt.expand_prompt("Hm.", image_grids=[(1, 2, 2)])
    with pytest.raises(ValueError, match="2 in the prompt, 1 given"):
        prompt.expand_prompt(
            "<|video_pad|><|video_pad|>", videos=[((1, 2, 2), [0.0])]
        )
    with pytest.raises(ValueError, match=r"1 times, grid=\(2, 2, 2\)"):
        prompt.video_text((2, 2, 2), [0.0])


def test_neither_torch_nor_tensorflow():
    rooms = "keras_stts.data.bicubic", "keras_stts.preprocessing.buckets"
    rooms += tuple(
        f"keras_stts.preprocessing.qwen3_vl.{name}"
        for name in (
            "patches",
            "positions",
            "prompt",
            "sampling",
            "sizes",
            "vision_positions",
        )
    )
    code = (
        "import sys; sys.modules['torch'] = sys.modules['tensorflow'] = None\n"
        f"import {', '.join(rooms)}"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={"KERAS_BACKEND": "jax", "PATH": ""},
    )

import collections
import json
import os
import zlib

import imageio.v3 as iio
import numpy as np
import pytest

from keras_stts.datasets import _shapes_files as files
from keras_stts.datasets import shapes

pytestmark = pytest.mark.once

PALETTE = np.array(list(shapes.COLORS.values()))
STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
CHANCE = {
    "direction": 1 / 4,
    "shape": 1 / 4,
    "first": 1 / 2,
    "where": 1 / 16,
    "count": 1 / 4,
}


@pytest.fixture(scope="module")
def clips():
    return [shapes.render("train", index) for index in range(1500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shapes")
    shapes.load(path, "test", num_clips=6)
    return path


def ask(clip, kind):
    """Lists the colours each question of a kind names, and its answer."""
    rows = [row for row in clip.questions if row["kind"] == kind]
    words = [row["question"].strip("?").split() for row in rows]
    named = [[word for word in line if word in shapes.COLORS] for line in words]
    return [(colors, row["answer"]) for colors, row in zip(named, rows)]


def find(clip, color):
    """Lists (frame, row, column) of the cells that show a colour."""
    number = 1 + list(shapes.COLORS).index(color)
    found = np.argwhere(clip.labels[..., 0] == number)
    return [(int(t), int(c) // 4, int(c) % 4) for t, c in found]


def cells(frames):
    """Cuts (8, 48, 48, 3) into (8, 16, 144, 3)."""
    cut = frames.reshape(8, 4, 12, 4, 12, 3).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(8, 16, 144, 3)


def classify(frames):
    """Returns each cell's colour by its pixels: 0 where there is none."""
    pixels = cells(frames).astype(int)[..., None, :]
    distance = np.abs(pixels - PALETTE).max(-1)
    votes = np.sum(distance < 40, axis=2)
    # The smallest shape has 60 pixels; grey noise is white in 44 at most.
    return np.where(votes.max(-1) > 52, votes.argmax(-1) + 1, 0)


def test_one_clip_by_hand():
    # Read off a picture of the clip.
    clip = shapes.render("train", 0)
    assert find(clip, "green") == [(1, 0, 3), (2, 0, 2), (3, 0, 1)]
    assert find(clip, "yellow") == [(1, 3, 1)]
    assert find(clip, "orange") == [(3, 1, 2)]
    assert find(clip, "magenta") == [(1, 1, 2), (5, 2, 3)]
    answers = {row["question"]: row["answer"] for row in clip.questions}
    assert answers == {
        "which way does the green object move?": "left",
        "which appears first, the orange or the yellow object?": "yellow",
        "how many times does the magenta object appear?": "two",
        "what shape is the yellow object?": "triangle",
        "what shape is the orange object?": "triangle",
        "what shape is the magenta object?": "cross",
        "in which cell does the yellow object appear?": "d2",
        "in which cell does the orange object appear?": "b3",
    }


def test_clip_format(clips):
    for clip in clips[:20]:
        assert clip.frames.shape == (8, 48, 48, 3)
        assert clip.frames.dtype == "uint8"
        assert clip.informative.shape == (8, 16)
        assert clip.informative.dtype == bool
        assert clip.labels.shape == (8, 16, 2)
        assert clip.labels.dtype == "int32"
        assert len(clip.questions) == 8
        for row in clip.questions:
            assert row["answer"] in shapes.ANSWERS[row["kind"]]
            assert row["question"] == row["question"].lower()
    assert shapes.KINDS == tuple(CHANCE)


def test_answers_agree_with_the_cells(clips):
    numbers = shapes.ANSWERS["count"]
    for clip in clips[:300]:
        for (color,), answer in ask(clip, "direction"):
            (t0, *a), (t1, *b), (t2, *c) = find(clip, color)
            assert (t1, t2) == (t0 + 1, t0 + 2)
            for start, end in ((a, b), (b, c)):
                step = (end[0] - start[0], end[1] - start[1])
                assert step == STEPS[answer]
        for (color,), answer in ask(clip, "where"):
            ((_, row, column),) = find(clip, color)
            assert answer == "abcd"[row] + "1234"[column]
        for (color,), answer in ask(clip, "shape"):
            kinds = {
                int(clip.labels[t, 4 * r + c, 1])
                for t, r, c in find(clip, color)
            }
            assert kinds == {1 + shapes.SHAPES.index(answer)}
        for (color,), answer in ask(clip, "count"):
            frames, *places = zip(*find(clip, color))
            assert answer == numbers[len(frames) - 1]
            assert len(set(frames)) == len(set(zip(*places))) == len(frames)
        for pair, answer in ask(clip, "first"):
            start = {color: find(clip, color)[0][0] for color in pair}
            assert len(set(start.values())) == 2
            assert answer == min(start, key=start.get)


def test_informative_is_where_events_are(clips):
    for clip in clips[:300]:
        named = {
            color
            for kind in shapes.KINDS
            for colors, _ in ask(clip, kind)
            for color in colors
        }
        assert len(named) == 4
        numbers = [1 + list(shapes.COLORS).index(color) for color in named]
        events = np.isin(clip.labels[..., 0], numbers)
        np.testing.assert_array_equal(clip.informative, events)
        assert not clip.informative[0].any()
        static = np.where(events, 0, clip.labels[..., 0])
        assert (static == static[0]).all()
        assert np.unique(static[0]).size == 4  # none and three colours
    mean = np.mean([clip.informative.sum() for clip in clips])
    assert 7.3 < mean < 7.7  # 3 + 1 + 1 + (1 + 2 + 3 + 4) / 4


def test_pixels_agree_with_the_labels(clips):
    for clip in clips[:100]:
        np.testing.assert_array_equal(
            classify(clip.frames), clip.labels[..., 0]
        )


def test_shapes_differ_in_many_pixels(clips):
    masks = {}
    for clip in clips[:60]:
        cut = cells(clip.frames).astype(int)
        for t, cell in np.argwhere(clip.labels[..., 0]):
            color, shape = clip.labels[t, cell]
            near = np.abs(cut[t, cell] - PALETTE[color - 1]).max(-1) < 10
            np.testing.assert_array_equal(
                near, masks.setdefault(int(shape), near)
            )
    assert sorted(masks) == [1, 2, 3, 4]
    for one in masks:
        for other in range(one + 1, 5):
            assert np.sum(masks[one] != masks[other]) >= 28


def test_two_cells_a_frame_flicker(clips):
    for clip in clips[:50]:
        rough = cells(clip.frames)[..., 0].astype(int).std(-1) > 50
        flicker = rough & (clip.labels[..., 0] == 0)
        np.testing.assert_array_equal(flicker.sum(1), np.full(8, 2))


def test_background_is_static_but_noisy(clips):
    frames = clips[0].frames.astype(int)
    still = ~np.any(
        (cells(clips[0].frames)[..., 0].std(-1) > 50)
        | (clips[0].labels[..., 0] > 0),
        axis=0,
    )
    difference = cells(np.abs(frames - frames[0]))[1:, still]
    assert 0 < difference.mean() < 5
    assert difference.max() <= 10


def test_moving_camera(clips):
    """Noise and static shapes move together; events and questions stay."""
    for index, still in enumerate(clips[:20]):
        moving = shapes.render("train", index, camera="moving")
        assert moving.questions == still.questions
        assert (moving.informative == still.informative).all()
        assert ((moving.labels > 0).all(-1) == still.informative).all()
        first, *others = moving.frames.astype("int64")
        shifts = [(y, x) for y in range(-5, 6) for x in range(-5, 6)]
        rolled = [
            np.roll(first, (y, x), axis=(0, 1)).astype("int64")
            for y, x in shifts
        ]
        # Of most pixels, as events and fresh noise lie in front.
        near = [(abs(one - others[0]) <= 10).mean() for one in rolled]
        y, x = shifts[int(np.argmax(near))]
        assert max(abs(y), abs(x)) > 1
        for t, frame in enumerate(others, 1):
            background = np.roll(first, (t * y, t * x), axis=(0, 1))
            assert (abs(background - frame) <= 10).mean() > 0.6
        shown = cells(moving.frames).astype("int64")
        for t, cell in zip(*np.nonzero(still.informative)):
            color = PALETTE[still.labels[t, cell, 0] - 1]
            assert (abs(shown[t, cell] - color).max(-1) <= 5).sum() > 45


@pytest.mark.parametrize("camera", shapes.CAMERAS)
def test_longer_clips(camera, tmp_path):
    options = {"num_frames": 12, "camera": camera}
    data = shapes.load(tmp_path, "train", num_clips=2, **options)
    clip = shapes.render("train", 1, **options)
    assert data["videos"].shape == (2, 12, 48, 48, 3)
    assert data["questions"][1] == [row["question"] for row in clip.questions]
    assert (data["informative"][1] == clip.informative).all()
    late = [shapes.render("train", i, **options) for i in range(20)]
    assert any(clip.informative[8:].any() for clip in late)
    assert not any(clip.informative[0].any() for clip in late)
    with pytest.raises(ValueError, match="one seed and version"):
        shapes.load(tmp_path, "train", num_clips=2)


def test_same_clip_every_time():
    one, two = (
        shapes.render("test", 7, seed=3),
        shapes.render("test", 7, seed=3),
    )
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.questions == two.questions


@pytest.mark.parametrize(
    "split, index, seed, checksum",
    [
        ("train", 0, 0, 468697822),
        ("validation", 5, 0, 3775540183),
        ("test", 123, 7, 281195078),
    ],
)
def test_same_clip_on_every_machine(split, index, seed, checksum):
    assert zlib.crc32(shapes.render(split, index, seed).frames) == checksum


def test_no_two_clips_are_equal():
    seen = collections.Counter(
        shapes.render(split, index, seed).frames.tobytes()
        for split in ("train", "validation", "test")
        for index in range(100)
        for seed in (0, 1)
    )
    assert len(seen) == 600
    layouts = {
        shapes.render(split, index).labels.tobytes()
        for split in ("train", "validation", "test")
        for index in range(100)
    }
    assert len(layouts) == 300


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_text_alone_is_at_chance(clips, kind):
    votes, hits = collections.defaultdict(collections.Counter), []
    for clip in clips[:750]:
        for row in clip.questions:
            votes[row["kind"], row["question"]][row["answer"]] += 1
    for clip in clips[750:]:
        for row in clip.questions:
            counts = votes[row["kind"], row["question"]].most_common(1)
            if row["kind"] == kind:
                hits.append(bool(counts) and counts[0][0] == row["answer"])
    chance = CHANCE[kind]
    error = np.sqrt(chance * (1 - chance) / len(hits))
    assert np.mean(hits) < chance + 3 * error
    assert np.mean(hits) > chance - 4 * error


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_answers_are_uniform(clips, kind):
    answers = collections.Counter(
        row["answer"]
        for clip in clips
        for row in clip.questions
        if row["kind"] == kind
    )
    assert set(answers) == set(shapes.ANSWERS[kind])
    total, share = sum(answers.values()), 1 / len(shapes.ANSWERS[kind])
    error = np.sqrt(share * (1 - share) / total)
    for count in answers.values():
        assert abs(count / total - share) < 4 * error


def test_first_answer_is_either_colour_named(clips):
    early = [
        pair.index(answer)
        for clip in clips
        for pair, answer in ask(clip, "first")
    ]
    assert 0.45 < np.mean(early) < 0.55


def test_write_video(tmp_path):
    clip = shapes.render("train", 0)
    path = tmp_path / "new" / "clip.mp4"
    shapes.write_video(path, clip.frames)
    video = iio.imread(path, plugin="pyav")
    assert video.shape == (8, 192, 192, 3)
    about = iio.immeta(path, plugin="pyav")
    assert (about["codec"], about["fps"]) == ("h264", 1.0)
    assert about["video_format"] == "yuv420p"
    assert iio.improps(path, plugin="pyav").shape[0] == 8
    assert os.listdir(tmp_path / "new") == ["clip.mp4"]
    shapes.write_video(path, clip.frames[:3, :24], fps=4, scale=2)
    assert iio.imread(path, plugin="pyav").shape == (3, 48, 96, 3)


def test_write_video_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    def fail(path, frames, fps):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    monkeypatch.setattr(files, "encode", fail)
    with pytest.raises(OSError, match="disk full"):
        shapes.write_video(path, shapes.render("train", 0).frames)
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert path.read_bytes() == b"old"


def test_load_returns_what_was_rendered(folder):
    data = shapes.load(folder, "test", num_clips=6)
    clips = [shapes.render("test", index) for index in range(6)]
    assert data["videos"].shape == (6, 8, 48, 48, 3)
    assert data["videos"].dtype == "uint8"
    for name in ("question", "answer", "kind"):
        expected = [[row[name] for row in clip.questions] for clip in clips]
        assert data[name + "s"] == expected
    for name in ("informative", "labels"):
        expected = np.stack([getattr(clip, name) for clip in clips])
        np.testing.assert_array_equal(data[name], expected)
        assert data[name].dtype == expected.dtype


def test_decoded_clips_are_close(folder):
    videos = shapes.load(folder, "test", num_clips=6)["videos"]
    for index, video in enumerate(videos):
        clip = shapes.render("test", index)
        error = np.abs(video.astype(int) - clip.frames)
        assert error.mean() < 2.5
        assert cells(error)[clip.informative].mean() < 4
        np.testing.assert_array_equal(classify(video), clip.labels[..., 0])


def test_decode_without_encoder_options(tmp_path, monkeypatch):
    # What is left should imageio move its private stream.
    monkeypatch.setattr(files, "ENCODER", {})
    clip = shapes.render("train", 1)
    shapes.write_video(tmp_path / "a.mp4", clip.frames)
    video = files.decode(tmp_path / "a.mp4", 8, 48, 4)
    assert np.abs(video.astype(int) - clip.frames).mean() < 4
    np.testing.assert_array_equal(classify(video), clip.labels[..., 0])


def test_generate_writes_the_list(tmp_path):
    rows = shapes.generate(tmp_path, "validation", num_clips=2, seed=4)
    lines = (tmp_path / "validation.jsonl").read_text().splitlines()
    assert len(rows) == len(lines) == 16
    for row, line in zip(rows, map(json.loads, lines)):
        assert os.path.isabs(row["video"]) and os.path.exists(row["video"])
        assert line["video"] == f"validation/{row['clip']:06d}.mp4"
        assert {**row, "video": line["video"]} == line
    asked = [
        {k: row[k] for k in ("kind", "question", "answer")} for row in rows
    ]
    assert asked[8:] == shapes.render("validation", 1, seed=4).questions


def test_generate_again_writes_nothing(folder):
    def state():
        return {
            path: path.stat().st_mtime_ns
            for path in folder.rglob("*")
            if path.is_file()
        }

    before = state()
    rows = shapes.generate(folder, "test", num_clips=6)
    shapes.load(folder, "test", num_clips=6)
    assert state() == before and len(before) == 6 + 3
    # Fewer clips are a part of what is there.
    assert shapes.generate(folder, "test", num_clips=2) == rows[:16]
    few = shapes.load(folder, "test", num_clips=2)["videos"]
    all_of_them = shapes.load(folder, "test", num_clips=6)["videos"]
    np.testing.assert_array_equal(few, all_of_them[:2])
    assert state() == before


@pytest.mark.parametrize("kept", [0, 4, 20, 5000, -1])
def test_generate_replaces_a_half_written_file(tmp_path, kept):
    shapes.generate(tmp_path, "train", num_clips=2)
    first, second = sorted((tmp_path / "train").glob("*.mp4"))
    whole, untouched = first.read_bytes(), second.stat().st_mtime_ns
    first.write_bytes(whole[:kept])
    (tmp_path / "train" / ".000001.x.tmp.mp4").write_bytes(b"half")
    data = shapes.load(tmp_path, "train", num_clips=2)
    assert first.read_bytes() == whole
    assert second.stat().st_mtime_ns == untouched
    np.testing.assert_array_equal(
        classify(data["videos"][0]), data["labels"][0, ..., 0]
    )


def test_load_survives_a_broken_cache(tmp_path):
    videos = shapes.load(tmp_path, "train", num_clips=2)["videos"]
    cache = tmp_path / "train.npz"
    for content in (b"", b"nonsense", cache.read_bytes()[:9000]):
        cache.write_bytes(content)
        again = shapes.load(tmp_path, "train", num_clips=2)["videos"]
        np.testing.assert_array_equal(again, videos)
    more = shapes.load(tmp_path, "train", num_clips=3)["videos"]
    np.testing.assert_array_equal(more[:2], videos)
    assert len(more) == 3


def test_load_names_a_damaged_video(tmp_path):
    shapes.generate(tmp_path, "train", num_clips=1)
    path = tmp_path / "train" / "000000.mp4"
    content = bytearray(path.read_bytes())
    content[1000:-2000] = bytes(len(content) - 3000)  # its parts still fit
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"000000\.mp4.*Delete the file"):
        shapes.load(tmp_path, "train", num_clips=1)
    shapes.write_video(path, np.zeros((8, 24, 24, 3), "uint8"))
    with pytest.raises(ValueError, match=r"\(8, 96, 96, 3\)"):
        shapes.load(tmp_path, "train", num_clips=1)


def test_directory_holds_one_seed_and_version(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r'"seed": 1.*"seed": 0.*another'):
        shapes.generate(folder, "test", num_clips=1, seed=1)
    monkeypatch.setattr(shapes, "VERSION", -1)
    with pytest.raises(ValueError, match='"version": -1'):
        shapes.load(folder, "test", num_clips=1)


def test_progress(tmp_path, capsys):
    shapes.load(tmp_path, "train", num_clips=2, progress=True)
    printed = capsys.readouterr().err
    assert "train: clips written: 2/2\n" in printed
    assert "train: clips read: 2/2\n" in printed
    shapes.load(tmp_path, "train", num_clips=2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("dev", 0), r"`split` must be one of .*Received: split='dev'"),
        (("train", -1), r"`index` must be .*Received: index=-1"),
        (("train", 1.0), r"`index` must be .*Received: index=1.0"),
        (("train", True), r"`index` must be .*Received: index=True"),
        (("train", 2**32), r"`index` must be .*from 0 to 2\*\*32 - 1"),
        (("train", 0, -5), r"`seed` must be .*Received: seed=-5"),
        (("train", 0, 0, 4), r"`num_frames` .* from 5 .*num_frames=4"),
        (("train", 0, 0, 8, "dolly"), r"`camera` must .*camera='dolly'"),
    ],
)
def test_render_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        shapes.render(*arguments)


@pytest.mark.parametrize("function", [shapes.generate, shapes.load])
def test_request_errors(function, tmp_path):
    with pytest.raises(ValueError, match="num_clips.*1 or more"):
        function(tmp_path, "train", 0)
    with pytest.raises(ValueError, match="Received: split='all'"):
        function(tmp_path, "all", 1)
    with pytest.raises(ValueError, match="Received: seed=None"):
        function(tmp_path, "train", 1, seed=None)
    assert not os.listdir(tmp_path)


def test_write_video_errors(tmp_path):
    frames = np.zeros((2, 5, 6, 3), "uint8")
    path = tmp_path / "a.mp4"
    with pytest.raises(ValueError, match=r"end in '\.mp4'.*a\.avi"):
        shapes.write_video(tmp_path / "a.avi", frames)
    with pytest.raises(ValueError, match="Received: fps=0"):
        shapes.write_video(path, frames, fps=0)
    with pytest.raises(ValueError, match="Received: scale=0"):
        shapes.write_video(path, frames, scale=0)
    with pytest.raises(ValueError, match="even height and width.*scale=1"):
        shapes.write_video(path, frames, scale=1)
    with pytest.raises(ValueError, match="frames of float64"):
        shapes.write_video(path, frames / 255)
    with pytest.raises(ValueError, match=r"frames of uint8 \(5, 6, 3\)"):
        shapes.write_video(path, frames[0])
    with pytest.raises(ValueError, match="needs a frame"):
        shapes.write_video(path, frames[:0])
    assert not os.listdir(tmp_path)


def test_public_names():
    assert shapes.__all__ == [
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
    for name in shapes.__all__:
        assert hasattr(shapes, name)

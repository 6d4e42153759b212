"""Videos that are seen once, and asked about later."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_stts
from keras_stts import pruning
from keras_stts.data.sampled import ChosenFrames
from keras_stts.data.sampled import SampledVideo
from keras_stts.models.batch_sizes import BatchSizes
from tests.data.reading_test import write
from tests.models import qwen3_vl
from tests.models import tiny
from tests.preprocessing.qwen3_vl_preprocessor_test import make

PROMPTS = ["what?", "which way does it go?", "how many?"]
# A video of Qwen3-VL has fewer blocks and frames than its bucket.
QWEN_VIDEO = (7, 64, 96)


@keras.saving.register_keras_serializable("encode_test")
class Even(pruning.Ranking):
    """Frames 0, 2, 4, ... stay: the same in chunks of two and in one."""

    place = "connector"

    def call(self, blocks, frames):
        number = blocks.shape[1]
        scores = ops.cast(ops.arange(number) % 2 == 0, "float32")
        return ops.zeros_like(blocks[..., 0]) + scores[:, None]


def molmo(method="stts", **kwargs):
    model = tiny.packed(sharp=True, pruning=method, **kwargs)
    model.compile(sampler="greedy")
    return model


def qwen(method):
    preprocessor = make(
        {"min_pixels": 1024, "max_pixels": 10**6},
        buckets=[(4, 8)],
        num_images=0,
        num_image_blocks=None,
        sequence_length=40,
    )
    model = qwen3_vl.model(
        preprocessor, pruning=method, shallow=True, text_layers=2
    )
    model.compile(sampler="greedy")
    return model


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), "uint8")


def is_molmo(model):
    """Of one family, of the programs that take longest to compile."""
    return isinstance(model.preprocessor, keras_stts.VideoVLMPreprocessor)


CASES = {
    "molmo2": (molmo, functools.partial(tiny.video, 0)),
    "qwen3_vl": (
        lambda: qwen(pruning.STTS(0.5, layer=0)),
        functools.partial(noise, QWEN_VIDEO),
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    make_model, make_video = CASES[request.param]
    model, video = make_model(), make_video()
    encoded = model.encode(video, 2.0, verbose=0)
    answers = model.generate(
        {"videos": [video] * 3, "prompts": PROMPTS, "fps": 2.0}
    )
    return model, video, encoded, answers


def test_answers_are_those_about_the_video(case, tmp_path):
    model, video, encoded, answers = case
    assert len(set(answers)) > 1
    asked = {"videos": [encoded] * 3, "prompts": PROMPTS}
    assert model.generate(asked) == answers
    one = {"videos": encoded, "prompts": PROMPTS[1]}
    assert model.generate(one) == answers[1]
    # Copies do not share what is in memory.
    encoded.save(tmp_path / "video.safetensors")
    copies = [
        keras_stts.EncodedVideo.load(tmp_path / "video.safetensors")
        for _ in range(3)
    ]
    assert model.generate({**asked, "videos": copies}) == answers
    assert repr(copies[0]) == repr(encoded)
    assert copies[0].nbytes == encoded.nbytes > 0
    np.testing.assert_array_equal(copies[0].kept, encoded.kept)
    shown = model.kept_blocks(video, 2.0)["kept"]
    shown = shown[:: -(-len(shown) // len(encoded.kept))]
    number = shown.shape[1]
    np.testing.assert_array_equal(encoded.kept[:, :number], shown)


def test_videos_of_a_batch_may_be_encoded_or_not(case):
    model, video, encoded, answers = case
    other = noise((4, *video.shape[1:3]), seed=1)
    x = {"prompts": PROMPTS[:2], "fps": 2.0}
    wanted = model.generate({**x, "videos": [other, video]})
    assert model.generate({**x, "videos": [other, encoded]}) == wanted
    assert wanted[1] == answers[1]


def test_streaming_gives_the_same_answers(case):
    model, video, encoded, answers = case
    for shown in (encoded, video)[: 1 + is_molmo(model)]:
        x = {"videos": [shown] * 3, "prompts": PROMPTS}
        if shown is video:
            x["fps"] = 2.0
        pieces = list(model.stream(x))
        assert len(pieces) > 1 and all(any(each) for each in pieces)
        assert ["".join(row) for row in zip(*pieces)] == answers
    one = list(model.stream({"videos": encoded, "prompts": PROMPTS[0]}))
    assert "".join(one) == answers[0]


def test_batches_of_one_size(case):
    model, video, encoded, answers = case
    for videos in ([encoded] * 3, [video] * 3)[: 1 + is_molmo(model)]:
        x = {"videos": videos, "prompts": PROMPTS}
        x |= {"fps": [2.0] * 3} if videos[0] is video else {}
        assert model.generate(x, batch_size=2) == answers
    # The messages of one question are not several questions.
    talk = [{"role": "user", "content": PROMPTS[0]}]
    one = {"videos": encoded, "prompts": talk}
    assert model.generate(one, batch_size=2) == model.generate(one)
    with pytest.raises(ValueError, match="`batch_size` must be a number"):
        model.generate(x, batch_size=0)


def test_an_interrupted_model_answers_again(case, monkeypatch):
    """Ctrl-C while videos are seen, while tokens are drawn, and at the end."""
    model, video, encoded, answers = case
    x = {"videos": [encoded] * 3, "prompts": PROMPTS}

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    for owner, name, run in (
        (type(model.preprocessor), "generate_postprocess", model.generate),
        (
            keras_stts.models.task_streaming,
            "draw",
            lambda x: list(model.stream(x)),
        ),
        (type(model), "program", lambda x: model.encode(video, 2.0)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(x)
        assert model.generate(x) == answers
    started = model.stream(x)
    next(started)
    started.close()
    assert model.generate(x) == answers


def test_unfinished_letters_wait():
    new = keras_stts.models.task_streaming.new_letters
    assert new([""], ["a\ufffd"]) == (["a"], ["a"])
    assert new(["a"], ["a\ufffd\ufffd"]) == ([""], ["a"])
    assert new(["a"], ["a√"]) == (["√"], ["a√"])


@pytest.mark.parametrize(
    "family, method", [("molmo2", None), ("molmo2", "tome"), ("molmo2", "even"),
                       ("qwen3_vl", None), ("qwen3_vl", "even")]
)  # fmt: skip
def test_chunks_of_equal_budgets_change_nothing(family, method):
    if method == "even":
        method = Even(0.5)
    elif method == "tome":
        method = pruning.ToMe(0.5)
    if family == "molmo2":
        model, video, rate = molmo(method), tiny.video(0, 4), None
    else:
        model, video, rate = qwen(method), noise((8, 64, 96)), 2.0
    chunk = 2 if family == "molmo2" else 4
    whole = model.encode(video, rate, verbose=0)
    parts = model.encode(video, rate, chunk_frames=chunk, verbose=0)
    assert whole.head == parts.head
    if whole.kept is not None:
        np.testing.assert_array_equal(whole.kept, parts.kept)
        assert whole.kept.sum() < whole.kept.size
    mask = ops.convert_to_numpy(whole.prefix["mask"])
    other = ops.convert_to_numpy(parts.prefix["mask"])
    assert mask.sum() == other.sum()
    for one, two in zip(
        keras.tree.flatten(whole.prefix["layers"]),
        keras.tree.flatten(parts.prefix["layers"]),
    ):
        one, two = ops.convert_to_numpy(one), ops.convert_to_numpy(two)
        np.testing.assert_allclose(one[mask], two[other], atol=1e-5)


@pytest.mark.parametrize("family", ["molmo2", "qwen3_vl"])
def test_a_file_is_read_in_chunks(family, tmp_path, monkeypatch):
    """As its frames in memory are seen, never more than a chunk of them."""
    path = write(tmp_path / "a.mp4", "-c:v libx264 -g 6", rate=4, seconds=2)
    if family == "molmo2":
        model, chunk = molmo(), 2
    else:
        model, chunk = qwen(pruning.STTS(0.5, layer=0)), 4
    converter = model.preprocessor.video_converter
    sampled = converter.read(path)
    wanted = model.encode(sampled, chunk_frames=chunk, verbose=0)
    read = []

    def choose(video, *args):
        chosen = type(converter).choose(converter, video, *args)
        if isinstance(video, SampledVideo):
            return chosen
        return ChosenFrames(
            chosen.times,
            lambda *part: read.append(part) or chosen.read(*part),
        )

    monkeypatch.setattr(converter, "choose", choose)
    video = model.encode(str(path), chunk_frames=chunk, verbose=0)
    number = len(sampled.times)
    parts = [
        (n, min(n + chunk, number) if n else chunk)
        for n in range(0, number, chunk)
    ]
    assert [part for part in read if part != (0, 1)] == parts
    assert video.head == wanted.head
    np.testing.assert_array_equal(video.kept, wanted.kept)
    np.testing.assert_array_equal(video.timestamps, wanted.timestamps)
    for one, two in zip(
        keras.tree.flatten(video.prefix["layers"]),
        keras.tree.flatten(wanted.prefix["layers"]),
    ):
        tiny.same(one, two)


def test_damage_in_a_late_chunk_is_said(tmp_path):
    path = write(tmp_path / "a.mp4", "-c:v libx264 -g 5", seconds=2)
    data = bytearray(path.read_bytes())
    model = molmo(None)
    model.encode(str(path), chunk_frames=2, verbose=0)
    place = len(data) * 2 // 3
    data[place : place + 400] = bytes(400)
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="damaged"):
        model.encode(str(path), chunk_frames=2, verbose=0)


def test_each_chunk_is_pruned_as_a_video():
    """The last chunk is short, and one is padding alone."""
    model = molmo()
    video = tiny.video(0, 11)
    encoded = model.encode(video, 2.0, num_frames=16, chunk_frames=4, verbose=0)
    assert encoded.timestamps.tolist() == (np.arange(11) / 2).tolist()
    for start in (0, 4, 8):
        alone = model.encode(video[start : start + 4], 2.0, verbose=0)
        np.testing.assert_array_equal(
            encoded.kept[start : start + 4], alone.kept
        )
    answers = model.generate({"videos": [encoded] * 2, "prompts": PROMPTS[:2]})
    assert all(answers)


def test_words_before_a_video_are_encoded_with_it():
    model = qwen(None)
    prompt = [
        {"role": "user", "content": [
            {"type": "text", "text": "look:"},
            {"type": "video"},
            {"type": "text", "text": "what?"},
        ]},
    ]  # fmt: skip
    video, rate = noise(QWEN_VIDEO), 2.0
    plain = model.encode(video, rate, verbose=0)
    with pytest.raises(ValueError, match="encode\\(video, prompt=...\\)"):
        model.generate({"videos": [plain], "prompts": [prompt]})
    encoded = model.encode(video, rate, prompt=prompt, verbose=0)
    assert model.generate(
        {"videos": [encoded], "prompts": [prompt]}
    ) == model.generate({"videos": [video], "prompts": [prompt], "fps": rate})


def test_encoded_videos_are_of_one_model(tmp_path):
    model = tiny.shallow()
    video = model.encode(tiny.video(), verbose=0)
    x = {"videos": [video], "prompts": ["what?"]}
    message = "holds keys and values of the model that made it"
    bias = model.backbone.vision_encoder.patch_embedding.bias
    before = ops.convert_to_numpy(bias)
    bias.assign(before + 1)
    with pytest.raises(ValueError, match=message):
        model.generate(x)
    bias.assign(before)
    model.generate(x)
    with pytest.raises(ValueError, match=message):
        tiny.shallow(prune_ratio=0.25).generate(x)
    path = tmp_path / "text.safetensors"
    path.write_text("no video")
    with pytest.raises(ValueError, match="`EncodedVideo.save` wrote"):
        keras_stts.EncodedVideo.load(path)
    with pytest.raises(FileNotFoundError):
        keras_stts.EncodedVideo.load(tmp_path / "none")


def test_what_cannot_be_asked_is_refused():
    model = tiny.shallow()
    video = model.encode(tiny.video(), verbose=0)
    x = {"videos": [video], "prompts": ["what?"]}
    for wrong, message in (
        ({"prompts": ["a", "b"]}, "as many videos as prompts"),
        ({"images": [tiny.video()[0]]}, 'takes no "images"'),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate({**x, **wrong})
    with pytest.raises(ValueError, match='has been sampled.*"fps"'):
        model.preprocessor.generate_preprocess({**x, "fps": 2.0})
    with pytest.raises(ValueError, match="a batch of encoded videos, or of"):
        model.preprocessor.generate_preprocess(
            {"videos": [video, tiny.video()], "prompts": ["a", "b"]}
        )
    with pytest.raises(ValueError, match="one that is encoded already"):
        model.encode(video)
    for wrong in ({"chunk_frames": 0}, {"num_frames": 0}, {"fps": [1.0, 2.0]}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
            model.encode(tiny.video(), **wrong)
    with pytest.raises(ValueError, match="`videos` must|must be a path or"):
        model.encode(None)
    inside = tiny.shallow(
        num_layers=2,
        pruning=pruning.FastV(1, 0.5),
        processor=tiny.preprocessor(prompt_mask=True),
    )
    with pytest.raises(ValueError, match="prunes by the prompt.*FastV"):
        inside.encode(tiny.video())
    bare = tiny.shallow()
    bare.preprocessor = None
    with pytest.raises(ValueError, match="needs its preprocessor"):
        bare.encode(tiny.video())
    with pytest.raises(ValueError, match="needs its preprocessor"):
        bare.stream({})
    model.compile(sampler="beam")
    with pytest.raises(ValueError, match="draws token by token.*BeamSampler"):
        model.stream(x)


@pytest.mark.once
def test_sizes_that_were_run_are_run_again():
    sizes = BatchSizes(None)

    def rows(number, length=3, prefix=None):
        x = {"token_ids": np.zeros((number, length))}
        if prefix:
            x["prefix"] = {"layers": [np.zeros((prefix, 2))]}
        return sizes.rows_for(x)

    assert [rows(8), rows(1), rows(8), rows(9), rows(1)] == [8, 8, 8, 9, 8]
    assert [rows(1, 4), rows(100, 4), rows(2, 4)] == [1, 100, 2]
    assert [rows(4, prefix=4), rows(4, prefix=1)] == [4, 4]
    assert [rows(2, prefix=1), rows(1, prefix=1), rows(2, prefix=2)] == [
        4,
        4,
        4,
    ]

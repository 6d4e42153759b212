"""Whatever does not fit is refused, in words that say what to do."""

import wave

import numpy as np
import pytest
import tensorflow as tf

import keras_stts
from keras_stts.datasets.shapes import write_video
from tests.models import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.compile_to_train(tiny.shallow())


@pytest.fixture(scope="module")
def batch(model):
    return model.preprocessor(tiny.raw())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune_ratio": 1.0}, r"must lie in \[0, 1\). Received: .*=1.0"),
        ({"prune_ratio": -0.1}, r"must lie in \[0, 1\). Received: .*=-0.1"),
        ({"prune_ratio": 0.85}, "Frame 0 is never pruned.* Use prune_ratio <="),
        ({"num_frames": 1}, "prune_ratio=0.5, num_frames=1"),
        ({"num_frames": -1}, "must not be negative. Received: num_frames=-1"),
        ({"pruning": "best"}, "one of stts, random, .*, tome.*'best'"),
        ({"positions": "none"}, '"consecutive" or "original"'),
        ({"prune_layer": 3}, r"in \[0, num_layers - 2\]. Received: .*=3"),
        ({"vision_feature_layers": [4]}, "from 0 to num_layers - 1"),
        ({"rescale_axis": "column"}, "Received: rescale_axis='column'"),
        ({"patch_size": 5}, "must divide the height and width"),
        ({"num_key_value_heads": 3}, "must divide `num_query_heads`"),
        ({"image_patch_id": 5}, "must be one of the `vision_token_ids`"),
    ],
)
def test_backbone_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.model(**changes)


def test_unknown_backbone_argument():
    with pytest.raises(TypeError, match="Received: keep_ratio"):
        tiny.model(keep_ratio=0.5)


@pytest.mark.parametrize(
    "changes", [{"num_frames": -1}, {"max_fps": 0}, {"sampling": "even"}]
)
def test_converter_arguments(changes):
    with pytest.raises(ValueError, match="must be positive, and `sampling`"):
        keras_stts.VideoVLMVideoConverter(16, **changes)


def test_preprocessor_arguments():
    preprocessor = tiny.preprocessor(chat_template="{{ messages[0].role }}")
    with pytest.raises(ValueError, match="must place all images and the vid"):
        preprocessor(one(tiny.video()))
    preprocessor = tiny.preprocessor(chat_template="{{ messages ")
    with pytest.raises(ValueError, match="must be a Jinja template. Received"):
        preprocessor(one(tiny.video()))


def one(video, **changes):
    x = {"videos": [video], "prompts": ["what?"], "responses": ["this"]}
    return {**x, **changes}


floats = tiny.video().astype("float32")
VIDEOS = {
    "rank": (tiny.video()[0], r"\(frames, height, width, 3\).*\(16, 16, 3\)"),
    "gray": (tiny.video()[..., :1], r"shape \(4, 16, 16, 1\)"),
    "dtype": (floats / 255, "must be uint8, 0 to 255. Received: .*float32"),
    "nan": (floats * np.nan, "must be finite. Received: .* 3072 NaN"),
    "infinite": (floats + np.inf, "must be finite"),
    "empty": (tiny.video()[:0], "at least one frame"),
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_arrays(model, kind):
    video, message = VIDEOS[kind]
    with pytest.raises(ValueError, match=message):
        model.generate(one(video))
    with pytest.raises(ValueError, match=message):
        model.fit(one(video), verbose=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    good = folder / "good.mp4"
    write_video(good, tiny.video(0, 8), scale=8)
    whole = good.read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("This is not a video.\n" * 50)
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 8000, "NONE", ""))
        file.writeframes(bytes(16000))
    return folder


FILES = {
    "missing.mp4": (FileNotFoundError, "missing.mp4', which does not exist"),
    "empty.mp4": (ValueError, "empty.mp4', which is empty"),
    "truncated.mp4": (ValueError, "truncated.mp4', which is truncated: "),
    "text.mp4": (ValueError, "text.mp4', which is not a video"),
    "sound.wav": (ValueError, "sound.wav', which has no video stream"),
}


@pytest.mark.parametrize("name", FILES)
def test_files(model, files, name):
    error, message = FILES[name]
    x = one(str(files / name))
    with pytest.raises(error, match=message):
        model.generate(x)
    with pytest.raises(error, match=message):
        model.fit(x, verbose=0)


def test_files_in_tf_data(model, files):
    x = one(str(files / "missing.mp4"))
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(1)
    with pytest.raises(tf.errors.OpError, match="does not exist"):
        model.fit(dataset, verbose=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a", "b"]}, "as many videos as prompts and responses"),
        ({"videos": "a.mp4"}, "needs a list of videos. Received: .*'a.mp4'"),
        ({"prompts": ["<im_patch>"]}, "not hold vision tokens.*<im_patch>"),
        ({"prompts": ["what " * 30]}, "never cut. Received: .* room for 24"),
        ({"audio": []}, "Received also: audio"),
        ({"images": []}, 'num_images=0 takes no "images"'),
    ],
)
def test_questions(model, changes, message):
    with pytest.raises(ValueError, match=message):
        model.generate(one(tiny.video(), **changes))


def test_no_room_for_an_answer(model):
    x = one(tiny.video())
    mask = model.preprocessor.generate_preprocess(x)["padding_mask"]
    length = int(mask.sum())
    with pytest.raises(ValueError, match="must leave room for an answer"):
        model.generate(x, max_length=length)
    with pytest.raises(ValueError, match="must be a dict with"):
        model.generate("what?")
    with pytest.raises(ValueError, match=r"Received: \['prompts'\]"):
        model.generate({"prompts": ["what?"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a", "b"]}, "Received: {'videos': 1, 'prompts': 2"),
        ({"prompts": "what?"}, "must be lists .* 'prompts': 'a single one'"),
        ({"responses": ["yes " * 30]}, "must fit `sequence_length`"),
        ({"responses": ["<frame_end>"]}, "must not hold vision tokens"),
    ],
)
def test_training_data(model, changes, message):
    with pytest.raises(ValueError, match=message):
        model.fit(one(tiny.video(), **changes), verbose=0)


def test_times_that_do_not_fit():
    preprocessor = tiny.preprocessor(time_tokens=2)
    with pytest.raises(ValueError, match="Make `time_tokens` larger"):
        preprocessor(tiny.raw((4,)))


def test_labels_in_the_wrong_place(model, batch):
    x, y, _ = batch
    raw = tiny.raw()
    with pytest.raises(ValueError, match='in `x`, as "responses"'):
        model.fit(raw, np.zeros(3), verbose=0)
    with pytest.raises(ValueError, match='need "responses"'):
        model.fit(tiny.raw(responses=False), verbose=0)
    with pytest.raises(ValueError, match='need "responses"'):
        model.evaluate(tiny.raw(responses=False), verbose=0)
    with pytest.raises(ValueError, match="need labels `y`"):
        model.fit(x, verbose=0)
    with pytest.raises(ValueError, match="a Grain dataset or a gen"):
        model.fit(["a.mp4"], verbose=0)
    with pytest.raises(ValueError, match="leave examples to train and to"):
        model.fit(raw, validation_split=0.9, verbose=0)


def test_labels_and_weights_that_would_not_count(model, batch):
    raw = tiny.raw()
    for weights in ([1.0], np.ones((3, 2)), ["a", "b", "c"], [[1], [1, 1], 1]):
        with pytest.raises(ValueError, match="a number for each example|same"):
            model.fit(raw, sample_weight=weights, batch_size=3, verbose=0)
    with pytest.raises(ValueError, match="examples without responses"):
        model.preprocessor(tiny.raw(responses=False), sample_weight=[1.0] * 3)
    with pytest.raises(ValueError, match="the one class each is of"):
        model.fit(raw, class_weight={0: 1.0}, verbose=0)
    data = iter([raw])
    generator = (batch for batch in data)
    for labels in ({"y": batch[1]}, {"sample_weight": np.ones(3)}):
        with pytest.raises(ValueError, match="in their batches, as tuples"):
            model.fit(generator, verbose=0, **labels)
    with pytest.raises(ValueError, match='`x`, as "responses"'):
        model.fit(raw, y=batch[1], batch_size=3, verbose=0)
    with pytest.raises(ValueError, match='`x`, as "responses"'):
        model.preprocessor(raw, batch[1])


def test_model_without_preprocessor(batch):
    bare = tiny.compile_to_train(tiny.shallow())
    bare.preprocessor = None
    with pytest.raises(ValueError, match="takes preprocessed inputs, a dict"):
        bare.fit(tiny.raw(), verbose=0)
    with pytest.raises(ValueError, match="dict without frame_mask"):
        bare.generate(tiny.raw(responses=False), stop_token_ids=None)


def preprocessed(batch, **changes):
    x, y, sample_weight = batch
    x = {name: value.copy() for name, value in x.items()}
    for name, change in changes.items():
        x[name] = change(x[name])
    return {"x": x, "y": y, "sample_weight": sample_weight}


def without_one(ids):
    ids[0, np.flatnonzero(ids[0] == 322)[0]] = 5
    return ids


def with_one_more(ids):
    ids[1, 0] = 322
    return ids


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "vision_token_ids",
            without_one,
            r"Received: \[15, 8, 12\] .*\[16, 8, 12\]",
        ),
        ("vision_token_ids", with_one_more, r"\[16, 9, 12\] .*\[16, 8, 12\]"),
        ("frame_mask", lambda m: m[:, ::-1], "which come first"),
        ("frame_mask", lambda m: m & False, "there is at least one"),
        ("videos", lambda v: v / 255.0, "uint8, 0 to 255, .*dtype=float64"),
        ("videos", lambda v: v[:, :3], r"shape=\(3, 3, 16, 16, 3\)"),
        ("videos", lambda v: v[:, 0], r"shape=\(3, 16, 16, 3\)"),
    ],
)
def test_preprocessed_inputs(model, batch, name, change, message):
    data = preprocessed(batch, **{name: change})
    with pytest.raises(ValueError, match=message):
        model.evaluate(**data, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.predict(data["x"], verbose=0)


def test_a_model_survives_bad_data(files):
    """Keras alone would leave it without weights, under JAX."""
    model = tiny.compile_to_train(tiny.shallow(), rate=0.0)
    before = model.get_weights()
    good = tiny.raw((4, 4, 4))
    bad = {**good, "videos": [*good["videos"][:2], str(files / "text.mp4")]}
    first = {**bad, "videos": bad["videos"][::-1]}
    for x in (bad, first):
        for run in (
            lambda: model.evaluate(x, batch_size=1, verbose=0),
            lambda: model.predict(x, batch_size=1, verbose=0),
            lambda: model.fit(x, batch_size=1, shuffle=False, verbose=0),
            lambda: model.fit(good, validation_data=x, verbose=0),
        ):
            errors = (ValueError, tf.errors.OpError)
            with pytest.raises(errors, match="text.mp4"):
                run()
            for one, other in zip(model.get_weights(), before):
                tiny.same(one, other)


def test_calling_on_text(model):
    with pytest.raises(ValueError, match="does not apply preprocessing"):
        model(tiny.raw())


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_size(model, tmp_path):
    model.save_to_preset(str(tmp_path))
    with pytest.raises(ValueError):
        keras_stts.VideoVLM.from_preset(str(tmp_path), image_size=32)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompts", None),
        ("prompts", 3),
        ("responses", None),
        ("responses", True),
        ("responses", float("nan")),
    ],
)
def test_words_that_are_none(name, value):
    x = {**tiny.raw(), name: [value] * len(tiny.raw()["prompts"])}
    with pytest.raises(ValueError, match=f'Each of "{name}" must be a str'):
        tiny.shallow().preprocessor(x)


@pytest.mark.parametrize("length", [0, "x", 1.5])
def test_lengths_of_answers(length):
    with pytest.raises(ValueError, match="`max_length` must be a number"):
        tiny.shallow().generate(tiny.raw(responses=False), max_length=length)


def test_samplers_and_lengths_that_there_are_not():
    model = tiny.shallow()
    with pytest.raises(ValueError, match="`sampler` must be .*'greddy'"):
        model.compile(sampler="greddy")
    parts = (model.preprocessor.tokenizer, model.preprocessor.video_converter)
    for length in (0, None, "x"):
        with pytest.raises(ValueError, match="`sequence_length` must be a num"):
            keras_stts.VideoVLMPreprocessor(*parts, sequence_length=length)

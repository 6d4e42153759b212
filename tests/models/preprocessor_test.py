"""Videos and texts to a model's inputs, without a model."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stts
from keras_stts.data.video import read_video
from keras_stts.datasets.shapes import write_video
from tests.models import tiny


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(tiny.GOLDEN / "preprocessing.npz"))


@pytest.fixture(scope="module")
def molmo2():
    """Molmo2's preprocessor, of a checkpoint in its authors' format."""
    return keras_stts.VideoVLMPreprocessor.from_preset(tiny.MOLMO2)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("videos") / "video.mp4")
    write_video(path, tiny.video(0, 3), fps=2.0, scale=2)
    return path


def joined(x):
    """The whole sequence, padding left out, and its vision tokens."""
    parts = [
        x["vision_token_ids"][x["vision_mask"]],
        x["token_ids"][x["padding_mask"]],
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("name", ["video0", "video1"])
def test_ids_equal_those_of_transformers(golden, molmo2, name):
    wanted = golden[f"{name}_input_ids"]
    x = {
        "videos": golden[f"{name}_frames"],
        "fps": golden[f"{name}_fps"],
        "prompts": prompt_of(molmo2, wanted),
    }
    ids = joined(molmo2.generate_preprocess(x))
    tiny.same(ids, wanted)
    is_vision = np.isin(ids, molmo2.tokenizer.vision_token_ids)
    tiny.same(is_vision, golden[f"{name}_vision_token"])


def prompt_of(preprocessor, ids):
    """The user's words, between the first line and the end of the turn."""
    text = preprocessor.tokenizer.detokenize(ids[ids < 320])
    return text.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]


@pytest.fixture(scope="module")
def with_images():
    return keras_stts.VideoVLMPreprocessor.from_preset(
        tiny.MOLMO2,
        num_images=2,
        video_converter=keras_stts.VideoVLMVideoConverter(378, num_frames=0),
    )


@pytest.mark.parametrize("name", ["image0", "image1", "image2"])
def test_images_equal_those_of_transformers(golden, with_images, name):
    wanted = golden[f"{name}_input_ids"]
    images = [np.zeros(shape, "uint8") for shape in golden[f"{name}_shapes"]]
    x = {"images": images, "prompts": prompt_of(with_images, wanted)}
    x = with_images.generate_preprocess(x)
    tiny.same(joined(x), wanted)
    pooling = x["image_pooling"]
    real = (pooling >= 0).any(-1)
    tiny.same(pooling[real], golden[f"{name}_pooling"])
    assert (
        real.sum()
        == (wanted == with_images.tokenizer.image_patch_token_id).sum()
    )


def test_conversation_equals_that_of_transformers(golden):
    preprocessor = keras_stts.VideoVLMPreprocessor.from_preset(
        tiny.MOLMO2,
        video_converter=keras_stts.VideoVLMVideoConverter(378, num_frames=0),
    )
    messages = [
        {"role": "user", "content": "how many objects?"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": [{"type": "text", "text": "and circles?"}]},
    ]
    x = preprocessor.generate_preprocess({"prompts": messages})
    assert set(x) == {
        "vision_token_ids",
        "vision_mask",
        "token_ids",
        "padding_mask",
    }
    tiny.same(joined(x), golden["text_input_ids"])
    batch = preprocessor.generate_preprocess({"prompts": [messages, "hi"]})
    tiny.same(batch["token_ids"][0], x["token_ids"])


def test_settings_of_the_checkpoint(molmo2):
    config = json.loads(
        (pathlib.Path(tiny.MOLMO2) / "processor_config.json").read_text()
    )
    template = pathlib.Path(tiny.MOLMO2) / "chat_template.jinja"
    assert molmo2.chat_template == template.read_text()
    assert molmo2.max_crops == config["image_processor"]["max_crops"]
    config = config["video_processor"]
    assert molmo2.num_frames == config["num_frames"]
    assert molmo2.video_converter.max_fps == config["max_fps"]
    assert molmo2.num_blocks == 81


def test_shapes_and_dtypes():
    preprocessor = tiny.preprocessor()
    x, y, sample_weight = preprocessor(tiny.raw((4, 2)))
    vision = 1 + 4 * (4 + 2 + 6)
    shapes = {
        "videos": ((2, 4, 16, 16, 3), "uint8"),
        "frame_mask": ((2, 4), "bool"),
        "vision_token_ids": ((2, vision), "int32"),
        "vision_mask": ((2, vision), "bool"),
        "token_ids": ((2, 24), "int32"),
        "padding_mask": ((2, 24), "bool"),
    }
    assert {k: (v.shape, v.dtype) for k, v in x.items()} == shapes
    assert (y.shape, y.dtype) == ((2, 24), "int32")
    assert (sample_weight.shape, sample_weight.dtype) == ((2, 24), "float32")
    assert x["frame_mask"].tolist() == [[True] * 4, [True] * 2 + [False] * 2]
    assert not x["videos"][1, 2:].any()


def test_labels_by_hand():
    """Each label is the next token; the response and its end count."""
    preprocessor = tiny.preprocessor()
    tokenizer = preprocessor.tokenizer
    x, y, weights = preprocessor(
        {"videos": [tiny.video()], "prompts": ["ab"], "responses": ["cd"]}
    )
    prompt, answer = (list(tokenizer(text)) for text in ("ab\n", "cd"))
    ids = prompt + answer + [tokenizer.end_token_id]
    padding = [tokenizer.pad_token_id] * (24 - len(ids))
    assert x["token_ids"][0].tolist() == ids + padding
    assert y[0].tolist() == ids[1:] + padding + [tokenizer.pad_token_id]
    counts = [0] * (len(prompt) - 1) + [1] * (len(answer) + 1)
    assert weights[0].tolist() == counts + [0] * (24 - len(counts))
    assert x["padding_mask"].sum() == len(ids)


def test_single_example_is_a_row_of_a_batch():
    preprocessor = tiny.preprocessor()
    raw = tiny.raw((4, 2))
    batch = keras.tree.flatten(preprocessor(raw))
    for i in range(2):
        single = preprocessor({name: raw[name][i] for name in raw})
        for a, b in zip(keras.tree.flatten(single), batch, strict=True):
            tiny.same(a, b[i])


def test_rate_of_arrays(path):
    """Frames of arrays are `max_fps` a second unless `fps` says other."""
    preprocessor = tiny.preprocessor(num_frames=8)
    x = {"videos": [tiny.video(0, 8)] * 2, "prompts": ["a", "b"]}
    assert preprocessor(x)["frame_mask"].sum() == 16
    assert preprocessor({**x, "fps": 4.0})["frame_mask"].sum() == 8
    rates = preprocessor({**x, "fps": [4.0, 2.0]})["frame_mask"]
    assert rates.sum(-1).tolist() == [4, 8]
    assert preprocessor({**x, "fps": np.array([4.0, 2.0])})["frame_mask"].sum(
        -1
    ).tolist() == [4, 8]
    with pytest.raises(ValueError, match="`fps` must be positive"):
        preprocessor({**x, "fps": 0})
    with pytest.raises(ValueError, match="one for each. Received: 2 videos"):
        preprocessor({**x, "fps": [1.0]})


def frames_of(path):
    return read_video(path, tiny.NUM_FRAMES)[0]


@pytest.mark.parametrize("kind", ["path", "array"])
@pytest.mark.parametrize("responses", [True, False])
def test_tf_data(path, kind, responses):
    """Batched or not, static shapes and the same values."""
    preprocessor = tiny.preprocessor()
    videos = [path, path] if kind == "path" else [frames_of(path)] * 2
    raw = {**tiny.raw((4, 4), responses), "videos": videos}
    wanted = keras.tree.flatten(preprocessor(raw))
    slices = tf.data.Dataset.from_tensor_slices(raw)
    before = slices.map(preprocessor).batch(2, drop_remainder=True)
    after = slices.batch(2, drop_remainder=True).map(preprocessor)
    open_batch = slices.batch(2).map(preprocessor)
    for dataset, size in ((before, 2), (after, 2), (open_batch, None)):
        spec = keras.tree.flatten(dataset.element_spec)
        for one, array in zip(spec, wanted, strict=True):
            assert one.shape.as_list() == [size, *array.shape[1:]]
            assert one.dtype == array.dtype
        for got in dataset.as_numpy_iterator():
            for a, b in zip(keras.tree.flatten(got), wanted, strict=True):
                tiny.same(a, b)


def test_generate_preprocess_in_tf_data(path):
    preprocessor = tiny.preprocessor()
    raw = {**tiny.raw((4, 4)), "videos": [path, path]}
    wanted = preprocessor.generate_preprocess(raw)
    dataset = tf.data.Dataset.from_tensor_slices(raw).batch(2)
    dataset = dataset.map(
        lambda x: preprocessor.generate_preprocess(x, sequence_length=30)
    )
    (got,) = dataset.as_numpy_iterator()
    assert got["token_ids"].shape == (2, 30)
    tiny.same(got["token_ids"][:, :24], wanted["token_ids"])


def test_postprocess():
    preprocessor = tiny.preprocessor()
    ids = preprocessor.tokenizer("three of<|im_end|>junk")
    x = {"token_ids": ids[None], "padding_mask": np.ones((1, len(ids)), bool)}
    x["padding_mask"][0, -4:] = False
    assert preprocessor.generate_postprocess(x) == ["three of"]


def test_tokenizer_from_files(tmp_path):
    """Special tokens stay whole however the vocabulary is given."""
    tokenizer = tiny.tokenizer()
    tokenizer.save_assets(tmp_path)
    twin = keras_stts.VideoVLMTokenizer(
        str(tmp_path / "vocabulary.json"), str(tmp_path / "merges.txt")
    )
    text = "<|im_start|>user\nhi<|im_end|>\n<im_patch>"
    tiny.same(twin(text), tokenizer(text))
    assert 301 in twin(text) and 322 in twin(text)


def test_words_before_a_video_take_no_room_of_its_blocks():
    """Of a short video pruning removes less than of a long one."""

    def length(words):
        content = [{"type": "text", "text": "x" * words}, {"type": "video"}]
        x = {"videos": [tiny.video(0, 1)]}
        x["prompts"] = [[{"role": "user", "content": content}]]
        return tiny.preprocessor().generate_preprocess(x)["vision_mask"].sum()

    room = 1 + tiny.NUM_FRAMES * (2 + 6)  # Start, time and marks of frames.
    most = room + tiny.NUM_BLOCKS - length(0)
    assert length(most) == room + tiny.NUM_BLOCKS
    with pytest.raises(ValueError, match=f"room for {room}"):
        length(most + 1)


def test_words_of_a_template_have_room_of_their_own():
    """Before images and the video, as many of each as there may be."""
    template = (
        "{% for message in messages %}{% for part in message.content %}"
        "{% if part.type != 'text' %}no. {{ loop.index }}: "
        "<|{{ part.type }}|>{% endif %}{% endfor %}{% endfor %} go"
    )
    options = {"num_images": 2, "max_crops": 1, "patch_size": 1}
    options["num_blocks"] = 64
    processor = tiny.preprocessor(chat_template=template, **options)
    plain = tiny.preprocessor(**options)
    words = processor.tokenizer.tokenize([f"no. {i}: " for i in (1, 2, 3)])
    words = sum(len(ids) for ids in words)
    assert processor.vision_length == plain.vision_length + words
    image = np.zeros((16, 16, 3), "uint8")
    x = {"images": [[image, image]], "videos": [tiny.video()], "prompts": ["?"]}
    assert processor.generate_preprocess(x)["vision_mask"].any()

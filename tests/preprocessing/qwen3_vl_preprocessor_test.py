"""The layer that makes Qwen3-VL's inputs: the same as of transformers."""

import json

import av
import keras
import numpy as np
import pytest

from keras_stts.data import SampledVideo
from keras_stts.data import read_video
from keras_stts.preprocessing.qwen3_vl.converter import Qwen3VLVideoConverter
from keras_stts.preprocessing.qwen3_vl.preprocessor import Qwen3VLPreprocessor
from keras_stts.preprocessing.qwen3_vl.prompt_tokenizer import CHAT_TEMPLATE
from keras_stts.preprocessing.qwen3_vl.tokenizer import Qwen3VLTokenizer
from keras_stts.preprocessing.video_vlm_tokenizer import GPT2_SPLIT
from tests.preprocessing import qwen3_vl_cases as cases

pytestmark = pytest.mark.once
# Puts nothing around a text, as the golden texts are.
BARE = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}"
    "{% elif p.bare %}<|video_pad|>{% elif p.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}"
)
PARTS = {cases.IMAGE_TOKEN: {"type": "image"}}
PARTS |= {cases.VIDEO_TOKEN: {"type": "video"}}
PARTS |= {"<|video_pad|>": {"type": "video", "bare": True}}
BUCKETS = [(1, 8), (6, 16), (14, 16)]


def make_tokenizer():
    data = json.loads((cases.GOLDEN / "tokenizer.json").read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary |= {each["content"]: each["id"] for each in data["added_tokens"]}
    vocabulary["<|im_end|>"] = len(vocabulary)
    return Qwen3VLTokenizer(
        vocabulary=vocabulary,
        merges=[" ".join(pair) for pair in data["model"]["merges"]],
        split_pattern=GPT2_SPLIT,
        normalization=None,
    )


def make(converter=(), **arguments):
    given = {"buckets": BUCKETS, "chat_template": BARE, "time_tokens": 30}
    given |= {"num_images": 2, "num_image_blocks": 12, "num_videos": 2}
    limits = {
        "min_pixels": cases.VIDEO_LIMITS[0],
        "max_pixels": cases.VIDEO_LIMITS[1],
        "image_min_pixels": cases.IMAGE_LIMITS[0],
        "image_max_pixels": cases.IMAGE_LIMITS[1],
    }
    return Qwen3VLPreprocessor(
        make_tokenizer(),
        Qwen3VLVideoConverter(**{**limits, **dict(converter)}),
        **{**given, **arguments},
    )


def messages(text):
    """A golden text as one message, with parts for what is shown."""
    parts = []
    while text:
        starts = {token: text.find(token) for token in PARTS if token in text}
        if not starts:
            parts.append({"type": "text", "text": text})
            break
        token = min(starts, key=starts.get)
        if starts[token]:
            parts.append({"type": "text", "text": text[: starts[token]]})
        parts.append(PARTS[token])
        text = text[starts[token] + len(token) :]
    return [{"role": "user", "content": parts}]


def batch_of(name):
    """A batch of `cases` as the layer takes it."""
    texts, images, videos, _ = cases.BATCHES[name]
    images = [cases.picture(*size) for size in images]
    x = {"prompts": [], "images": [], "videos": [], "fps": []}
    videos = iter([(cases.clip(*v[:3]), v[3]) for v in videos])
    pictures = iter(images)
    for text in texts:
        number = text.count("<|video_pad|>")
        some = [next(videos) for _ in range(number)]
        x["prompts"].append(messages(text))
        x["images"].append(
            [next(pictures) for _ in range(text.count("<|image_pad|>"))]
        )
        x["videos"].append([frames for frames, _ in some])
        x["fps"].append([rate for _, rate in some])
    return x


def rows_of(batch):
    """Ids and positions (3, S) of each row, padding left out."""
    for row in range(len(batch["token_ids"])):
        seen = batch["vision_mask"][row]
        head = batch["vision_token_ids"][row][seen]
        tail = batch["token_ids"][row][batch["padding_mask"][row]]
        placed = batch["vision_positions"][row][seen].T
        after = np.arange(len(tail)) + placed.max(initial=-1) + 1
        after = np.broadcast_to(after, (3, len(tail)))
        yield (
            np.concatenate([head, tail]),
            np.concatenate([placed, after], axis=1),
        )


@pytest.mark.parametrize("name", cases.BATCHES)
@pytest.mark.filterwarnings("ignore:The times of the frames")
def test_as_transformers(name):
    with np.load(cases.GOLDEN / "batches.npz") as golden:
        wanted = {
            key.partition("/")[2]: golden[key]
            for key in golden
            if key.startswith(f"{name}/")
        }
    made = make()(batch_of(name))
    for row, (ids, positions) in enumerate(rows_of(made)):
        mask = wanted["mask"][row]
        np.testing.assert_array_equal(ids, wanted["ids"][row][mask])
        np.testing.assert_array_equal(
            positions, wanted["positions"][:, row][:, mask]
        )
    # Pixels without padding, in transformers' order.
    pixels = {"image": [], "video": []}
    for row in range(len(ids := made["token_ids"])):
        for i, (h, w) in enumerate(made["image_grids"][row]):
            pixels["image"].append(made["images"][row, i, : h * w * 4])
        for t in np.flatnonzero(made["frame_mask"][row]):
            h, w = made["frame_grids"][row, t]
            pixels["video"].append(made["videos"][row, t, : h * w * 4])
    for kind, found in pixels.items():
        found = np.concatenate(found) if found else np.zeros((0, 1536))
        some = wanted.get(f"{kind}_pixels", np.zeros((0, 1536)))
        np.testing.assert_array_equal(found[:: cases.PIXELS_STEP], some)
    grids = made["image_grids"][made["image_grids"].any(-1)] * 2
    np.testing.assert_array_equal(
        grids, wanted.get("image_grids", np.zeros((0, 3)))[:, 1:]
    )
    assert len(ids) == len(cases.BATCHES[name][0])


def test_padded_batch_is_each_alone():
    preprocessor = make()
    x = {
        "prompts": ["What is it?", "No picture.", "And here?"],
        "videos": [cases.clip(8, 60, 90), None, cases.clip(22, 33, 64)],
        "images": [[cases.picture(64, 64)], [], []],
        "fps": [4.0, None, 4.0],
        "responses": ["one", "two", "3"],
    }
    batch, labels, weights = preprocessor(x)
    for row in range(3):
        alone = {name: values[row] for name, values in x.items()}
        one, y, weight = preprocessor(alone)
        # The second, without video, is in the smallest bucket when alone.
        assert (len(one["frame_mask"]) == 1) == (row == 1)
        assert weight.tolist() == weights[row].tolist()
        assert y.tolist() == labels[row].tolist()
        for name, values in one.items():
            padded = batch[name][row]
            inside = tuple(map(slice, values.shape))
            np.testing.assert_array_equal(padded[inside], values)
            # What is beside it is padding: False, 0, or grids of one block.
            rest = padded.copy()
            rest[inside] = 0
            pad = preprocessor.tokenizer.pad_token_id
            pad = {"frame_grids": 1, "vision_token_ids": pad}.get(name, 0)
            outside = np.ones(padded.shape, bool)
            outside[inside] = False
            assert (rest[outside] == pad).all()


def test_labels_are_the_response():
    preprocessor = make(num_videos=1)
    tokenizer = preprocessor.tokenizer
    x, y, weights = preprocessor(
        {"prompts": ["Well?"], "responses": ["second"], "videos": [None]}
    )
    told = y[0][weights[0] == 1]
    assert told[-1] == tokenizer.end_token_id
    assert tokenizer.detokenize(told[:-1].tolist()) == "second"
    # Labels are what comes next.
    text = x["token_ids"][0]
    length = int(x["padding_mask"][0].sum())
    assert text[1:length].tolist() == y[0][: length - 1].tolist()
    asked = preprocessor.generate_preprocess({"prompts": ["Well?"]})
    assert int(asked["padding_mask"].sum()) < length


def test_default_template_and_conversation():
    preprocessor = make(chat_template=CHAT_TEMPLATE)
    x = {
        "prompts": [
            {"role": "system", "content": "Be short."},
            {
                "role": "user",
                "content": [{"type": "video"}, {"type": "text", "text": "So?"}],
            },
        ],
        "videos": cases.clip(8, 60, 90),
        "fps": 4.0,
    }
    made = preprocessor(x)
    frames = int(made["frame_mask"].sum())
    ids = made["vision_token_ids"][made["vision_mask"]].tolist()
    tokenizer = preprocessor.tokenizer
    assert ids[-1] == tokenizer.vision_end_token_id
    # Marks of each frame, and one around all.
    assert ids.count(tokenizer.vision_start_token_id) == frames + 1
    tail = made["token_ids"][made["padding_mask"]].tolist()
    text = "So?<|im_end|>\n<|im_start|>assistant\n"
    assert tail == tokenizer.tokenize([text])[0]


def test_file(tmp_path):
    path = str(tmp_path / "clip.mp4")
    with av.open(path, "w") as file:
        stream = file.add_stream("mpeg4", rate=10, width=160, height=96)
        for image in cases.clip(37, 96, 160):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    whole, _ = read_video(path, 37, sampling="all")
    preprocessor = make()
    x = {"prompts": ["When?"] * 3, "fps": [None, 10.0, None]}
    chosen = preprocessor.video_converter.read(whole, 10.0)
    assert isinstance(chosen, SampledVideo)
    made = preprocessor({**x, "videos": [path, whole, chosen]})
    for name, values in made.items():
        np.testing.assert_array_equal(values[0], values[1])
        np.testing.assert_array_equal(values[0], values[2])


def test_specs_and_shortening():
    preprocessor = make(buckets=[(4, 16)])
    specs, labels = preprocessor.batch_specs()
    x = {"prompts": "a", "responses": "b", "fps": 4.0}
    made, *rest = preprocessor({**x, "videos": cases.clip(8, 60, 90)})
    found = {name: (v.shape, str(v.dtype)) for name, v in made.items()}
    assert found == specs
    assert [(v.shape, str(v.dtype)) for v in rest] == list(labels.values())
    batch = {name: values[None] for name, values in made.items()}
    short = preprocessor.shorten(batch, 2)
    assert short["videos"].shape == (1, 2, 64, 1536)
    assert short["vision_positions"].shape[1] == preprocessor.vision_length_of(
        (2, 16)
    )
    with pytest.raises(ValueError, match="Only padding can be left out"):
        preprocessor.shorten(batch, 1)
    many, _ = make().batch_specs()
    assert many["videos"][0] == (None, None, 1536)
    assert many["vision_positions"][0] == (None, 3)


def test_config():
    preprocessor = make(buckets=np.array(BUCKETS))
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(preprocessor)
    )
    assert again.get_config() == preprocessor.get_config()
    assert again.buckets == [list(pair) for pair in BUCKETS]


def test_text_lengths():
    preprocessor = make()
    x = {"prompts": ["One?", "And two?"], "responses": ["a", "bcd"]}
    lengths = preprocessor.text_lengths(x)
    x |= {"videos": [cases.clip(8, 60, 90)] * 2, "fps": 4.0}
    made, _, weights = preprocessor(x)
    assert lengths == made["padding_mask"].sum(1).tolist()
    assert weights.sum(1).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("x", "arguments", "match"),
    [
        ({"videos": [cases.clip(90, 32, 32)]}, {}, "fit into one of the buck"),
        ({"videos": [[cases.clip(4, 32, 32)] * 3]}, {}, "3 videos, num_vid"),
        ({"images": [[cases.picture(9, 9)] * 3]}, {}, "3 images, num_images=2"),
        (
            {"images": [cases.picture(90, 90)]},
            {"num_image_blocks": 2},
            "num_image_blocks=2. Lower `image_max_pixels`",
        ),
        ({"subtitles": [[]]}, {}, "no format for .subtitles"),
        ({"prompts": ["<|video_pad|>"]}, {}, "must not hold vision tokens"),
        ({"prompts": ["<|image|>"]}, {}, "must not hold vision tokens"),
        ({"prompts": ["a" * 300]}, {}, "must fit `sequence_length`"),
        ({"videos": [cases.clip(2, 32, 32)], "fps": [1, 2]}, {}, "2 for 1 ex"),
        ({}, {"buckets": [(1, 2, 3)]}, "pairs of positive ints"),
        ({}, {"buckets": []}, "pairs of positive ints"),
    ],
)
def test_refused(x, arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)({"prompts": ["Well?"], "fps": 4.0, **x})


def test_in_tf_data():
    tf = pytest.importorskip("tensorflow")
    preprocessor = make(buckets=[(4, 16)])
    videos = np.stack([cases.clip(8, 60, 90)] * 2)
    x = {"prompts": np.array(["a", "b"]), "responses": np.array(["c", "d"])}
    x |= {"videos": videos, "fps": np.array([4.0, 4.0])}
    data = tf.data.Dataset.from_tensor_slices(x).batch(2).map(preprocessor)
    found = next(iter(data))
    wanted = preprocessor({name: list(values) for name, values in x.items()})
    for ours, theirs in zip(
        keras.tree.flatten(wanted), keras.tree.flatten(found), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)

"""Every field of a checkpoint's files is in a table, and none is ignored."""

import dataclasses
import inspect
import json
import shutil

import keras
import numpy as np
import pytest
import tokenizers
import transformers

import keras_stts
from keras_stts import VideoVLM
from keras_stts.formats import field_kinds
from keras_stts.formats.molmo2 import fields as molmo2_fields
from keras_stts.formats.molmo2 import loading as convert_molmo2
from keras_stts.formats.molmo2.settings import TABLES
from tests.models import published_test
from tests.models import tiny
from tests.models.hugging_face import molmo2

CONFIGS = {
    "": molmo2.Molmo2Config,
    "vision_config": molmo2.Molmo2VisionConfig,
    "adapter_config": molmo2.Molmo2AdapterConfig,
    "text_config": molmo2.Molmo2TextConfig,
}
FILES = {
    "preprocessor_config.json": molmo2.Molmo2ImageProcessor,
    "video_preprocessor_config.json": molmo2.Molmo2VideoProcessor,
}


def unknown(names, file, section=""):
    return sorted(set(names) - set(TABLES[file][section]))


# Every field that transformers' own classes have


@pytest.mark.once
@pytest.mark.parametrize("section", CONFIGS)
def test_fields_of_configs(section):
    cls = CONFIGS[section]
    names = {field.name for field in dataclasses.fields(cls)}
    names |= set(cls().to_dict()) | set(cls.attribute_map)
    assert not unknown(names, "config.json", section)


@pytest.mark.once
@pytest.mark.parametrize("file", FILES)
def test_fields_of_processors_of_pixels(file):
    cls = FILES[file]
    names = set(cls().to_dict()) | set(cls.valid_kwargs.__annotations__)
    assert not unknown(names, file)
    section = "image_processor" if file.startswith("p") else "video_processor"
    assert not unknown(names, "processor_config.json", section)


@pytest.mark.once
def test_fields_of_the_processor(tmp_path):
    names = set(inspect.signature(molmo2.Molmo2Processor.__init__).parameters)
    names -= {"self", "kwargs", "tokenizer"}
    processor = molmo2.Molmo2Processor.from_pretrained(tiny.MOLMO2)
    processor.save_pretrained(tmp_path)
    for file, sections in TABLES.items():
        if (tmp_path / file).exists():
            data = json.loads((tmp_path / file).read_text())
            assert not unknown(data, file)
            for section in set(sections) & set(data) - {"added_tokens"}:
                assert not unknown(data[section], file, section)
    assert not unknown(names, "processor_config.json")


@pytest.mark.once
def test_fields_of_generation():
    names = transformers.GenerationConfig().to_dict()
    assert not unknown(names, "generation_config.json")


@pytest.mark.once
def test_fields_of_tokenizers():
    cls = transformers.PreTrainedTokenizerFast
    names = set(cls.SPECIAL_TOKENS_ATTRIBUTES) | {"extra_special_tokens"}
    assert not unknown(names, "special_tokens_map.json")
    assert not unknown(names, "tokenizer_config.json")
    loaded = cls.from_pretrained(published_test.CHECKPOINT)
    assert not unknown(loaded.init_kwargs, "tokenizer_config.json")
    token = tokenizers.AddedToken("a").__getstate__()
    assert not unknown(token, "tokenizer.json", "added_tokens")
    data = json.loads(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())
    assert not unknown(data, "tokenizer.json")
    assert not unknown(data["model"], "tokenizer.json", "model")


@pytest.mark.once
def test_fields_of_the_published_files():
    for file, sections in TABLES.items():
        path = published_test.CHECKPOINT / file
        data = json.loads(path.read_text())
        assert not unknown(data, file)
        for section in set(sections) & set(data) - {"added_tokens"}:
            assert not unknown(data[section], file, section)


# What becomes of them


def every(kind):
    return [
        pytest.param(file, section, name, field, id=f"{file}-{section}-{name}")
        for file, sections in TABLES.items()
        for section, table in sections.items()
        for name, field in table.items()
        if field.kind == kind
    ]


def parsed(file, section, name, value):
    """Arguments of a section in which one field has this value."""
    data = {}
    for key, field in TABLES[file][section].items():
        if field.default is field_kinds.REQUIRED:
            data.setdefault(field.argument, (key, SAMPLES[field.type]))
    data = {key: value for key, value in data.values()}
    return molmo2_fields.parse({**data, name: value}, file, section, "here")


SAMPLES = {
    "any": "x",
    "bool": True,
    "bool or null": True,
    "dict": {},
    "ids": [1, 2],
    "int": 3,
    "ints": [4, 5],
    "list": [],
    "number": 0.25,
    "numbers": [0.5, 0.25, 0.125],
    "str": "y",
    "token": "z",
    "tokens": ["z"],
}


@pytest.mark.once
@pytest.mark.parametrize(("file", "section", "name", "field"), every("read"))
def test_what_is_read(file, section, name, field):
    value = SAMPLES[field.type]
    assert parsed(file, section, name, value)[field.argument] == value
    if field.type != "any":
        bad = 1.5 if field.type not in ("number", "numbers") else "1.5"
        with pytest.raises(ValueError) as error:
            parsed(file, section, name, bad)
        for word in (name, file, repr(bad)):
            assert word in str(error.value)


@pytest.mark.once
@pytest.mark.parametrize(("file", "section", "name", "field"), every("only"))
def test_what_must_be_as_it_is(file, section, name, field):
    for value in (None, *field.allowed):
        parsed(file, section, name, value)
    with pytest.raises(ValueError) as error:
        parsed(file, section, name, "another")
    for word in (name, file, "'another'", field.why):
        assert word in str(error.value)


@pytest.mark.once
@pytest.mark.parametrize(("file", "section", "name", "field"), every("unused"))
def test_what_has_no_effect(file, section, name, field):
    assert len(field.why) > 10
    same = parsed(file, section, name, None)
    assert parsed(file, section, name, {"any": "thing"}) == same


@pytest.mark.once
@pytest.mark.parametrize("file", TABLES)
def test_what_is_not_known(file):
    with pytest.raises(ValueError, match=f"`new_field` in {file} of here"):
        parsed(file, "", "new_field", None)


# From files to what a model does


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "checkpoint"
    shutil.copytree(published_test.CHECKPOINT, path)
    return path


def change(folder, file, **fields):
    path = folder / file
    data = json.loads(path.read_text())
    for name, value in fields.items():
        *outer, name = name.split("__")
        part = data
        for key in outer:
            part = part[key]
        if value is REMOVED:
            part.pop(name)
        else:
            part[name] = value
    path.write_text(json.dumps(data))


REMOVED = object()


def load(folder, **kwargs):
    options = {"prune_ratio": 0, "sequence_length": 64, "load_weights": False}
    return VideoVLM.from_preset(str(folder), **{**options, **kwargs})


def preprocessor_of(folder, **kwargs):
    return keras_stts.VideoVLMPreprocessor.from_preset(str(folder), **kwargs)


@pytest.mark.once
@pytest.mark.parametrize(
    ("file", "fields", "attribute", "wanted"),
    [
        ("video", {"num_frames": 9}, "num_frames", 9),
        ("video", {"max_fps": 4}, "video_converter.max_fps", 4),
        ("video", {}, "video_converter.sampling", "molmo2"),
        (
            "video",
            {"frame_sample_mode": None, "auto_map": None},
            "video_converter.sampling",
            "molmo2_hf",
        ),
        (
            "video",
            {"do_sample_frames": False},
            "video_converter.sampling",
            "all",
        ),
        ("image", {"max_crops": 3}, "max_crops", 3),
        ("video", {"pooling_size": [2, 2]}, "num_blocks", 14**2),
        (
            "tokenizer",
            {"bos_token": "<|im_start|>"},
            "tokenizer.start_token_id",
            301,
        ),
        ("tokenizer", {"bos_token": REMOVED}, "tokenizer.start_token_id", 302),
        (
            "tokenizer",
            {"bos_token": None, "eos_token": "<|im_start|>"},
            "tokenizer.start_token_id",
            301,
        ),
        (
            "tokenizer",
            {"pad_token": "<|im_start|>"},
            "tokenizer.pad_token_id",
            301,
        ),
        (
            "generation",
            {"eos_token_id": [302, 300]},
            "stop_token_ids",
            [302, 300],
        ),
        ("generation", {"eos_token_id": None}, "stop_token_ids", [302]),
        (
            "processor",
            {"image_use_col_tokens": False},
            "image_use_col_tokens",
            False,
        ),
    ],
)
def test_files_say_what_a_preprocessor_does(
    folder, file, fields, attribute, wanted
):
    change(folder, NAMES[file], **fields)
    value = preprocessor_of(folder)
    for name in attribute.split("."):
        value = getattr(value, name)
    assert value == wanted


NAMES = {
    "video": "video_preprocessor_config.json",
    "image": "preprocessor_config.json",
    "processor": "processor_config.json",
    "tokenizer": "tokenizer_config.json",
    "generation": "generation_config.json",
    "config": "config.json",
}


@pytest.mark.once
@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("video", "frame_sample_mode", "fps"),
        ("video", "resample", 3),
        ("video", "do_resize", False),
        ("video", "pooling_size", [3, 2]),
        ("video", "size", {"height": 378, "width": 336}),
        ("video", "size", {"shortest_edge": 378}),
        ("video", "patch_size", 16),
        ("video", "image_mean", [0.5, 0.5]),
        ("video", "image_std", [0.5, 0.5, 0.0]),
        ("video", "fps", 2),
        # As null is off, or nothing at all, in the published code.
        ("video", "max_fps", None),
        ("video", "do_normalize", None),
        ("video", "num_frames", -1),
        ("video", "num_frames", 10**30),
        ("image", "max_crops", -1),
        ("image", "resample", 0),
        ("image", "overlap_margins", [2, 2]),
        ("image", "pooling_size", [3, 3]),
        ("image", "image_mean", [0.1, 0.5, 0.5]),
        ("image", "do_normalize", False),
        ("processor", "use_frame_special_tokens", True),
        ("processor", "use_frame_special_tokens", None),
        ("processor", "image_use_col_tokens", None),
        ("config", "tie_word_embeddings", True),
        ("config", "vit_config__image_num_pos", 728),
        ("config", "vit_config__num_key_value_heads", 1),
        ("config", "vit_config__hidden_act", "softsign"),
        ("config", "vit_config__image_default_input_size", []),
        ("config", "vit_config__head_dim", -1),
        ("config", "frame_end_token_id", 5),
        ("config", "adapter_config__hidden_act", None),
        ("config", "adapter_config__vit_layers", [-8, 1]),
        ("config", "adapter_config__text_hidden_size", 33),
        ("config", "text_config__hidden_act", "softsign"),
        ("config", "text_config__num_hidden_layers", 10**9),
        ("config", "text_config__rope_theta", -1),
        ("config", "text_config__use_qk_norm", False),
        ("config", "text_config__rope_scaling", {"rope_type": "new"}),
        ("config", "text_config__sliding_window", 128),
        ("config", "quantization_config", {"bits": 4}),
        ("generation", "num_beams", 4),
        ("generation", "repetition_penalty", 1.1),
        ("generation", "max_length", 300),
        ("generation", "eos_token_id", [302, 5000]),
        ("tokenizer", "added_tokens_decoder__300__lstrip", True),
        ("tokenizer", "added_tokens_decoder__x", {"content": "y"}),
        ("tokenizer", "add_prefix_space", True),
        ("tokenizer", "eos_token", "<|none|>"),
        ("tokenizer", "tokenizer_class", "LlamaTokenizer"),
    ],
)
def test_what_cannot_be_had_is_refused(folder, file, field, value):
    change(folder, NAMES[file], **{field: value})
    with pytest.raises(ValueError) as error:
        load(folder)
    for word in (NAMES[file], field.split("__")[-1]):
        assert word in str(error.value)
    assert f"{value!r}"[1:-1] in str(error.value)


@pytest.mark.parametrize(
    ("fields", "scale", "shift"),
    [
        ({}, 2.0, -1.0),
        ({"image_mean": [0.25] * 3, "image_std": [0.125] * 3}, 8.0, -2.0),
        ({"do_normalize": False}, 1.0, 0.0),
        ({"do_rescale": False, "do_normalize": False}, 255.0, 0.0),
        ({"rescale_factor": 1 / 127.5, "do_normalize": False}, 2.0, 0.0),
        (
            {"image_mean": [0.0, 0.5, 0.5], "image_std": [1.0, 0.5, 0.25]},
            np.array([1.0, 2.0, 4.0]),
            np.array([0.0, -1.0, -2.0]),
        ),
    ],
)
def test_pixels_are_normalised_as_the_files_say(folder, fields, scale, shift):
    for file in ("video", "image"):
        change(folder, NAMES[file], **fields)
    files = convert_molmo2.Files(str(folder))
    names = ("pixel_mean", "pixel_std")
    encoder = keras_stts.towers.vision_encoder.VisionEncoder(
        num_layers=5,
        hidden_dim=588,
        num_heads=3,
        head_dim=8,
        intermediate_dim=40,
        image_size=42,
        patch_size=14,
        feature_layers=[4],
        **{name: files.backbone[name] for name in names},
    )
    encoder.build()
    encoder.patch_embedding.kernel.assign(np.eye(588))
    encoder.position_embedding.assign(np.zeros((9, 588)))
    frames = np.arange(42 * 42 * 3).reshape(1, 1, 42, 42, 3).astype("uint8")
    x = encoder.embed(keras.ops.convert_to_tensor(frames))
    wanted = frames[0, 0, :14, :14] / 255 * scale + shift
    tiny.close(x[0, 0, 0], wanted.ravel(), 1e-4)


def test_activation_of_the_connector(folder):
    one = load(folder).backbone.connector
    change(folder, "config.json", adapter_config__hidden_act="gelu")
    other = load(folder).backbone
    assert other.connector.activation == "gelu"
    other = other.connector
    for a, b in zip(one.weights, other.weights, strict=True):
        b.assign(a)
    x = np.random.default_rng(0).normal(size=(1, 2, 9, 48)).astype("float32")
    a, b = (keras.ops.convert_to_numpy(layer(x)) for layer in (one, other))
    assert np.abs(a - b).max() > 1e-3


@pytest.mark.once
@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, "GreedySampler"),
        ({"do_sample": False, "temperature": 0.5}, "GreedySampler"),
        ({"do_sample": True}, "TopKSampler"),
        ({"do_sample": True, "top_k": 0}, "RandomSampler"),
        ({"do_sample": True, "top_p": 0.5, "top_k": 9}, "TopPSampler"),
    ],
)
def test_how_answers_are_drawn(folder, fields, wanted):
    change(folder, "generation_config.json", max_new_tokens=4, **fields)
    model = load(folder)
    assert type(model.sampler).__name__ == wanted
    model.compile()
    assert type(model.sampler).__name__ == wanted
    model.compile(sampler="beam")
    assert type(model.sampler).__name__ == "BeamSampler"
    assert model.max_new_tokens == 4


@pytest.mark.parametrize("sampler", ["greedy", "top_k"])
def test_an_answer_has_no_more_tokens_than_may_be(sampler):
    model = tiny.model(num_layers=1, task={"max_new_tokens": 3})
    model.compile(sampler=sampler)
    x = model.preprocessor.generate_preprocess(tiny.raw(responses=False))
    stop = model.preprocessor.stop_token_ids
    assert stop == [model.preprocessor.tokenizer.end_token_id]
    out = model.make_generate_function()(x, stop_token_ids=stop)
    grown = keras.ops.convert_to_numpy(out["padding_mask"]).sum(-1)
    assert (grown - x["padding_mask"].sum(-1) <= 4).all()


SWITCHES = (
    {"use_frame_special_tokens": False},
    {"video_use_col_tokens": True},
    {"image_use_col_tokens": False},
    {"use_single_crop_col_tokens": False},
    {"image_use_col_tokens": False, "use_single_crop_col_tokens": True},
    {"use_single_crop_start_token": False},
)


@pytest.mark.once
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_switches_of_the_processor(tmp_path, switches):
    shutil.copytree(tiny.MOLMO2, tmp_path / "a")
    change(tmp_path / "a", "processor_config.json", **switches)
    theirs = molmo2.Molmo2Processor.from_pretrained(tmp_path / "a")
    theirs.video_processor.do_rescale = True
    theirs.video_processor.do_normalize = True
    video = np.zeros((3, 20, 20, 3), "uint8")
    image = np.zeros((40, 90, 3), "uint8")
    content = [{"type": "image"}, {"type": "video"}]
    content.append({"type": "text", "text": "What?"})
    text = theirs.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    metadata = {"total_num_frames": 3, "fps": 2.0, "duration": 1.5}
    theirs = theirs(
        images=[image],
        videos=[video],
        text=text,
        video_metadata=[metadata],
        return_tensors="pt",
    )
    ours = preprocessor_of(
        tmp_path / "a",
        num_images=1,
        video_converter=keras_stts.VideoVLMVideoConverter(378, num_frames=3),
    ).generate_preprocess(
        {"images": [image], "videos": video, "fps": 2.0, "prompts": "What?"}
    )
    tiny.same(published_test.ids_of(ours), theirs["input_ids"][0].numpy())


@pytest.mark.once
def test_tokenizer_of_the_older_files(folder):
    texts = [
        "what moves first?",
        "<|im_start|>user\nä 12 <im_patch>",
        "  a\n\n",
    ]
    whole = keras_stts.VideoVLMTokenizer.from_preset(str(folder))
    (folder / "tokenizer.json").unlink()
    parts = keras_stts.VideoVLMTokenizer.from_preset(str(folder))
    for text in texts:
        assert list(parts(text)) == list(whole(text))
    assert parts.get_vocabulary() == whole.get_vocabulary()
    (folder / "merges.txt").rename(folder / "gone.txt")
    with pytest.raises(FileNotFoundError, match="without tokenizer.json and"):
        keras_stts.VideoVLMTokenizer.from_preset(str(folder))
    (folder / "gone.txt").rename(folder / "merges.txt")
    change(folder, "tokenizer_config.json", tokenizer_class=None)
    with pytest.raises(ValueError, match="Qwen2Tokenizer or GPT2Tokenizer"):
        keras_stts.VideoVLMTokenizer.from_preset(str(folder))


@pytest.mark.once
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("added_tokens", [{"content": "x", "id": None}]),
        ("added_tokens", [{"content": c, "id": 300} for c in "xy"]),
        ("model__merges", [None]),
        ("model__merges", [["x", 1]]),
        ("model__merges", ["none none"]),
        ("model__merges", ["h e", ["h", "e"]]),
        ("model__vocab__a", None),
        ("model__vocab__a", 1),
        ("model__vocab__a", 1.5),
        ("post_processor", {"type": "Sequence", "processors": None}),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{}]}),
        ("pre_tokenizer__pretokenizers", None),
        ("pre_tokenizer", None),
    ],
)
def test_damaged_tokenizers(folder, field, value):
    change(folder, "tokenizer.json", **{field: value})
    with pytest.raises(ValueError, match="(tokenizer.json|tokenizer's files)"):
        keras_stts.VideoVLMTokenizer.from_preset(str(folder))


@pytest.mark.once
def test_special_tokens_are_left_out_of_answers(folder):
    preprocessor = preprocessor_of(folder)
    ids = [*preprocessor.tokenizer("red"), 305, 329, 302]
    x = {"token_ids": np.array(ids), "padding_mask": np.ones(len(ids), bool)}
    assert preprocessor.generate_postprocess(x) == "red"


@pytest.mark.once
def test_ids_beyond_the_embedding(folder):
    change(folder, "config.json", text_config__additional_vocab_size=5)
    with pytest.raises(ValueError, match="id 325 of '<|image|>'.*325 rows"):
        load(folder)


# The real files of Molmo2-4B


@pytest.fixture(scope="module")
def molmo2_4b(tmp_path_factory):
    """Its files, with words that stand for those of its vocabulary."""
    folder = tmp_path_factory.mktemp("real") / "molmo2_4b"
    shutil.copytree(published_test.FOLDER.parent / "molmo2_4b", folder)
    first = min(json.loads((folder / "added_tokens.json").read_text()).values())
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    words = [*sorted(letters), "th", *(f"word{i}" for i in range(first))]
    words = words[:first]
    vocabulary = {word: i for i, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    return folder


@pytest.mark.once
def test_the_real_files_of_molmo2_4b(molmo2_4b):
    files = convert_molmo2.Files(str(molmo2_4b))
    backbone, preprocessor = files.backbone, files.preprocessor
    assert backbone["vision_feature_layers"] == [24, 18]
    assert backbone["vision_num_layers"] == 25
    ids = [151938, 151939, 151936, 151940, 151943, 151937, 151944, 151942]
    assert backbone["vision_token_ids"] == ids
    assert not preprocessor["use_frame_special_tokens"]
    assert preprocessor["stop_token_ids"] == [151645]
    assert files.converter["sampling"] == "molmo2"
    assert files.task["sampler"] == "greedy"
    assert len(files.tokenizer["extra_special_tokens"]) == 281


@pytest.mark.once
def test_prompts_of_molmo2_4b(molmo2_4b):
    x = preprocessor_of(molmo2_4b).generate_preprocess(
        {"videos": np.zeros((2, 9, 9, 3), "uint8"), "prompts": "?", "fps": 2.0}
    )
    ids = published_test.ids_of(x).tolist()
    assert ids[0] == 151645
    frame = [151936, *[151938] * 81, 151937]
    starts = [i for i, id in enumerate(ids) if id == 151936]
    assert [ids[i : i + 83] for i in starts] == [frame, frame]
    assert ids[starts[1] + 83] == 151644

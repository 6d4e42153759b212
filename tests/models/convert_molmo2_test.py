"""Checkpoints in the format of Molmo2's authors, good and bad."""

import json
import pathlib
import shutil
import sys

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save_file

import keras_stts
from keras_stts import VideoVLM
from keras_stts.formats import checkpoint
from keras_stts.formats.molmo2.loading import backbone_config
from keras_stts.formats.molmo2.weights import SCORER
from keras_stts.formats.molmo2.weights import backbone_table
from keras_stts.formats.molmo2.weights import head_table
from keras_stts.formats.molmo2.weights import transformers_names
from tests.models import tiny

BLOCK = "model.transformer.blocks.1.mlp.ff_out.weight"


@pytest.fixture(scope="module")
def model():
    return VideoVLM.from_preset(tiny.MOLMO2, prune_ratio=0, num_frames=2)


@pytest.fixture
def folder(tmp_path):
    """A copy of the checkpoint that may be spoilt."""
    path = tmp_path / "checkpoint"
    shutil.copytree(tiny.MOLMO2, path)
    return path


def config_of(folder):
    return json.loads((pathlib.Path(folder) / "config.json").read_text())


def rewrite(folder, change):
    """Change the dict of a checkpoint's tensors."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def load(folder, **kwargs):
    return VideoVLM.from_preset(
        str(folder), num_frames=2, **{"prune_ratio": 0, **kwargs}
    )


def same_weights(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        if "scorer" not in a.path:
            tiny.same(a, b)


def test_whole_checkpoint(model):
    backbone = model.backbone
    assert backbone.vision_encoder.feature_layers == (6, 5)
    assert (
        backbone.vision_token_ids
        == model.preprocessor.tokenizer.vision_token_ids
    )
    same_weights(
        backbone,
        keras_stts.VideoVLMBackbone.from_preset(
            tiny.MOLMO2, prune_ratio=0, num_frames=2
        ),
    )
    x = {"videos": [tiny.video(0, 2, 20)], "prompts": ["how many?"]}
    x = model.preprocessor.generate_preprocess(x)
    assert x["videos"].shape == (1, 2, 378, 378, 3)
    converter = keras_stts.VideoVLMVideoConverter.from_preset(tiny.MOLMO2)
    assert (converter.num_frames, converter.image_size) == (64, (378, 378))


def test_changes(model):
    changed = load(tiny.MOLMO2, dtype="bfloat16", sequence_length=40)
    assert changed.backbone.compute_dtype == "bfloat16"
    assert changed.preprocessor.sequence_length == 40
    assert changed.preprocessor.num_frames == 2
    fresh = load(tiny.MOLMO2, load_weights=False)
    tiny.same(fresh.backbone.language_model.layer_norm.scale, np.ones(32))
    assert changed.backbone.window == 3


def test_without_tokenizer(model, folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    bare = load(folder)
    assert bare.preprocessor is None
    same_weights(model, bare)
    ids = model.backbone.vision_token_ids
    assert bare.backbone.vision_token_ids == ids
    for part in (
        keras_stts.VideoVLMPreprocessor,
        keras_stts.VideoVLMTokenizer,
    ):
        with pytest.raises(FileNotFoundError, match="tokenizer.json"):
            part.from_preset(str(folder))
    (folder / "processor_config.json").unlink()
    assert load(folder).backbone.num_frames == 2


def test_ids_of_vision_tokens():
    config = config_of(tiny.MOLMO2)
    offsets = [2, 3, 0, 4, 7, 1, 8, 6]  # As the tokenizer has them.
    wanted = [320 + offset for offset in offsets]
    assert backbone_config(config)["vision_token_ids"] == wanted
    config["frame_start_token_id"] = 9
    assert backbone_config(config)["vision_token_ids"][4] == 9
    vocabulary = {"<im_patch>": 322, "<frame_start>": 9, "<im_low>": 6}
    ids = backbone_config(config, vocabulary=vocabulary)["vision_token_ids"]
    assert (ids[4], ids[7]) == (9, 6)
    with pytest.raises(ValueError, match="<frame_start>. Received: id 5"):
        backbone_config(config, vocabulary={**vocabulary, "<frame_start>": 5})
    with pytest.raises(ValueError, match="id 7 in tokenizer.json, 322 in"):
        backbone_config(config, vocabulary={"<im_patch>": 7})


def test_config_in_the_words_of_the_first_release():
    config = config_of(tiny.MOLMO2)
    wanted = backbone_config(config)
    vision = config["vit_config"] = config.pop("vision_config")
    vision["image_default_input_size"] = vision.pop("image_size")
    vision["image_patch_size"] = vision.pop("patch_size")
    vision["num_hidden_layers"] += 2  # Of which the file holds none.
    adapter, text = config["adapter_config"], config["text_config"]
    adapter.pop("vision_feature_layer")
    adapter["vit_layers"] = [-3, -4]
    text["rope_theta"] = text.pop("rope_parameters")["rope_theta"]
    text["layer_norm_eps"] = text.pop("rms_norm_eps")
    assert backbone_config(config) == wanted


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("qk_norm_type", "gemma", "must be qwen3 or olmo. Received: 'gemma'"),
        (
            "rope_parameters",
            {"rope_type": "dynamic", "rope_theta": 9.0, "factor": 2.0},
            "rope_parameters` in .*config.json.*one type.*rope_type='dynamic'",
        ),
    ],
)
def test_unknown_architectures(folder, field, value, message):
    config = config_of(folder)
    config["text_config"][field] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_missing_field():
    config = config_of(tiny.MOLMO2)
    config["text_config"].pop("rms_norm_eps")
    with pytest.raises(ValueError, match="rms_norm_eps or layer_norm_eps"):
        backbone_config(config)


# What transformers calls the weights of a block and those outside of them.
TRANSFORMERS = {
    "lm_head.weight",
    "model.language_model.embed_tokens.weight",
    "model.language_model.norm.weight",
    "model.vision_tower.positional_embedding",
    *(
        f"model.language_model.layers.0.{name}.weight"
        for name in (
            "input_layernorm",
            "post_attention_layernorm",
            "mlp.down_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "self_attn.k_norm",
            "self_attn.k_proj",
            "self_attn.o_proj",
            "self_attn.q_norm",
            "self_attn.q_proj",
            "self_attn.v_proj",
        )
    ),
    *(
        f"model.{name}.{part}"
        for name in (
            "multi_modal_projector.image_pooling_2d.q_proj",
            "multi_modal_projector.image_pooling_2d.k_proj",
            "multi_modal_projector.image_pooling_2d.v_proj",
            "multi_modal_projector.image_pooling_2d.o_proj",
            "vision_tower.patch_embedding",
            "vision_tower.layers.0.layer_norm1",
            "vision_tower.layers.0.layer_norm2",
            "vision_tower.layers.0.mlp.fc1",
            "vision_tower.layers.0.mlp.fc2",
            "vision_tower.layers.0.self_attn.k_proj",
            "vision_tower.layers.0.self_attn.o_proj",
            "vision_tower.layers.0.self_attn.q_proj",
            "vision_tower.layers.0.self_attn.v_proj",
        )
        for part in ("weight", "bias")
    ),
    *(
        f"model.multi_modal_projector.image_projector.{name}.weight"
        for name in ("gate_proj", "up_proj", "down_proj")
    ),
}


def all_tables(model):
    table = {**backbone_table(model.backbone), **head_table(model)}
    return {k: v for k, v in table.items() if SCORER not in k[0]}


def in_transformers_names(tensors, table):
    """The tensors under transformers' names, fused ones cut."""
    result = {}
    for names, variables in table.items():
        joined = np.concatenate([tensors[name] for name in names])
        new = transformers_names(names)
        rows = [v.shape[1 if v.name == "kernel" else 0] for v in variables]
        parts = np.split(joined, np.cumsum(rows)[:-1])
        result.update(zip(new, parts, strict=True))
    return result


def test_names_of_transformers(model, folder):
    table = all_tables(model)
    names = {n for keys in table for n in transformers_names(keys)}
    first = {n for n in names if ".layers." not in n or ".layers.0." in n}
    assert first == TRANSFORMERS
    assert len(names) == 162  # As many as transformers' model has.
    path = folder / "model.safetensors"
    tensors = in_transformers_names(load_file(path), table)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
    same_weights(model, load(folder))


def test_several_files(model, folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index})
    )
    same_weights(model, load(folder))


def test_bfloat16_file(model, folder):
    def to_bfloat16(tensors):
        for name in tensors:
            tensors[name] = tensors[name].astype(ml_dtypes.bfloat16)

    rewrite(folder, to_bfloat16)
    loaded = load(folder)
    for a, b in zip(model.weights, loaded.weights):
        if "scorer" not in a.path:
            tiny.close(a, b, 0.02)


def test_scorer_in_the_file(folder):
    rng = np.random.default_rng(0)
    added = {}

    def add_scorer(tensors):
        scorer = {k: v for k, v in table.items() if SCORER in k[0]}
        for (name,), (variable,) in scorer.items():
            shape = variable.shape
            shape = shape[::-1] if variable.name == "kernel" else shape
            added[name] = rng.normal(size=shape).astype("float32")
        tensors.update(added)

    with pytest.warns(match="holds no token scorer"):
        table = backbone_table(load(folder, prune_ratio=0.5).backbone)
    rewrite(folder, add_scorer)
    scorer = load(folder, prune_ratio=0.5).backbone.pruning.scorer
    name = SCORER + "patch_token_pooler.wq.weight"
    tiny.same(scorer.pooler.query.kernel, added[name].T)
    tiny.same(scorer.mlp.score.bias, added[SCORER + "mlp.w3.bias"])


def test_blocks_above_the_last_feature_are_left_out(model, folder):
    config = config_of(folder)
    config["vision_config"]["num_hidden_layers"] = 9
    (folder / "config.json").write_text(json.dumps(config))

    def add_block(tensors):
        for name in list(tensors):
            if "resblocks.6." in name:
                tensors[name.replace("s.6.", "s.7.")] = tensors[name]

    rewrite(folder, add_block)
    same_weights(model, load(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(BLOCK), rf"checkpoint with missing \['{BLOCK}'\]"),
        (
            lambda t: t.update({"model.extra": t[BLOCK]}),
            r"checkpoint with missing .* unknown \['model.extra'\]",
        ),
        (
            lambda t: t.update({BLOCK: t[BLOCK][:5]}),
            rf"{BLOCK} in .*model.safetensors of shape \(5, 64\), expected",
        ),
        (lambda t: t.pop("lm_head.weight"), "missing .'lm_head.weight'"),
    ],
)
def test_wrong_weights(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_truncated_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="model.safetensors, which cannot"):
        load(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        load(folder)


def test_file_that_becomes_shorter(model, folder):
    path = folder / "model.safetensors"
    opened = checkpoint.Checkpoint(str(folder))
    place = opened.tensors["lm_head.weight"].place
    path.write_bytes(path.read_bytes()[: place + 10])
    with pytest.raises(ValueError, match="safetensors, which has become short"):
        opened.assign(head_table(model), partial=True)


def test_wrong_dtype(folder):
    rewrite(folder, lambda t: t.update({BLOCK: t[BLOCK].astype("int32")}))
    with pytest.raises(ValueError, match=f"{BLOCK} in .* of dtype I32"):
        load(folder)


def test_missing_file_of_several(folder):
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = dict.fromkeys(names, "a.safetensors")
    index[BLOCK] = "b.safetensors"
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index})
    )
    with pytest.raises(FileNotFoundError, match="without b.safetensors"):
        load(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ValueError, match=f"pickled .* with {name}. Convert"):
        load(folder)


def test_pickled_file_of_several(folder):
    index = {BLOCK: "pytorch_model-00001.bin"}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index})
    )
    with pytest.raises(ValueError, match="with pytorch_model-00001.bin"):
        load(folder)


@pytest.mark.parametrize("tile", [5, 64])
def test_large_tensors_are_read_by_tiles(model, folder, monkeypatch, tile):
    monkeypatch.setattr(checkpoint, "TILE", tile)
    same_weights(model, load(folder))


def test_wrong_shapes_are_noticed_before_anything_is_assigned(model, folder):
    last = "model.transformer.blocks.1.ff_norm.weight"
    rewrite(folder, lambda t: t.update({last: t[last][:5]}))
    table = backbone_table(model.backbone)
    table = {k: v for k, v in table.items() if SCORER not in k[0]}
    before = model.backbone.get_weights()
    with pytest.raises(ValueError, match=last):
        checkpoint.Checkpoint(str(folder)).assign(table, partial=True)
    for a, b in zip(before, model.backbone.get_weights(), strict=True):
        tiny.same(a, b)


def test_what_no_file_holds_is_random(folder):
    backbone = load(folder, prune_ratio=0).backbone
    fresh = load(folder, load_weights=False).backbone
    kernels = (
        backbone.pruning.scorer.mlp.hidden_1.kernel,
        fresh.connector.up.kernel,
    )
    for kernel in kernels:
        assert 0.01 < np.std(keras.ops.convert_to_numpy(kernel)) < 1


def test_without_safetensors(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        load(folder)

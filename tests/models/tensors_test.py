"""Molmo2-4B has the published tensors, each of the shape its config implies.

Names and number of parameters are those of its published
`model.safetensors.index.json`; no memory is taken for the weights.
"""

import json
import math

import pytest

import keras_stts
from benchmarks.aot.abstract import abstract_variables
from keras_stts.formats.molmo2.loading import backbone_config
from keras_stts.formats.molmo2.weights import SCORER
from keras_stts.formats.molmo2.weights import backbone_table
from keras_stts.formats.molmo2.weights import head_table
from tests.models.tiny import GOLDEN

PARAMETERS = 4850869200
TEXT = "model.transformer."
VISION = "model.vision_backbone."
BLOCKS = {TEXT + "blocks.{}.": 36}
BLOCKS[VISION + "image_vit.transformer.resblocks.{}."] = 25
SHAPES = {
    "lm_head.weight": (151936, 2560),
    TEXT + "wte.embedding": (151936, 2560),
    TEXT + "wte.new_embedding": (128, 2560),
    TEXT + "ln_f.weight": (2560,),
    TEXT + "blocks.{}.attn_norm.weight": (2560,),
    TEXT + "blocks.{}.ff_norm.weight": (2560,),
    TEXT + "blocks.{}.mlp.ff_out.weight": (2560, 9728),
    TEXT + "blocks.{}.mlp.ff_proj.weight": (2 * 9728, 2560),
    TEXT + "blocks.{}.self_attn.att_proj.weight": (6144, 2560),
    TEXT + "blocks.{}.self_attn.attn_out.weight": (2560, 4096),
    TEXT + "blocks.{}.self_attn.k_norm.weight": (128,),
    TEXT + "blocks.{}.self_attn.q_norm.weight": (128,),
    VISION + "image_projector.w1.weight": (9728, 1152),
    VISION + "image_projector.w2.weight": (2560, 9728),
    VISION + "image_projector.w3.weight": (9728, 1152),
    VISION + "image_vit.positional_embedding": (729, 1152),
}
DENSE = {
    **{f"image_pooling_2d.w{key}": (1152, 2304) for key in "qkv"},
    "image_pooling_2d.wo": (1152, 1152),
    "image_vit.patch_embedding": (1152, 588),
}
IN_BLOCK = {
    **{f"attention.w{key}": (1152, 1152) for key in "qkvo"},
    "feed_forward.w1": (4304, 1152),
    "feed_forward.w2": (1152, 4304),
    "attention_norm": (1152,),
    "ffn_norm": (1152,),
}
BLOCK = "image_vit.transformer.resblocks.{}."
DENSE |= {BLOCK + name: shape for name, shape in IN_BLOCK.items()}
for name, shape in DENSE.items():
    SHAPES[f"{VISION}{name}.weight"] = shape
    SHAPES[f"{VISION}{name}.bias"] = shape[:1]


def published():
    """Shape of each of the published tensors by its name."""
    shapes = {}
    for name, shape in SHAPES.items():
        depths = [BLOCKS[block] for block in BLOCKS if block in name]
        for i in range(*depths or (1,)):
            shapes[name.format(i)] = shape
    return shapes


def stored_shape(variables):
    """Of variables that are one tensor in a file, kernels transposed."""
    shapes = [
        v.shape[::-1] if v.path.endswith("kernel") else v.shape
        for v in variables
    ]
    assert len({shape[1:] for shape in shapes}) == 1
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


@pytest.mark.once
def test_published_tensors():
    wanted = published()
    assert len(wanted) == 706
    assert sum(map(math.prod, wanted.values())) == PARAMETERS
    config = json.loads((GOLDEN / "molmo2_4b/config.json").read_text())
    with abstract_variables():
        backbone = keras_stts.VideoVLMBackbone.from_sizes(
            num_frames=2, **backbone_config(config)
        )
        model = keras_stts.VideoVLM(backbone, compile=False)
    assert all(v._value is None for v in model.weights)
    table = {**backbone_table(backbone), **head_table(model)}
    scorer = [keys for keys in table if keys[0].startswith(SCORER)]
    assert len(scorer) == 14
    for keys in scorer:
        table.pop(keys)
    names = [name for keys in table for name in keys]
    assert sorted(names) == sorted(wanted)
    for keys, variables in table.items():
        rows = sum(wanted[name][0] for name in keys)
        assert stored_shape(variables) == (rows, *wanted[keys[0]][1:]), keys
    filled = {id(v) for variables in table.values() for v in variables}
    others = [v.path for v in model.weights if id(v) not in filled]
    assert len(others) == 14
    assert all("scorer" in path for path in others)

"""Names of the weights in a Molmo2 checkpoint."""

import re

from keras_stts import _hub_compat as hub
from keras_stts.pruning import STTS

VISION = "model.vision_backbone.image_vit."
TEXT = "model.transformer."
SCORER = VISION + "transformer.temporal_token_scorer."

# From published names to those of transformers, applied in this order.
RENAMES = (
    (rf"^{TEXT}wte\.embedding$", "model.language_model.embed_tokens.weight"),
    (rf"^{TEXT}ln_f\.", "model.language_model.norm."),
    (rf"^{TEXT}blocks\.", "model.language_model.layers."),
    (rf"^{VISION}transformer\.resblocks\.", "model.vision_tower.layers."),
    (rf"^{VISION}", "model.vision_tower."),
    (r"^model\.vision_backbone\.", "model.multi_modal_projector."),
    (r"\.(attention|image_pooling_2d)\.w([qkvo])\.", r".\1.\2_proj."),
    (r"\.attention\.", ".self_attn."),
    (r"\.feed_forward\.w([12])\.", r".mlp.fc\1."),
    (r"\.attention_norm\.", ".layer_norm1."),
    (r"\.ffn_norm\.", ".layer_norm2."),
    (r"image_projector\.w1\.", "image_projector.gate_proj."),
    (r"image_projector\.w2\.", "image_projector.down_proj."),
    (r"image_projector\.w3\.", "image_projector.up_proj."),
    (r"\.attn_norm\.", ".input_layernorm."),
    (r"\.ff_norm\.", ".post_attention_layernorm."),
    (r"\.attn_out\.", ".o_proj."),
    (r"\.ff_out\.", ".down_proj."),
)
# One weight of published files is several, in this order, in transformers.
FUSED = {
    ".att_proj.": (".q_proj.", ".k_proj.", ".v_proj."),
    ".ff_proj.": (".up_proj.", ".gate_proj."),
    ".wte.new_embedding": (),
}


def transformers_names(names):
    """The names in transformers of weights with these published names."""
    result = []
    for name in names:
        if not name.startswith(SCORER):
            for pattern, new in RENAMES:
                name = re.sub(pattern, new, name)
        parts = [(old, FUSED[old]) for old in FUSED if old in name]
        for old, new in parts:
            result += [name.replace(old, part) for part in new]
        if not parts:
            result.append(name)
    return tuple(result)


def backbone_table(backbone):
    """Names in the published layout and the variables they fill.

    Returns:
        Dict of tuple of names to list of variables. Several names are joined
        along the first axis; then, if there are several variables, cut along
        it in order; then transposed where a variable is a kernel.
    """
    vision = backbone.vision_encoder
    table = {
        (VISION + "positional_embedding",): [vision.position_embedding],
        (TEXT + "wte.embedding", TEXT + "wte.new_embedding"): [
            hub.own_variable(backbone.token_embedding, "embeddings")
        ],
        (TEXT + "ln_f.weight",): [backbone.language_model.layer_norm.scale],
    }
    add_dense(table, VISION + "patch_embedding", vision.patch_embedding)
    for i, block in enumerate(vision.blocks):
        add_vision_block(table, f"{VISION}transformer.resblocks.{i}.", block)
    for i, block in enumerate(backbone.transformer_layers):
        add_text_block(table, f"{TEXT}blocks.{i}.", block)
    add_connector(table, "model.vision_backbone.", backbone.connector)
    if isinstance(backbone.pruning, STTS):
        add_scorer(table, SCORER, backbone.pruning.scorer)
    return table


def head_table(model):
    """Like `backbone_table`, for the output head of a `VideoVLM`."""
    return {("lm_head.weight",): kernels(model.lm_head)}


def kernels(*layers):
    """Kernels of layers, also of quantized ones or with LoRA."""
    return [hub.own_variable(layer, "kernel") for layer in layers]


def add_dense(table, name, layer):
    table[(name + ".weight",)] = kernels(layer)
    table[(name + ".bias",)] = [layer.bias]


def add_pooler(table, name, pooler):
    layers = (pooler.query, pooler.key, pooler.value, pooler.output_dense)
    for key, layer in zip("qkvo", layers):
        add_dense(table, f"{name}w{key}", layer)


def add_connector(table, name, connector):
    add_pooler(table, name + "image_pooling_2d.", connector.pooler)
    layers = {"1": connector.gate, "3": connector.up, "2": connector.down}
    for key, layer in layers.items():
        table[(f"{name}image_projector.w{key}.weight",)] = kernels(layer)


def add_scorer(table, name, scorer):
    add_pooler(table, name + "patch_token_pooler.", scorer.pooler)
    mlp = scorer.mlp
    for i, layer in enumerate((mlp.hidden_1, mlp.hidden_2, mlp.score), 1):
        add_dense(table, f"{name}mlp.w{i}", layer)


def add_vision_block(table, name, block):
    layers = (block.query, block.key, block.value, block.attention_output)
    for key, layer in zip("qkvo", layers):
        add_dense(table, f"{name}attention.w{key}", layer)
    add_dense(table, name + "feed_forward.w1", block.mlp_up)
    add_dense(table, name + "feed_forward.w2", block.mlp_down)
    norms = {
        "attention_norm": block.attention_norm,
        "ffn_norm": block.mlp_norm,
    }
    for key, norm in norms.items():
        table[(f"{name}{key}.weight",)] = [norm.gamma]
        table[(f"{name}{key}.bias",)] = [norm.beta]


def add_text_block(table, name, block):
    dense = {
        "self_attn.att_proj": (block.query, block.key, block.value),
        "self_attn.attn_out": (block.attention_output,),
        "mlp.ff_proj": (block.mlp_up, block.mlp_gate),
        "mlp.ff_out": (block.mlp_down,),
    }
    norms = {
        "attn_norm": block.attention_norm,
        "ff_norm": block.mlp_norm,
        "self_attn.q_norm": block.query_norm,
        "self_attn.k_norm": block.key_norm,
    }
    for key, layers in dense.items():
        table[(f"{name}{key}.weight",)] = kernels(*layers)
        if layers[0].use_bias:
            table[(f"{name}{key}.bias",)] = [layer.bias for layer in layers]
    for key, norm in norms.items():
        table[(f"{name}{key}.weight",)] = [norm.scale]

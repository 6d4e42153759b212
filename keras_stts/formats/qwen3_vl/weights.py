"""Names of the weights in a Qwen3-VL checkpoint."""

from keras_stts import _hub_compat as hub
from keras_stts.formats.molmo2.weights import add_dense
from keras_stts.formats.molmo2.weights import add_scorer
from keras_stts.formats.molmo2.weights import kernels
from keras_stts.pruning import STTS

VISION = "model.visual."
TEXT = "model.language_model."
HEAD = "lm_head.weight"
EMBEDDING = TEXT + "embed_tokens.weight"
PATCHES = VISION + "patch_embed.proj.weight"
# No one has published one with Qwen3-VL: the names are those of Molmo2's.
SCORER = VISION + "temporal_token_scorer."


def backbone_table(backbone):
    """Names in transformers' files and the variables they fill.

    The kernel of the patch embedding has five axes in the files: output,
    channel, frame, row, column.

    Returns:
        Dict of tuple of names to list of variables, as of
        `keras_stts.formats.molmo2.weights.backbone_table`.
    """
    vision, decoder = backbone.vision_encoder, backbone.language_model
    table = {
        (VISION + "pos_embed.weight",): [vision.position_embedding],
        (EMBEDDING,): [hub.own_variable(decoder.token_embedding, "embeddings")],
        (TEXT + "norm.weight",): [decoder.layer_norm.scale],
    }
    add_dense(table, VISION + "patch_embed.proj", vision.patch_embedding)
    for i, block in enumerate(vision.blocks):
        _add_vision_block(table, f"{VISION}blocks.{i}.", block)
    *additions, last = backbone.connector.mergers
    for i, merger in enumerate(additions):
        _add_merger(table, f"{VISION}deepstack_merger_list.{i}.", merger)
    _add_merger(table, VISION + "merger.", last)
    for i, block in enumerate(decoder.transformer_layers):
        _add_text_block(table, f"{TEXT}layers.{i}.", block)
    return table


def head_table(model, *, tied):
    """Like `backbone_table`, for the output head.

    Args:
        model: A `VideoVLM`.
        tied: Bool. Whether its weights are those of the token embedding.
    """
    name = EMBEDDING if tied else HEAD
    return {(name,): kernels(model.lm_head)}


def scorer_table(backbone):
    """Like `backbone_table`, for STTS' scorer; empty without."""
    table = {}
    if isinstance(backbone.pruning, STTS):
        add_scorer(table, SCORER, backbone.pruning.scorer)
    return table


def _add_norm(table, name, norm):
    table[(name + ".weight",)] = [norm.gamma]
    table[(name + ".bias",)] = [norm.beta]


def _add_vision_block(table, name, block):
    layers = (block.query, block.key, block.value)
    table[(name + "attn.qkv.weight",)] = kernels(*layers)
    table[(name + "attn.qkv.bias",)] = [layer.bias for layer in layers]
    add_dense(table, name + "attn.proj", block.attention_output)
    _add_norm(table, name + "norm1", block.attention_norm)
    _add_norm(table, name + "norm2", block.mlp_norm)
    add_dense(table, name + "mlp.linear_fc1", block.mlp_up)
    add_dense(table, name + "mlp.linear_fc2", block.mlp_down)


def _add_merger(table, name, merger):
    _add_norm(table, name + "norm", merger.norm)
    add_dense(table, name + "linear_fc1", merger.up)
    add_dense(table, name + "linear_fc2", merger.down)


def _add_text_block(table, name, block):
    layers = {
        "self_attn.q_proj": block.query,
        "self_attn.k_proj": block.key,
        "self_attn.v_proj": block.value,
        "self_attn.o_proj": block.attention_output,
        "mlp.gate_proj": block.mlp_gate,
        "mlp.up_proj": block.mlp_up,
        "mlp.down_proj": block.mlp_down,
    }
    norms = {
        "input_layernorm": block.attention_norm,
        "post_attention_layernorm": block.mlp_norm,
        "self_attn.q_norm": block.query_norm,
        "self_attn.k_norm": block.key_norm,
    }
    for key, layer in layers.items():
        table[(f"{name}{key}.weight",)] = kernels(layer)
        if layer.use_bias:
            table[(f"{name}{key}.bias",)] = [layer.bias]
    for key, norm in norms.items():
        table[(f"{name}{key}.weight",)] = [norm.scale]

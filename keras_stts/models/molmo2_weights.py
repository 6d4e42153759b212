"""Names of the weights in a Molmo2 checkpoint, and the files they lie in."""

import re

import numpy as np

from keras_stts import _hub_compat as hub

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"

VISION = "model.vision_backbone.image_vit."
TEXT = "model.transformer."
SCORER = VISION + "transformer.temporal_token_scorer."

# Published names to those of transformers, in this order. Both are in use.
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
# What is one weight in published files, in its order, is several there.
FUSED = {
    ".att_proj.": (".q_proj.", ".k_proj.", ".v_proj."),
    ".ff_proj.": (".up_proj.", ".gate_proj."),
    ".wte.new_embedding": (),
}


def transformers_names(names):
    """What transformers calls weights of these published names."""
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
            backbone.token_embedding.embeddings
        ],
        (TEXT + "ln_f.weight",): [backbone.layer_norm.scale],
    }
    add_dense(table, VISION + "patch_embedding", vision.patch_embedding)
    for i, block in enumerate(vision.blocks):
        add_vision_block(table, f"{VISION}transformer.resblocks.{i}.", block)
    for i, block in enumerate(backbone.transformer_layers):
        add_text_block(table, f"{TEXT}blocks.{i}.", block)
    add_connector(table, "model.vision_backbone.", backbone.connector)
    add_scorer(table, SCORER, vision.scorer)
    return table


def head_table(model):
    """As `backbone_table`, of the output head of a `VideoVLM`."""
    return {("lm_head.weight",): _kernels(model.lm_head)}


def _kernels(*layers):
    return [layer.kernel for layer in layers]


def add_dense(table, name, layer):
    table[(name + ".weight",)] = [layer.kernel]
    table[(name + ".bias",)] = [layer.bias]


def add_pooler(table, name, pooler):
    layers = (pooler.query, pooler.key, pooler.value, pooler.output_dense)
    for key, layer in zip("qkvo", layers):
        add_dense(table, f"{name}w{key}", layer)


def add_connector(table, name, connector):
    add_pooler(table, name + "image_pooling_2d.", connector.pooler)
    layers = {"1": connector.gate, "3": connector.up, "2": connector.down}
    for key, layer in layers.items():
        table[(f"{name}image_projector.w{key}.weight",)] = _kernels(layer)


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
    kernels = {
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
    for key, layers in kernels.items():
        table[(f"{name}{key}.weight",)] = _kernels(*layers)
        if layers[0].use_bias:
            table[(f"{name}{key}.bias",)] = [layer.bias for layer in layers]
    for key, norm in norms.items():
        table[(f"{name}{key}.weight",)] = [norm.scale]


class Checkpoint:
    """The tensors of a checkpoint's safetensors file or files.

    Args:
        preset: Str. Handle or directory.

    Raises:
        ValueError: If a file is damaged.
    """

    def __init__(self, preset):
        self.preset = preset
        self.files = {}
        names = {WEIGHTS}
        if hub.check_file_exists(preset, WEIGHTS_INDEX):
            index = hub.load_json(preset, WEIGHTS_INDEX)
            names = set(index["weight_map"].values())
        for name in sorted(names):
            self._open(hub.get_file(preset, name))

    def _open(self, path):
        try:
            from safetensors import safe_open
        except ImportError as error:
            raise ImportError(
                "A Molmo2 checkpoint's weights are read with safetensors. "
                "Install it with `pip install safetensors`."
            ) from error
        try:
            file = safe_open(path, framework="np")
        except Exception as error:
            raise ValueError(
                "A checkpoint's weights must be whole safetensors files. "
                f"Received: {path}, which cannot be read ({error}). Download "
                "it again."
            ) from error
        self.files.update({key: (file, path) for key in file.keys()})

    def has(self, prefix):
        return any(key.startswith(prefix) for key in self.files)

    def assign(self, table, also=(), partial=False):
        """Fill the variables of a table.

        Args:
            table: Dict as `backbone_table` makes it.
            also: Names that may be in the files, too.
            partial: Bool. Whether any other name may be.

        Raises:
            ValueError: If a name is missing, a shape does not fit, or the
                files hold a name that they should not.
        """
        if self.has("model.language_model."):
            table = {transformers_names(k): v for k, v in table.items()}
        wanted = {key for keys in table for key in keys}
        missing = sorted(wanted - set(self.files))
        unknown = set() if partial else set(self.files) - wanted - set(also)
        unknown = sorted(key for key in unknown if not _is_unused(key, wanted))
        if missing or unknown:
            raise ValueError(
                "A Molmo2 checkpoint must hold exactly the weights of its "
                f"config. Received: {self.preset} with missing "
                f"{missing[:5]} ({len(missing)}) and unknown {unknown[:5]} "
                f"({len(unknown)})."
            )
        for keys, variables in table.items():
            self._assign(keys, variables)

    def _assign(self, keys, variables):
        arrays = [self.files[key][0].get_tensor(key) for key in keys]
        transposed = [v.name == "kernel" for v in variables]
        shapes = [tuple(v.shape) for v in variables]
        shapes = [s[::-1] if t else s for s, t in zip(shapes, transposed)]
        rows = [shape[0] for shape in shapes]
        wanted = (sum(rows), *shapes[0][1:])
        given = [array.shape for array in arrays]
        total = (sum(shape[0] for shape in given), *given[0][1:])
        if total != wanted or len({shape[1:] for shape in given}) > 1:
            raise ValueError(
                "The weights of a checkpoint must have the shapes of its "
                f"config. Received: {', '.join(keys)} in "
                f"{self.files[keys[0]][1]} of shape "
                f"{', '.join(map(str, given))}, expected {wanted}."
            )
        array = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
        parts = np.split(array, np.cumsum(rows)[:-1])
        for variable, part, flip in zip(variables, parts, transposed):
            variable.assign(part.T if flip else part)


def _is_unused(key, wanted):
    """Whether a key belongs to a vision block above the last feature."""
    match = re.match(r"(.*(resblocks|vision_tower\.layers)\.\d+\.)", key)
    if match is None:
        return False
    return not any(other.startswith(match[1]) for other in wanted)

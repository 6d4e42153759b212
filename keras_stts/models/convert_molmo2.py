"""Checkpoints in the format of Molmo2's authors (Hugging Face)."""

import json

import numpy as np

from keras_stts import _hub_compat as hub
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.models.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.models.video_vlm_tokenizer import VISION_TOKENS
from keras_stts.models.video_vlm_tokenizer import VideoVLMTokenizer
from keras_stts.models.video_vlm_video_converter import VideoVLMVideoConverter

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PROCESSOR = "processor_config.json"
TOKENIZER = "tokenizer.json"

VISION = "model.vision_backbone.image_vit."
TEXT = "model.transformer."
SCORER = VISION + "transformer.temporal_token_scorer."


def load(cls, preset, load_weights=True, **kwargs):
    """`from_preset` of one of this package's classes."""
    if cls is VideoVLMBackbone:
        return load_backbone(preset, load_weights, **kwargs)
    if cls is VideoVLMTokenizer:
        return load_tokenizer(preset, **kwargs)
    if cls is VideoVLMVideoConverter:
        return load_converter(preset, **kwargs)
    return load_preprocessor(preset, kwargs, {})


def backbone_config(config):
    """Arguments of `VideoVLMBackbone` from a checkpoint's `config.json`."""
    vision, text = config["vision_config"], config["text_config"]
    adapter = config["adapter_config"]
    depth = vision["num_hidden_layers"]
    features = [i % depth for i in adapter["vision_feature_layer"]]
    first = config["image_patch_id"] - 2  # <im_start> opens the block of ids.
    ids = {
        token: first + place
        for place, token in enumerate(
            (
                "<im_start>",
                "<im_end>",
                "<im_patch>",
                "<im_col>",
                "<low_res_im_start>",
                "<|image|>",
                "<im_low>",
                "<frame_start>",
                "<frame_end>",
            )
        )
    }
    return {
        "vocabulary_size": text["vocab_size"],
        "additional_vocabulary_size": text["additional_vocab_size"],
        "num_frames": 64,
        "image_size": vision["image_size"][0],
        "patch_size": vision["patch_size"],
        # Blocks above the last feature are never run.
        "vision_num_layers": max(features) + 1,
        "vision_hidden_dim": vision["hidden_size"],
        "vision_num_heads": vision["num_attention_heads"],
        "vision_head_dim": vision["head_dim"],
        "vision_intermediate_dim": vision["intermediate_size"],
        "vision_feature_layers": features,
        "vision_layer_norm_epsilon": vision["layer_norm_eps"],
        "vision_activation": vision["hidden_act"],
        "connector_hidden_dim": adapter["hidden_size"],
        "connector_num_heads": adapter["num_attention_heads"],
        "connector_head_dim": adapter["head_dim"],
        "connector_intermediate_dim": adapter["intermediate_size"],
        "num_layers": text["num_hidden_layers"],
        "hidden_dim": text["hidden_size"],
        "num_query_heads": text["num_attention_heads"],
        "num_key_value_heads": text["num_key_value_heads"],
        "head_dim": text["head_dim"],
        "intermediate_dim": text["intermediate_size"],
        "rope_max_wavelength": text["rope_parameters"]["rope_theta"],
        "layer_norm_epsilon": text["rms_norm_eps"],
        "activation": text["hidden_act"],
        "image_patch_id": config["image_patch_id"],
        "vision_token_ids": [ids[t] for t in VISION_TOKENS.values()],
    }


def load_backbone(preset, load_weights=True, **kwargs):
    config = hub.load_json(preset, hub.CONFIG_FILE)
    backbone = VideoVLMBackbone(**{**backbone_config(config), **kwargs})
    if load_weights:
        table = backbone_table(backbone)
        with Checkpoint(preset) as checkpoint:
            if not checkpoint.has(SCORER):
                print(
                    f"{preset} holds no token scorer: it starts untrained. "
                    "Train it before you prune."
                )
                table = {k: v for k, v in table.items() if SCORER not in k[0]}
            checkpoint.assign(table, also=("lm_head.weight",))
    return backbone


def load_head(model, preset):
    """Load the output head of a `VideoVLM`."""
    table = {("lm_head.weight",): _dense(model.lm_head)}
    with Checkpoint(preset) as checkpoint:
        checkpoint.assign(table, partial=True)


def _dense(*layers, bias=False):
    """Rows of a torch matrix (or bias) are the units of these layers."""
    return [layer.bias if bias else layer.kernel for layer in layers]


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
    _add_dense(table, VISION + "patch_embedding", vision.patch_embedding)
    for i, block in enumerate(vision.blocks):
        _add_vision_block(table, f"{VISION}transformer.resblocks.{i}.", block)
    for i, block in enumerate(backbone.transformer_layers):
        _add_text_block(table, f"{TEXT}blocks.{i}.", block)
    connector = backbone.connector
    name = "model.vision_backbone.image_p"
    _add_pooler(table, name + "ooling_2d.", connector.pooler)
    for key, layer in zip(
        "132", (connector.gate, connector.up, connector.down)
    ):
        table[(f"{name}rojector.w{key}.weight",)] = _dense(layer)
    _add_pooler(table, SCORER + "patch_token_pooler.", vision.scorer.pooler)
    mlp = vision.scorer.mlp
    for i, layer in enumerate((mlp.hidden_1, mlp.hidden_2, mlp.score), 1):
        _add_dense(table, f"{SCORER}mlp.w{i}", layer)
    return table


def _add_dense(table, name, layer):
    table[(name + ".weight",)] = _dense(layer)
    table[(name + ".bias",)] = _dense(layer, bias=True)


def _add_pooler(table, name, pooler):
    layers = (pooler.query, pooler.key, pooler.value, pooler.output_dense)
    for key, layer in zip("qkvo", layers):
        _add_dense(table, f"{name}w{key}", layer)


def _add_vision_block(table, name, block):
    layers = (block.query, block.key, block.value, block.attention_output)
    for key, layer in zip("qkvo", layers):
        _add_dense(table, f"{name}attention.w{key}", layer)
    _add_dense(table, name + "feed_forward.w1", block.mlp_up)
    _add_dense(table, name + "feed_forward.w2", block.mlp_down)
    norms = {
        "attention_norm": block.attention_norm,
        "ffn_norm": block.mlp_norm,
    }
    for key, norm in norms.items():
        table[(f"{name}{key}.weight",)] = [norm.gamma]
        table[(f"{name}{key}.bias",)] = [norm.beta]


def _add_text_block(table, name, block):
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
        table[(f"{name}{key}.weight",)] = _dense(*layers)
    for key, norm in norms.items():
        table[(f"{name}{key}.weight",)] = [norm.scale]


class Checkpoint:
    """The tensors of a checkpoint's safetensors file or files."""

    def __init__(self, preset):
        self.preset = preset
        self.files = {}

    def __enter__(self):
        if hub.check_file_exists(self.preset, WEIGHTS_INDEX):
            index = hub.load_json(self.preset, WEIGHTS_INDEX)["weight_map"]
        else:
            index = {None: WEIGHTS}
        for name in sorted(set(index.values())):
            self._open(name)
        return self

    def _open(self, name):
        import safetensors

        path = hub.get_file(self.preset, name)
        try:
            file = safetensors.safe_open(path, framework="np")
        except Exception as error:
            raise ValueError(
                "A checkpoint's weights must be whole safetensors files. "
                f"Received: {path}, which cannot be read ({error})."
            ) from error
        self.files.update({key: (file, path) for key in file.keys()})

    def __exit__(self, *args):
        self.files.clear()

    def has(self, prefix):
        return any(key.startswith(prefix) for key in self.files)

    def assign(self, table, also=(), partial=False):
        """Fill the variables of a table.

        Raises:
            ValueError: If a name is missing, a shape does not fit or, unless
                `partial`, the file holds a name that is neither in the table
                nor in `also`.
        """
        wanted = {key for keys in table for key in keys}
        missing = sorted(wanted - set(self.files))
        unknown = set(self.files) - wanted - set(also)
        unknown = sorted(key for key in unknown if not _is_unused(key, wanted))
        if missing or (unknown and not partial):
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
        array = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
        transposed = [v.name == "kernel" for v in variables]
        shapes = [tuple(v.shape) for v in variables]
        rows = [s[1] if t else s[0] for s, t in zip(shapes, transposed)]
        rest = [(s[0],) if t else s[1:] for s, t in zip(shapes, transposed)]
        wanted = (sum(rows), *rest[0])
        if array.shape != wanted:
            raise ValueError(
                "The weights of a checkpoint must have the shapes of its "
                f"config. Received: {keys[0]} in {self.files[keys[0]][1]} of "
                f"shape {array.shape}, expected {wanted}."
            )
        parts = np.split(array, np.cumsum(rows)[:-1])
        for variable, part, flip in zip(variables, parts, transposed):
            variable.assign(part.T if flip else part)


def _is_unused(key, wanted):
    """Whether a key belongs to a vision block above the last feature."""
    head = VISION + "transformer.resblocks."
    if not key.startswith(head):
        return False
    number = key[len(head) :].split(".")[0]
    return not any(k.startswith(f"{head}{number}.") for k in wanted)


def load_tokenizer(preset, **kwargs):
    path = hub.get_file(preset, TOKENIZER)
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    vocabulary = dict(data["model"]["vocab"])
    added = data.get("added_tokens", [])
    vocabulary |= {token["content"]: token["id"] for token in added}
    merges = [
        merge if isinstance(merge, str) else " ".join(merge)
        for merge in data["model"]["merges"]
    ]
    kwargs.setdefault(
        "unsplittable_tokens", [token["content"] for token in added]
    )
    return VideoVLMTokenizer(vocabulary, merges, **kwargs)


def load_converter(preset, **kwargs):
    config = hub.load_json(preset, PROCESSOR)["video_processor"]
    size = config["size"]
    saved = {
        "image_size": (size["height"], size["width"]),
        "num_frames": config["num_frames"],
        "max_fps": config["max_fps"],
    }
    return VideoVLMVideoConverter(**{**saved, **kwargs})


def load_preprocessor(preset, kwargs, converter):
    """The preprocessor; None if the checkpoint has no tokenizer."""
    files = (TOKENIZER, PROCESSOR)
    if not all(hub.check_file_exists(preset, name) for name in files):
        return None
    config = hub.load_json(preset, PROCESSOR)["video_processor"]
    size = config["size"]["height"] // config["patch_size"]
    window = config["pooling_size"][0]
    parts = {"num_blocks": (-(-size // window)) ** 2, **kwargs}
    if "tokenizer" not in parts:
        parts["tokenizer"] = load_tokenizer(preset)
    if "video_converter" not in parts:
        parts["video_converter"] = load_converter(preset, **converter)
    return VideoVLMPreprocessor(**parts)

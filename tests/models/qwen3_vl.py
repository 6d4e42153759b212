"""A tiny Qwen3-VL, as transformers makes it and as ours."""

import keras
import numpy as np

import keras_stts
from keras_stts import language
from keras_stts import towers
from keras_stts.preprocessing.qwen3_vl.positions import rope_positions

IMAGE, VIDEO, START, END = 190, 191, 192, 193
PATCH = 2 * 16 * 16 * 3
BLOCKS, FRAMES, IMAGES = 12, 3, 2
TEXT = [9, 10, 11, 12]
VISION = {
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 64,
    "depth": 5,
    "out_hidden_size": 48,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [1, 2, 3],
}
DECODER = {
    "vocab_size": 200,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
}


def reference(seed=0, *, tied=False):
    """A random `Qwen3VLForConditionalGeneration`."""
    import torch

    from tests.models import hugging_face

    assert hugging_face
    import transformers

    rope = {"rope_type": "default", "rope_theta": 5e6}
    rope |= {"mrope_section": [2, 2, 2], "mrope_interleaved": True}
    config = transformers.Qwen3VLConfig(
        vision_config=VISION,
        text_config={**DECODER, "rope_parameters": rope},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=tied,
    )
    model = transformers.Qwen3VLForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator) * 0.15
            is_norm = "norm" in name and name.endswith("weight")
            weight.copy_(noise + is_norm)
    return model


def model(
    preprocessor=None,
    *,
    num_blocks=BLOCKS,
    num_frames=FRAMES,
    shallow=False,
    text_layers=1,
    tied=False,
    **arguments,
):
    """Ours, random; for the inputs of a preprocessor, if there is one.

    `shallow`, with so many `text_layers`, is compiled sooner, and not
    transformers'.
    """
    keras.utils.set_random_seed(0)
    given = {"image_patch_id": IMAGE, "video_patch_id": VIDEO}
    given |= {"pruning": None, "num_images": IMAGES}
    vocabulary_size, image_blocks = DECODER["vocab_size"], None
    if preprocessor is not None:
        tokenizer = preprocessor.tokenizer
        vocabulary_size = tokenizer.vocabulary_size()
        num_blocks, num_frames = (
            preprocessor.num_blocks,
            preprocessor.num_frames,
        )
        image_blocks = preprocessor.num_image_blocks
        given["image_patch_id"] = tokenizer.image_pad_token_id
        given["video_patch_id"] = tokenizer.video_pad_token_id
        for name in ("num_images", "num_segments"):
            given[name] = getattr(preprocessor, name)
    depth, layers = VISION["depth"], DECODER["num_hidden_layers"]
    deepstack = VISION["deepstack_visual_indexes"]
    if shallow:
        depth, layers, deepstack = 3, text_layers, deepstack[:1]
    encoder = towers.Qwen3VLVisionEncoder(
        depth,
        VISION["hidden_size"],
        num_heads=VISION["num_heads"],
        intermediate_dim=VISION["intermediate_size"],
        num_blocks=num_blocks,
        num_image_blocks=image_blocks,
        deepstack_layers=deepstack,
        position_side=8,
        name="vision_encoder",
    )
    connector = towers.Qwen3VLConnector(
        VISION["hidden_size"],
        DECODER["hidden_size"],
        num_additions=len(deepstack),
        name="connector",
    )
    decoder = language.LanguageModel(
        vocabulary_size,
        layers,
        DECODER["hidden_size"],
        num_query_heads=DECODER["num_attention_heads"],
        num_key_value_heads=DECODER["num_key_value_heads"],
        head_dim=DECODER["head_dim"],
        intermediate_dim=DECODER["intermediate_size"],
        additional_vocabulary_size=0,
        rope_max_wavelength=5e6,
        rope_sections=[2, 2, 2],
        tie_embeddings=tied,
        name="language_model",
    )
    backbone = keras_stts.VideoVLMBackbone(
        encoder,
        connector,
        decoder,
        num_frames=num_frames,
        vision_token_ids=[],
        **{**given, **arguments},
    )
    return keras_stts.VideoVLM(backbone, preprocessor)


def pixels(number, seed=0):
    return np.random.default_rng(seed).integers(
        0, 256, (number, PATCH), dtype="uint8"
    )


class Sample:
    """A text with images, a video, or both.

    Args:
        video: Optional (frames, rows, columns), in blocks.
        images: List of (rows, columns), in blocks.
        seed: Int, of the pixels.
    """

    def __init__(self, video=None, images=(), seed=0):
        self.video, self.images = video, list(images)
        self.ids = [5, 6]
        for rows, columns in self.images:
            self.ids += [START, *[IMAGE] * (rows * columns), END, 7]
        if video is not None:
            frames, rows, columns = video
            self.ids += [8, START, *[VIDEO] * (rows * columns), END] * frames
        self.text = [token + seed % 3 for token in TEXT]
        self.pixels = [
            pixels(4 * rows * columns, seed + 7 * i)
            for i, (rows, columns) in enumerate(self.images)
        ]
        self.frames = pixels(4 * int(np.prod(video or 0)), seed + 1)
        if video is not None:
            self.frames = self.frames.reshape(video[0], -1, PATCH)

    def positions(self):
        """Ids (1, S) of the whole sequence and its positions (3, 1, S)."""
        ids = np.array([self.ids + self.text])
        grids = {"image_grids": [(1, 2 * r, 2 * c) for r, c in self.images]}
        if self.video is not None:
            frames, rows, columns = self.video
            grids["video_grids"] = [(frames, 2 * rows, 2 * columns)]
        positions, _ = rope_positions(
            ids, image_token_id=IMAGE, video_token_id=VIDEO, **grids
        )
        return ids, positions, grids

    def logits(self, reference):
        """transformers', of the text: (S', V)."""
        import torch

        ids, _, grids = self.positions()
        kinds = np.where(ids == IMAGE, 1, np.where(ids == VIDEO, 2, 0))
        given = {"input_ids": ids, "mm_token_type_ids": kinds}
        if self.images:
            given["pixel_values"] = _normal(np.concatenate(self.pixels))
            given["image_grid_thw"] = np.array(grids["image_grids"])
        if self.video is not None:
            given["pixel_values_videos"] = _normal(
                self.frames.reshape(-1, PATCH)
            )
            given["video_grid_thw"] = np.array(grids["video_grids"])
        given = {name: torch.tensor(value) for name, value in given.items()}
        logits = reference(**given).logits
        return logits[0, len(self.ids) :]


def _normal(values):
    return (values.astype("float32") / 255 - 0.5) / 0.5


def inputs(samples, *, vision_length=None, num_blocks=BLOCKS, frames=FRAMES):
    """What our model takes of samples."""
    words = max(sum(token != VIDEO for token in each.ids) for each in samples)
    # A row may have all blocks that there can be.
    rows, length = len(samples), vision_length or words + frames * num_blocks
    x = {
        "videos": np.zeros((rows, frames, num_blocks * 4, PATCH), "uint8"),
        "frame_mask": np.zeros((rows, frames), bool),
        "frame_grids": np.ones((rows, frames, 2), "int32"),
        "images": np.zeros((rows, IMAGES, BLOCKS * 4, PATCH), "uint8"),
        "image_grids": np.zeros((rows, IMAGES, 2), "int32"),
        "vision_token_ids": np.zeros((rows, length), "int32"),
        "vision_mask": np.zeros((rows, length), bool),
        "vision_positions": np.zeros((rows, length, 3), "int32"),
        "prompt_mask": np.arange(len(TEXT))[None] < np.full((rows, 1), 3),
        "token_ids": np.array([each.text for each in samples], "int32"),
        "padding_mask": np.ones((rows, len(TEXT)), bool),
    }
    for row, sample in enumerate(samples):
        _, positions, _ = sample.positions()
        size = len(sample.ids)
        x["vision_token_ids"][row, :size] = sample.ids
        x["vision_mask"][row, :size] = True
        x["vision_positions"][row, :size] = positions[:, 0, :size].T
        for i, (grid, values) in enumerate(zip(sample.images, sample.pixels)):
            x["images"][row, i, : len(values)] = values
            x["image_grids"][row, i] = grid
        if sample.video is not None:
            number, *grid = sample.video
            values = sample.frames
            x["videos"][row, :number, : values.shape[1]] = values
            x["frame_mask"][row, :number] = True
            x["frame_grids"][row, :number] = grid
    return x


def load(model, reference):
    """Give our model the weights of transformers'."""
    state = {
        name: value.detach().numpy()
        for name, value in reference.state_dict().items()
    }
    backbone = model.backbone
    encoder, decoder = backbone.vision_encoder, backbone.language_model

    def dense(layer, name):
        weight = state.pop(f"{name}.weight")
        layer.kernel.assign(weight.reshape(len(weight), -1).T)
        if layer.bias is not None:
            layer.bias.assign(state.pop(f"{name}.bias"))

    def norm(layer, name):
        layer.gamma.assign(state.pop(f"{name}.weight"))
        layer.beta.assign(state.pop(f"{name}.bias"))

    tower = "model.visual."
    dense(encoder.patch_embedding, tower + "patch_embed.proj")
    encoder.position_embedding.assign(state.pop(tower + "pos_embed.weight"))
    for i, block in enumerate(encoder.blocks):
        name = f"{tower}blocks.{i}."
        for kind in ("weight", "bias"):
            parts = np.split(state.pop(f"{name}attn.qkv.{kind}"), 3)
            for part, values in zip("qkv", parts):
                state[f"{name}{part}.{kind}"] = values
        dense(block.query, name + "q")
        dense(block.key, name + "k")
        dense(block.value, name + "v")
        dense(block.attention_output, name + "attn.proj")
        norm(block.attention_norm, name + "norm1")
        norm(block.mlp_norm, name + "norm2")
        dense(block.mlp_up, name + "mlp.linear_fc1")
        dense(block.mlp_down, name + "mlp.linear_fc2")
    names = [f"deepstack_merger_list.{i}." for i in range(3)] + ["merger."]
    for name, merger in zip(names, backbone.connector.mergers):
        norm(merger.norm, f"{tower}{name}norm")
        dense(merger.up, f"{tower}{name}linear_fc1")
        dense(merger.down, f"{tower}{name}linear_fc2")
    text = "model.language_model."
    embeddings = state.pop(text + "embed_tokens.weight")
    decoder.token_embedding.embeddings.assign(embeddings)
    for i, block in enumerate(decoder.transformer_layers):
        name = f"{text}layers.{i}."
        scales = {
            "input_layernorm": block.attention_norm,
            "post_attention_layernorm": block.mlp_norm,
            "self_attn.q_norm": block.query_norm,
            "self_attn.k_norm": block.key_norm,
        }
        for part, layer in scales.items():
            layer.scale.assign(state.pop(f"{name}{part}.weight"))
        dense(block.query, name + "self_attn.q_proj")
        dense(block.key, name + "self_attn.k_proj")
        dense(block.value, name + "self_attn.v_proj")
        dense(block.attention_output, name + "self_attn.o_proj")
        dense(block.mlp_gate, name + "mlp.gate_proj")
        dense(block.mlp_up, name + "mlp.up_proj")
        dense(block.mlp_down, name + "mlp.down_proj")
    decoder.layer_norm.scale.assign(state.pop(text + "norm.weight"))
    if decoder.tie_embeddings:
        np.testing.assert_array_equal(state.pop("lm_head.weight"), embeddings)
    else:
        dense(model.lm_head, "lm_head")
    assert not state

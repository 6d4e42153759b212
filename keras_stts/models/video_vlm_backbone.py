import keras
import keras_hub

from keras_stts.data.image import IMAGE_WINDOW
from keras_stts.data.image import largest_tiling
from keras_stts.models import backbone_parts as parts
from keras_stts.models.backbone_bounds import check_backbone
from keras_stts.models.backbone_checks import check_arguments
from keras_stts.models.backbone_checks import check_kwargs
from keras_stts.models.backbone_checks import methods_of
from keras_stts.models.encoding import Encoding
from keras_stts.models.forward import Forward
from keras_stts.models.sequence_format import SequenceFormat
from keras_stts.ops import RESCALE_MIN
from keras_stts.ops import block_grid
from keras_stts.ops import num_kept_blocks
from keras_stts.presets import keras_format
from keras_stts.presets import migration
from keras_stts.presets.preset_mixin import PresetMixin
from keras_stts.pruning import get as get_pruning
from keras_stts.pruning import serialize
from keras_stts.training import layouts
from keras_stts.training import lora
from keras_stts.training.shared_saving import saved_together

# What is no argument that a config holds.
LOCALS = ("self", "dtype", "kwargs", "__class__", "method")
# What weights lie in.
PARTS = ("vision_encoder", "connector", "connector_pruning", "language_model")


@saved_together
@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMBackbone(Encoding, PresetMixin, keras_hub.models.Backbone):
    """Molmo2's video language model with STTS inside, without output head.

    A sequence has two parts of fixed length: the vision part (start token,
    then each frame's time and one placeholder a block) and the text part.
    Vision tokens see each other both ways and never see the text, so the
    vision part is run first, for its keys and values, and the text after it.

    Args:
        vocabulary_size: Int V. Ids that can be put out.
        num_frames: Int T. Frames a video has, padding included.
        image_size: Int. Side of the square frames in pixels.
        patch_size: Int. Side of a patch in pixels.
        vision_num_layers: Int. Blocks of the vision transformer.
        vision_hidden_dim: Int.
        vision_num_heads: Int.
        vision_head_dim: Int.
        vision_intermediate_dim: Int.
        vision_feature_layers: Ints. Vision blocks, from 0, whose outputs are
            joined into the features, in this order.
        connector_hidden_dim: Int. Width of the pooled features.
        connector_num_heads: Int.
        connector_head_dim: Int.
        connector_intermediate_dim: Int. Width of the projector.
        num_layers: Int. Blocks of the language model.
        hidden_dim: Int.
        num_query_heads: Int.
        num_key_value_heads: Int.
        head_dim: Int.
        intermediate_dim: Int.
        image_patch_id: Int. Id of the placeholder of a block.
        vision_token_ids: Ints. Ids of all vision tokens, the placeholder
            among them.
        additional_vocabulary_size: Int. Ids above `vocabulary_size` that can
            only be put in.
        window: Int. Side of a block in patches. Defaults to `3`.
        prune_ratio: Float in [0, 1). Share of the blocks removed; `0` is
            Molmo2. Defaults to `0.5`.
        prune_layer: Int. Vision block whose output is scored. Defaults to
            `3`.
        pruning: What decides which blocks stay: a name (`"stts"`,
            `"random"`, `"frame_similarity"`, `"evs"`, `"vidcom2"`, `"tome"`,
            `"fastv"`, `"fastv_norope"`, `"feather"`), an instance with its
            settings or of your own class, see `keras_stts.pruning`; a pair of
            one of the first six and one of the last three; or `None`, another
            word for `prune_ratio=0`. Defaults to `"stts"`.
        rescale_axis: `"row"` or `"frame"`, see `keras_stts.layers.ScoreBias`.
        rescale_min: Float, see `keras_stts.layers.ScoreBias`.
        refill: Bool. Whether the vision encoder gives frames their pruned
            patches back where the published packer does. Weights published
            with STTS were trained so, above all those at 30%; it takes as
            long as not pruning there. Defaults to `False`.
        positions: `"consecutive"` or `"original"`: positions of what remains
            of the sequence. Defaults to `"consecutive"`.
        rope_max_wavelength: Number.
        layer_norm_epsilon: Float.
        vision_layer_norm_epsilon: Float.
        vision_activation: Str. Activation of the vision transformer, one of
            `keras_stts.layers.activations`: transformers' names.
        activation: Str. That of the language model.
        query_key_norm: `"head"` (Qwen3) or `"all"` (OLMo), what queries and
            keys are normalised over.
        norm_after: Bool. Whether the language model normalises after its
            attention and MLPs (OLMo-2, -3) instead of before.
        attention_bias: Bool. Whether its queries, keys and values have a
            bias.
        rope_scaling: Optional dict, see `keras_stts.language.rope.frequencies`.
        rope_scaling_layers: Optional ints. Blocks of the language model with
            that scaling. Defaults to all.
        num_images: Int. Images an example can have beside its video, or
            without one if `num_frames` is 0. Defaults to `0`.
        max_crops: Int. Most crops of an image, beside the view of it all.
        pixel_mean: Float, or one for each of red, green and blue. Subtracted
            from pixels of [0, 1].
        pixel_std: As `pixel_mean`. What that is divided by.
        rematerialize: Bool. Whether training computes blocks again for their
            gradients instead of keeping what is inside of them: less memory,
            more time. Defaults to `False`.
        num_segments: Int M. Short samples that a row of a batch can hold, one
            after the other; `num_frames` is for all of them. Each is run as
            if it were alone. Defaults to `1`.
        language_pruning: Optional str, dict or
            `keras_stts.pruning.language.LanguagePruning`: pruning of the
            video's tokens inside the language model. One of `"fastv"`,
            `"fastv_norope"` and `"feather"`, or a dict of this as
            `"class_name"` and of its settings as `"config"`. Tokens of
            images stay. Defaults to `None`.
        connector_activation: Str. Activation of the connector's projector.
            Defaults to `"silu"`.
        dtype: Str or dtype policy.

    Inputs: a dict of
    - `videos`: uint8 (B, T, image_size, image_size, 3)
    - `frame_mask`: bool (B, T), False for padding frames, which come last
      (both unless `num_frames` is 0)
    - `images`: uint8 (B, C, image_size, image_size, 3), `image_pooling`:
      int32 (B, M, 4), see `keras_stts.data.image.tile_image` (both if
      `num_images` is not 0)
    - `vision_token_ids`: int32 (B, S), `vision_mask`: bool (B, S)
    - `token_ids`: int32 (B, S'), `padding_mask`: bool (B, S')
    - `frame_segments`: int32 (B, T), `vision_segments`: int32 (B, S),
      `text_segments`: int32 (B, S'), which sample of its row, from 0, each
      frame and token belongs to; padding counts to the last (all three only
      if `num_segments` is not 1)
    - `prompt_mask`: bool (B, S'), True at the tokens of the prompt, which
      come first (only with `language_pruning`)

    Outputs: a dict of
    - `hidden_states`: (B, S', hidden_dim), of the text part
    and, if blocks are pruned,
    - `scores`: float32 (B, T, P)
    - `similarity`: float32 (B, T, P)
    - `kept`: bool (B, T, P)

    References:
        STTS (arXiv 2603.18004), Molmo2 (arXiv 2601.10611).
    """

    def __init__(
        self,
        vocabulary_size,
        num_frames,
        *,
        image_size,
        patch_size,
        vision_num_layers,
        vision_hidden_dim,
        vision_num_heads,
        vision_head_dim,
        vision_intermediate_dim,
        vision_feature_layers,
        connector_hidden_dim,
        connector_num_heads,
        connector_head_dim,
        connector_intermediate_dim,
        num_layers,
        hidden_dim,
        num_query_heads,
        num_key_value_heads,
        head_dim,
        intermediate_dim,
        image_patch_id,
        vision_token_ids,
        additional_vocabulary_size=128,
        window=3,
        prune_ratio=0.5,
        prune_layer=3,
        pruning="stts",
        rescale_axis="row",
        rescale_min=RESCALE_MIN,
        refill=False,
        positions="consecutive",
        rope_max_wavelength=5000000.0,
        layer_norm_epsilon=1e-6,
        vision_layer_norm_epsilon=1e-6,
        vision_activation="gelu_pytorch_tanh",
        activation="silu",
        query_key_norm="head",
        norm_after=False,
        attention_bias=False,
        rope_scaling=None,
        rope_scaling_layers=None,
        num_images=0,
        max_crops=8,
        pixel_mean=0.5,
        pixel_std=0.5,
        rematerialize=False,
        num_segments=1,
        language_pruning=None,
        connector_activation="silu",
        dtype=None,
        **kwargs,
    ):
        method, prune_ratio, language_pruning = methods_of(
            pruning, prune_ratio, language_pruning
        )
        pruning = serialize(method)
        config = {
            name: value
            for name, value in locals().items()
            if name not in LOCALS
        }
        check_kwargs(kwargs)
        check_backbone(config)
        for name, value in config.items():
            setattr(self, name, value)
        self._config_names = tuple(config)
        check_arguments(self, method)

        # === Layers ===
        self.vision_encoder = parts.vision_encoder(self, method, dtype)
        self.connector = parts.connector(self, dtype)
        self.connector_pruning = parts.connector_pruning(self, method, dtype)
        self.language_model = parts.language_model(self, dtype)
        self.sequence_format = SequenceFormat(
            image_patch_id,
            vision_token_ids,
            positions,
            self.num_image_tokens,
            num_segments,
            self.grid,
        )
        with layouts.sizes_known(config):
            parts.build(self)

        # === Functional Model ===
        inputs = parts.inputs(self)
        made = {name: getattr(self, name) for name in PARTS}
        forward = Forward(self.outputs_of, self.symbols_of, made, dtype=dtype)
        outputs = forward(inputs)
        super().__init__(inputs=inputs, outputs=outputs, dtype=dtype, **kwargs)
        # Under torch KerasHub tracks what the graph runs, and no more.
        for name, part in made.items():
            keras.Model.__setattr__(self, name, part)

    @property
    def token_embedding(self):
        """The language model's; KerasHub's tools look for it here."""
        return self.language_model.token_embedding

    @property
    def transformer_layers(self):
        """The language model's decoder blocks."""
        return self.language_model.transformer_layers

    @property
    def num_blocks(self):
        """Blocks P of a frame."""
        rows, columns = self.grid
        return rows * columns

    @property
    def grid(self):
        """Rows and columns of the blocks of a frame."""
        side = self.image_size // self.patch_size
        return block_grid((side, side), self.window)

    @property
    def prunes_blocks(self):
        """Whether blocks leave before the language model."""
        prunes = get_pruning(self.pruning).prunes_blocks
        return bool(self.num_frames and self.prune_ratio and prunes)

    @property
    def num_kept_blocks(self):
        """Most blocks K that stay of the `num_frames` frames of a row."""
        prunes = get_pruning(self.pruning).prunes_blocks
        return num_kept_blocks(
            self.num_blocks,
            self.num_frames,
            self.prune_ratio if prunes else 0.0,
            self.num_segments,
        )

    @property
    def num_image_tokens(self):
        """Tokens that the images of an example can have."""
        if not self.num_images:
            return 0
        tokens, _ = largest_tiling(
            self.image_size, self.patch_size, IMAGE_WINDOW, self.max_crops
        )
        return self.num_images * tokens

    @staticmethod
    def get_layout_map(
        device_mesh,
        model_parallel_dim_name="model",
        data_parallel_dim_name="batch",
    ):
        """Layouts of all weights, for `keras.distribution.ModelParallel`.

        Attention heads and the units of MLPs are cut over the axis for parts
        of the model, and so is the vocabulary; each weight is cut over the
        axis for examples, too (FSDP). What an axis does not divide is cut
        along another dimension, such as a vocabulary along the width, or is
        on all devices, as norms are and the factors of LoRA. An axis can be
        of size 1.

        Args:
            device_mesh: A `keras.distribution.DeviceMesh`.
            model_parallel_dim_name: Str, the axis that parts of the model are
                cut over.
            data_parallel_dim_name: Str, the axis that examples are cut over.

        Returns:
            `keras.distribution.LayoutMap` of the weights of a `VideoVLM`,
            its output head among them.

        Raises:
            ValueError: If the mesh has no such axes.

        Example:
        ```python
        devices = keras.distribution.list_devices()
        mesh = keras.distribution.DeviceMesh(
            (len(devices), 1), ["batch", "model"], devices
        )
        layout_map = keras_stts.VideoVLMBackbone.get_layout_map(mesh)
        distribution = keras.distribution.ModelParallel(
            layout_map=layout_map, batch_dim_name="batch"
        )
        with distribution.scope():
            model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        ```
        """
        return layouts.layout_map(
            device_mesh, model_parallel_dim_name, data_parallel_dim_name
        )

    def enable_lora(self, rank, target_layer_names=None):
        """Freeze the backbone but for LoRA factors and the scorer.

        Args:
            rank: Int. Rank of the factors.
            target_layer_names: Optional list of str, names of the layers that
                get factors. Defaults to `["query", "value"]`, of vision
                encoder, connector and language model. The scorer gets none
                and is trained whole.

        References:
            LoRA (arXiv 2106.09685).
        """
        encoder = self.vision_encoder
        names = target_layer_names or self.default_lora_layer_names()
        lora.enable(self, encoder.scorer, rank, names, encoder.uses_scorer)

    def default_lora_layer_names(self):
        return ["query", "value"]

    def save_lora_weights(self, filepath):
        """Save the LoRA factors and the scorer; see `VideoVLM`."""
        lora.save(self, self.vision_encoder.scorer, filepath)

    def load_lora_weights(self, filepath):
        """Load what `save_lora_weights` saved; see `VideoVLM`."""
        scorer = self.vision_encoder.scorer
        lora.load(self, scorer, filepath, self.enable_lora)

    def load_weights(self, filepath, **kwargs):
        """See `keras.Model.load_weights`; damaged files are named."""
        with keras_format.reading_weights(filepath):
            untrained = keras_format.methods_without_weights(self, filepath)
            skip = [*(kwargs.pop("objects_to_skip", None) or ()), *untrained]
            kwargs["objects_to_skip"] = skip or None
            if not migration.load_weights(self, filepath, **kwargs):
                super().load_weights(filepath, **kwargs)

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("dtype"), dict):
            dtype = migration.dtype_policy(config["dtype"])
            config = {**config, "dtype": dtype}
        return super().from_config(config)

    def get_config(self):
        config = super().get_config()
        for name in self._config_names:
            config[name] = getattr(self, name)
        if self.language_pruning is not None:
            config["language_pruning"] = keras.saving.serialize_keras_object(
                self.language_pruning
            )
        return config

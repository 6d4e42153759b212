import keras
import keras_hub
from keras import ops

from keras_stts.data.image import largest_tiling
from keras_stts.language.language_model import LanguageModel
from keras_stts.language.language_model import Prefix
from keras_stts.language.language_model import Text
from keras_stts.models.backbone_bounds import check_backbone
from keras_stts.models.backbone_checks import after_connector
from keras_stts.models.backbone_checks import check_arguments
from keras_stts.models.backbone_checks import check_kwargs
from keras_stts.models.backbone_checks import methods_of
from keras_stts.models.connector_pruning import ConnectorPruning
from keras_stts.models.forward import Forward
from keras_stts.models.forward import symbol
from keras_stts.models.sequence_format import SequenceFormat
from keras_stts.ops import RESCALE_MIN
from keras_stts.ops import block_grid
from keras_stts.ops import num_kept_blocks
from keras_stts.ops.shown import add_vision
from keras_stts.ops.shown import gather_patches
from keras_stts.ops.text import packed_text_places
from keras_stts.ops.text import text_places
from keras_stts.presets import keras_format
from keras_stts.presets import migration
from keras_stts.presets.preset_mixin import PresetMixin
from keras_stts.pruning import ToMe
from keras_stts.pruning import get as get_pruning
from keras_stts.pruning import serialize
from keras_stts.towers.connector import Connector
from keras_stts.towers.vision_encoder import VisionEncoder
from keras_stts.training import layouts
from keras_stts.training import lora

# What is no argument that a config holds.
LOCALS = ("self", "dtype", "kwargs", "__class__", "method")
# What weights lie in.
PARTS = (
    "vision_encoder",
    "connector",
    "connector_pruning",
    "language_model",
)
# Side of what a token of an image pools, in patches.
IMAGE_WINDOW = 2


@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMBackbone(PresetMixin, keras_hub.models.Backbone):
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
        self._make_vision_layers(method, dtype)
        self.language_model = self._make_language_model(dtype)
        self.sequence_format = SequenceFormat(
            image_patch_id,
            vision_token_ids,
            positions,
            self.num_image_tokens,
            num_segments,
            self.grid,
        )
        with layouts.sizes_known(config):
            self._build_vision_layers()
            self.language_model.build()

        # === Functional Model ===
        inputs = self._make_inputs()
        outputs = Forward(self._forward, self._spec)(inputs)
        super().__init__(inputs=inputs, outputs=outputs, dtype=dtype, **kwargs)
        # KerasHub tracks what the graph runs, and no more.
        for name in PARTS:
            keras.Model.__setattr__(self, name, getattr(self, name))

    def _forward(self, inputs):
        vision = self.encode_vision(inputs)
        outputs = {"hidden_states": self.encode(inputs, vision)[0]}
        if "selection" in vision:
            outputs["scores"] = vision["scores"]
            outputs["similarity"] = vision["similarity"]
            outputs["kept"] = vision["selection"].kept
        return outputs

    def _spec(self, inputs):
        shape = (*inputs["token_ids"].shape, self.hidden_dim)
        dtype = self.language_model.compute_dtype
        outputs = {"hidden_states": keras.KerasTensor(shape, dtype)}
        if self.prunes_blocks:
            shape = (*inputs["frame_mask"].shape, self.num_blocks)
            for name in ("scores", "similarity"):
                outputs[name] = keras.KerasTensor(shape, "float32")
            outputs["kept"] = keras.KerasTensor(shape, "bool")
        return outputs

    def _make_vision_layers(self, method, dtype):
        ratio = self.prune_ratio if self.num_frames else 0.0
        late = after_connector(method)
        self.vision_encoder = VisionEncoder(
            num_layers=self.vision_num_layers,
            hidden_dim=self.vision_hidden_dim,
            num_heads=self.vision_num_heads,
            head_dim=self.vision_head_dim,
            intermediate_dim=self.vision_intermediate_dim,
            patch_size=self.patch_size,
            feature_layers=self.vision_feature_layers,
            window=self.window,
            prune_ratio=0.0 if late else ratio,
            prune_layer=self.prune_layer,
            pruning="stts" if late else method,
            rescale_axis=self.rescale_axis,
            rescale_min=self.rescale_min,
            refill=self.refill,
            pixel_mean=self.pixel_mean,
            pixel_std=self.pixel_std,
            activation=self.vision_activation,
            layer_norm_epsilon=self.vision_layer_norm_epsilon,
            rematerialize=self.rematerialize,
            num_segments=self.num_segments,
            dtype=dtype,
            name="vision_encoder",
        )
        self.connector = Connector(
            self.connector_num_heads,
            self.connector_head_dim,
            self.connector_hidden_dim,
            self.connector_intermediate_dim,
            self.hidden_dim,
            self.connector_activation,
            dtype=dtype,
            name="connector",
        )
        self.connector_pruning = None
        if late and ratio:
            self.connector_pruning = ConnectorPruning(
                method,
                ratio,
                self.num_blocks,
                self.num_segments,
                dtype=dtype,
                name="connector_pruning",
            )

    def _build_vision_layers(self):
        """Without videos and images, too: what weights a model has does not
        depend on what it is shown."""
        side = (self.image_size, self.image_size, 3)
        self.vision_encoder.build((None, self.num_frames or 2, *side))
        width = self.vision_hidden_dim * len(self.vision_feature_layers)
        self.connector.build((None, None, self.window**2, width))
        if self.connector_pruning is not None:
            blocks = self.num_frames * self.num_blocks
            self.connector_pruning.build((None, blocks, self.hidden_dim))

    def _make_language_model(self, dtype):
        return LanguageModel(
            self.vocabulary_size,
            self.num_layers,
            self.hidden_dim,
            self.num_query_heads,
            self.num_key_value_heads,
            self.head_dim,
            self.intermediate_dim,
            self.additional_vocabulary_size,
            self.rope_max_wavelength,
            self.layer_norm_epsilon,
            self.activation,
            self.query_key_norm,
            self.norm_after,
            self.attention_bias,
            self.rope_scaling,
            self.rope_scaling_layers,
            self.rematerialize,
            dtype=dtype,
            name="language_model",
        )

    def _make_inputs(self):
        side = (self.image_size, self.image_size, 3)
        inputs = {}
        if self.num_frames:
            inputs["videos"] = symbol("videos", "uint8", None, *side)
            inputs["frame_mask"] = symbol("frame_mask", "bool", None)
        if self.num_images:
            crops = self.num_images * (self.max_crops + 1)
            inputs["images"] = symbol("images", "uint8", crops, *side)
            inputs["image_pooling"] = symbol(
                "image_pooling",
                "int32",
                self.num_image_tokens,
                IMAGE_WINDOW**2,
            )
        for part in ("vision_token_ids", "token_ids"):
            inputs[part] = symbol(part, "int32", None)
        for part in ("vision_mask", "padding_mask"):
            inputs[part] = symbol(part, "bool", None)
        if self.num_segments > 1:
            names = ("vision_segments", "text_segments")
            names += ("frame_segments",) if self.num_frames else ()
            inputs |= {name: symbol(name, "int32", None) for name in names}
        if self.language_pruning is not None:
            inputs["prompt_mask"] = symbol("prompt_mask", "bool", None)
        return inputs

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
        merges = isinstance(get_pruning(self.pruning), ToMe)
        return bool(self.num_frames and self.prune_ratio and not merges)

    @property
    def num_kept_blocks(self):
        """Most blocks K that stay of the `num_frames` frames of a row."""
        merges = isinstance(get_pruning(self.pruning), ToMe)
        return num_kept_blocks(
            self.num_blocks,
            self.num_frames,
            0.0 if merges else self.prune_ratio,
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

    def encode_vision(self, inputs):
        """What the language model is shown of a dict of the model's inputs.

        Returns:
            Dict for `encode_prefix`: that of `encode_video`, and
            `"image_embeddings"` and `"num_image_tokens"` of images.
        """
        vision = {}
        if "videos" in inputs:
            vision = self.encode_video(
                inputs["videos"],
                inputs["frame_mask"],
                inputs.get("frame_segments"),
            )
        if "images" in inputs:
            vision |= self.encode_images(
                inputs["images"], inputs["image_pooling"]
            )
        return vision

    def encode_images(self, images, pooling):
        """Crops to language model embeddings of the tokens of images.

        Args:
            images: Uint8 tensor (B, C, H, W, 3).
            pooling: Int tensor (B, M, 4).

        Returns:
            Dict of `"image_embeddings"` (B, M, hidden_dim) and
            `"num_image_tokens"`, int32 (B,).
        """
        features = self.vision_encoder(images, whole=True)
        patches, mask, count = gather_patches(features, pooling)
        embeddings = self.connector(patches, patch_mask=mask)
        return {"image_embeddings": embeddings, "num_image_tokens": count}

    def encode_video(self, videos, frame_mask, segments=None):
        """Frames to language model embeddings of the kept blocks.

        Args:
            videos: Uint8 tensor (B, T, H, W, 3).
            frame_mask: Bool tensor (B, T).
            segments: Optional int tensor (B, T), samples of a row.

        Returns:
            The dict of `VisionEncoder`, with `"embeddings"` (B, K,
            hidden_dim) in the place of `"features"`.
        """
        vision = dict(
            self.vision_encoder(
                videos, frame_mask=frame_mask, segments=segments
            )
        )
        vision["embeddings"] = self.connector(
            vision.pop("features"), patch_mask=vision.pop("patch_mask", None)
        )
        if self.connector_pruning is not None:
            vision |= self.connector_pruning(
                vision["embeddings"], frame_mask, segments=segments
            )
        return vision

    def encode(self, inputs, vision=None):
        """Run the vision part and the text part of whole sequences.

        Args:
            inputs: Dict of the model's inputs.
            vision: Optional dict, what `encode_vision` returned.

        Returns:
            Tuple (hidden states (B, S', hidden_dim) of the text part, prefix,
            cache), the latter two as `decode` takes them.
        """
        vision = self.encode_vision(inputs) if vision is None else vision
        segments = inputs.get("vision_segments")
        prefix, seen = self._prefix(
            inputs["vision_token_ids"], inputs["vision_mask"], vision, segments
        )
        text = self._text(
            inputs["token_ids"],
            {**seen, "masks": [prefix.sequence.mask]},
            segments=inputs.get("text_segments"),
        )
        prune = self._pruning_of_tokens(vision, inputs.get("prompt_mask"))
        return self.language_model.run(text, prefix, seen, prune=prune)

    def encode_prefix(self, token_ids, mask, vision, segments=None):
        """Run the vision part for the keys and values of every block.

        Args:
            token_ids: Int tensor (B, S).
            mask: Bool tensor (B, S), False for padding.
            vision: What `encode_vision` returned.
            segments: Optional int tensor (B, S), samples of a row.

        Returns:
            Dict of `"layers"`, a list of (key, value), one a block;
            `"masks"`, a list of bool tensors (B, S'), which of these are
            real; `"positions"`, a list of int32 tensors (B, S'); `"segments"`,
            an int32 tensor (B, S'); `"length"`, an int32 tensor (B,), or
            (B, M) with `segments`, where the text begins.

        Raises:
            ValueError: If the model has `language_pruning`.
        """
        if self.language_pruning is not None:
            raise ValueError(
                "With `language_pruning` the prompt decides what of a video "
                "is kept, so the vision part cannot be run without it. Call "
                "`encode`."
            )
        prefix, seen = self._prefix(token_ids, mask, vision, segments)
        return self.language_model.run(prefix=prefix, seen=seen)[1]

    def decode(self, token_ids, prefix, cache=None, index=None, segments=None):
        """Run the text part after a prefix.

        Args:
            token_ids: Int tensor (B * R, S), R texts a prefix, those of one
                prefix side by side.
            prefix: What `encode_prefix` or `encode` returned.
            cache: Optional list of (key, value), what `decode` returned for
                a longer text, into which those of these tokens are written.
            index: Int scalar tensor, where in that text the tokens stand.
            segments: Optional int tensor (B, S), which samples of their row
                whole texts are of. By default a prefix is of one.

        Returns:
            Tuple (hidden states (B * R, S, hidden_dim), cache).
        """
        text = self._text(token_ids, prefix, cache, index, segments)
        if cache is not None:
            cache = cache, ops.convert_to_tensor(index, "int32")
        hidden, _, cache = self.language_model.run(
            text, seen=prefix, cache=cache
        )
        return hidden, cache

    def _prefix(self, token_ids, mask, vision, segments=None):
        """The vision part before the first layer, and what is known of it."""
        sequence, length = self.sequence_format.vision_part(
            token_ids, mask, vision, segments
        )
        x = self.token_embedding(sequence.token_ids)
        names = ("image_embeddings", "embeddings")
        shown = [vision[name] for name in names if name in vision]
        if shown:
            shown = ops.concatenate(shown, axis=1)
            x = add_vision(x, shown, sequence, self.image_patch_id)
        packed = segments is not None
        reach = self.sequence_format.reach(sequence, packed)
        seen = {"segments": sequence.segments, "length": length}
        return Prefix(x, sequence, reach), seen

    def _text(self, token_ids, prefix, cache=None, index=None, segments=None):
        """The text part before the first layer."""
        start, seen = prefix["length"], None
        if segments is not None:
            positions, mask, seen = packed_text_places(
                token_ids,
                start,
                segments,
                prefix["segments"],
                prefix["masks"][0],
            )
        else:
            positions, mask = text_places(
                token_ids,
                start if self.num_segments == 1 else start[:, 0],
                index=0 if index is None else index,
                length=None if cache is None else cache[0][0].shape[1],
            )
        x = self.token_embedding(token_ids)
        return Text(x, positions, mask, seen)

    def _pruning_of_tokens(self, vision, prompt_mask):
        """What prunes inside the language model, after which layers."""
        if self.language_pruning is None:
            return None
        selection = vision.get("selection")
        return self.language_pruning.after_layers(
            vision["embeddings"].shape[1],
            None if selection is None else selection.index,
            self.sequence_format,
            prompt_mask,
        )

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

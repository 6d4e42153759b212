import keras
import keras_hub

from keras_stts.layers import initializers
from keras_stts.models import sizes
from keras_stts.models.backbone_bounds import check_backbone
from keras_stts.models.backbone_checks import check_arguments
from keras_stts.models.backbone_checks import check_kwargs
from keras_stts.models.backbone_facts import Facts
from keras_stts.models.backbone_parts import build_parts
from keras_stts.models.encoding import Encoding
from keras_stts.models.forward import Forward
from keras_stts.models.sequence_format import SequenceFormat
from keras_stts.presets import keras_format
from keras_stts.presets import migration
from keras_stts.presets.configs import check as check_config
from keras_stts.presets.preset_mixin import PresetMixin
from keras_stts.pruning import STTS
from keras_stts.pruning import configs_of
from keras_stts.pruning import split
from keras_stts.training import layouts
from keras_stts.training import lora
from keras_stts.training.shared_saving import saved_together

# Attributes that hold weights.
PARTS = (
    "vision_encoder",
    "connector",
    "pruning",
    "language_pruning",
    "language_model",
)


@saved_together
@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMBackbone(Encoding, Facts, PresetMixin, keras_hub.models.Backbone):
    """Molmo2's video language model with pruning inside, without output head.

    A sequence has two parts of fixed length: the vision part (a start token,
    then for each frame its time and a placeholder for each block) and the text
    part. Vision tokens attend to each other in both directions and never to
    the text. So the vision part is run first, which gives its keys and values,
    and the text after it.

    Args:
        vision_encoder: A `keras_stts.towers.VisionTower`, such as
            `keras_stts.towers.VisionEncoder`.
        connector: A `keras_stts.towers.Connector`, or a layer that is called
            alike: the patches of a block to an embedding.
        language_model: A `keras_stts.language.LanguageModel`.
        num_frames: Int T. Frames a video has, padding included.
        image_patch_id: Int. Id of the placeholder of a block, such as the
            `image_patch_token_id` of a `keras_stts.VideoVLMTokenizer`.
        vision_token_ids: Ints. Ids of all vision tokens, the placeholder
            among them: tokens that attend to each other in both directions,
            such as the tokenizer's `vision_token_ids`. None if the language
            model is causal throughout, as Qwen3-VL's is.
        video_patch_id: Optional int. Id of the placeholder of a block of a
            video, if `image_patch_id` is that of images alone.
        pruning: What decides which tokens stay: a name (`"stts"`,
            `"random"`, `"frame_similarity"`, `"evs"`, `"vidcom2"`, `"tome"`,
            `"fastv"`, `"fastv_norope"`, `"feather"`), an instance with its
            settings or of your own class, see `keras_stts.pruning`; a list of
            one of the first six and one of the last three; or `None` for
            nothing. Defaults to `"stts"`, which prunes half.
        positions: What positions the tokens get that are left after pruning:
            `"consecutive"`, counted anew, or `"original"`, those they had.
            Defaults to `"consecutive"`.
        num_images: Int. Most images of an example, beside its video, or
            without a video if `num_frames` is 0. Defaults to `0`.
        max_crops: Int. Most crops of an image, beside the view of the whole.
        num_segments: Int M. Most short samples that share a row of a batch,
            one after the other; they share its `num_frames`, too. Each is run
            as if it were alone. Defaults to `1`.
        dtype: Optional str or dtype policy, of the outputs. Defaults to that
            of the language model. The parts have their own.

    Inputs: a dict of
    - `videos`: uint8 (B, T, image_size, image_size, 3), or what else the
      vision encoder takes
    - `frame_mask`: bool (B, T), False for padding frames, which come last
      (both unless `num_frames` is 0)
    - `images`: uint8 (B, C, image_size, image_size, 3), `image_pooling`:
      int32 (B, M, 4), see `keras_stts.data.image.tile_image` (both if
      `num_images` is not 0)
    - `vision_token_ids`: int32 (B, S), `vision_mask`: bool (B, S)
    - `token_ids`: int32 (B, S'), `padding_mask`: bool (B, S')
    - `frame_segments`: int32 (B, T), `vision_segments`: int32 (B, S),
      `text_segments`: int32 (B, S'), the number of the sample, from 0, that
      each frame or token of a row belongs to; padding belongs to the last
      (all three only if `num_segments` is not 1)
    - `prompt_mask`: bool (B, S'), True at the tokens of the prompt, which
      come first (only with a method that prunes in the language model)

    Outputs: a dict of
    - `hidden_states`: (B, S', hidden_dim), of the text part
    and, if blocks are pruned,
    - `scores`: float32 (B, T, P), by which blocks were chosen
    - `similarity`: float32 (B, T, P), to the same block of the frame before
    - `kept`: bool (B, T, P), which blocks are left

    Attributes:
        pruning: The `keras_stts.pruning.PruningMethod` that runs before the
            language model; one that keeps everything if none was given.
        language_pruning: The `keras_stts.pruning.LanguagePruning`, or `None`.

    Example:
    ```python
    towers, language = keras_stts.towers, keras_stts.language
    backbone = keras_stts.VideoVLMBackbone(
        vision_encoder=towers.VisionEncoder(
            num_layers=4,
            hidden_dim=32,
            num_heads=2,
            head_dim=16,
            intermediate_dim=64,
            image_size=24,
            patch_size=4,
            feature_layers=[3],
        ),
        connector=towers.Connector(2, 16, 32, 64, output_dim=48),
        language_model=language.LanguageModel(
            100,
            num_layers=2,
            hidden_dim=48,
            num_query_heads=4,
            num_key_value_heads=2,
            head_dim=12,
            intermediate_dim=96,
        ),
        num_frames=8,
        image_patch_id=101,
        vision_token_ids=[101, 102, 103],
        pruning=keras_stts.pruning.STTS(0.5, layer=1),
    )
    ```

    References:
        STTS (arXiv 2603.18004), Molmo2 (arXiv 2601.10611).
    """

    def __init__(
        self,
        vision_encoder,
        connector,
        language_model,
        *,
        num_frames,
        image_patch_id,
        vision_token_ids,
        pruning="stts",
        positions="consecutive",
        num_images=0,
        max_crops=8,
        num_segments=1,
        video_patch_id=None,
        dtype=None,
        **kwargs,
    ):
        check_kwargs(kwargs)
        self.vision_encoder = vision_encoder
        self.connector = connector
        self.language_model = language_model
        self.pruning, self.language_pruning = split(pruning)
        self.num_frames = num_frames
        self.image_patch_id = image_patch_id
        self.vision_token_ids = list(vision_token_ids)
        self.positions = positions
        self.num_images = num_images
        self.max_crops = max_crops
        self.num_segments = num_segments
        self.video_patch_id = video_patch_id
        dtype = language_model.dtype_policy if dtype is None else dtype
        check_arguments(self)

        # === Layers ===
        self.sequence_format = SequenceFormat(
            image_patch_id if video_patch_id is None else video_patch_id,
            self.vision_token_ids,
            positions,
            self.num_image_tokens,
            num_segments,
            self.grid,
            image_id=None if video_patch_id is None else image_patch_id,
        )
        with layouts.sizes_known(sizes.of_backbone(self)):
            build_parts(self)

        # === Functional Model ===
        inputs = self.input_layout.symbols()
        made = {name: getattr(self, name) for name in PARTS}
        saved = {
            getattr(part, "saved_as", name): part for name, part in made.items()
        }
        forward = Forward(self.outputs_of, self.symbols_of, saved, dtype=dtype)
        outputs = forward(inputs)
        super().__init__(inputs=inputs, outputs=outputs, dtype=dtype, **kwargs)
        # Under PyTorch, KerasHub only tracks layers of Keras' graph.
        for name, part in made.items():
            keras.Model.__setattr__(self, name, part)
        # A config's `trainable` is for all parts; a method that never runs
        # stays frozen.
        if not self.pruning.runs:
            self.pruning.trainable = False

    @classmethod
    def from_sizes(cls, *, dtype=None, **sizes):
        """Make a backbone of Molmo2's parts from one flat set of arguments.

        Args:
            dtype: Optional str or dtype policy.
            **sizes: The arguments of the backbone and of its parts, under the
                names of `keras_stts.models.sizes`: those of the vision encoder
                begin with `vision_`, those of the connector with `connector_`,
                and `prune_ratio` and `prune_layer` are the `ratio` and `layer`
                of the method of pruning.

        Raises:
            TypeError: If one is missing or unknown.
            ValueError: If one is out of bounds.
        """
        return cls.from_config({**sizes, "dtype": dtype})

    @staticmethod
    def get_layout_map(
        device_mesh,
        model_parallel_dim_name="model",
        data_parallel_dim_name="batch",
    ):
        """Layouts of all weights, for `keras.distribution.ModelParallel`.

        Attention heads, units of MLPs and the vocabulary are cut over the
        axis for parts of the model (tensor parallelism), and each weight is
        also cut over the axis for examples (FSDP). A dimension that an axis
        does not divide is not cut, but another one of the same weight is, such
        as the width in place of the vocabulary. Norms and LoRA factors are
        whole on all devices. An axis can be of size 1.

        Args:
            device_mesh: A `keras.distribution.DeviceMesh`.
            model_parallel_dim_name: Str, the axis for parts of the model.
            data_parallel_dim_name: Str, the axis for examples.

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
        """Train LoRA factors and the scorer only; freeze the rest.

        Args:
            rank: Int. Rank of the factors.
            target_layer_names: Optional list of str, names of the layers that
                get factors. Defaults to `["query", "value"]`, of vision
                encoder, connector and language model. The scorer gets none
                and is trained whole.

        References:
            LoRA (arXiv 2106.09685).
        """
        names = target_layer_names or self.default_lora_layer_names()
        lora.enable(self, self.pruning, rank, names)

    def default_lora_layer_names(self):
        return ["query", "value"]

    def save_lora_weights(self, filepath):
        """Save the LoRA factors and the scorer; see `VideoVLM`."""
        lora.save(self, self.pruning, filepath)

    def load_lora_weights(self, filepath):
        """Load what `save_lora_weights` saved; see `VideoVLM`."""
        lora.load(self, self.pruning, filepath, self.enable_lora)

    def load_weights(self, filepath, **kwargs):
        """See `keras.Model.load_weights`. An error names a damaged file."""
        with keras_format.reading_weights(filepath):
            untrained = keras_format.methods_without_weights(self, filepath)
            skip = [*(kwargs.pop("objects_to_skip", None) or ()), *untrained]
            kwargs["objects_to_skip"] = skip or None
            if not migration.load_weights(self, filepath, **kwargs):
                super().load_weights(filepath, **kwargs)
        for method in untrained:
            if initializers.built_empty() and isinstance(method, STTS):
                initializers.draw_kernels(method.scorer.weights)

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = migration.dtype_policy(config["dtype"])
        check_config(config, f"the config of a {cls.__name__}")
        check_backbone(sizes.of_config(config))
        return cls(**sizes.with_parts(config))

    def get_config(self):
        config = super().get_config()
        own = self.dtype_policy.name
        for name in sizes.PARTS:
            part = keras.saving.serialize_keras_object(getattr(self, name))
            inner = dict(part["config"])
            if getattr(self, name).dtype_policy.name == own:
                del inner["dtype"]
            names = ("module", "class_name", "registered_name")
            config[name] = {**{n: part[n] for n in names}, "config": inner}
        config["pruning"] = configs_of(self.pruning, self.language_pruning)
        return config | {name: getattr(self, name) for name in sizes.OWN}

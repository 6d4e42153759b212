import keras
import keras_hub

from keras_stts._hub_compat import ModelHooks
from keras_stts.language.tied_head import TiedHead
from keras_stts.layers.fused import Dense
from keras_stts.layers.initializers import normal_initializer
from keras_stts.models import sizes
from keras_stts.models.task_answering import Answering
from keras_stts.models.task_counting import Counting
from keras_stts.models.task_encoding import VideoEncoding
from keras_stts.models.task_loading import Loading
from keras_stts.models.task_saving import Saving
from keras_stts.models.task_streaming import Streaming
from keras_stts.models.task_training import Training
from keras_stts.models.task_training import run_backbone
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.chat_preprocessor import ChatPreprocessor
from keras_stts.preprocessing.input_layout import check_agree
from keras_stts.preprocessing.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.presets.built_in import PRESETS
from keras_stts.training import layouts
from keras_stts.training.parts import check_parts
from keras_stts.training.parts import set_trainable_parts
from keras_stts.training.shared_saving import saved_together


@saved_together
@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLM(
    Loading,
    Saving,
    Counting,
    VideoEncoding,
    Answering,
    Streaming,
    Training,
    ModelHooks,
    keras_hub.models.CausalLM,
):
    """Answers questions about videos, on half of their tokens.

    Args:
        backbone: A `keras_stts.VideoVLMBackbone`.
        preprocessor: A `keras_stts.VideoVLMPreprocessor`, or that of another
            family, such as `keras_stts.Qwen3VLPreprocessor`, or `None` to
            give the model preprocessed inputs.
        aux_coefficient: Float, schedule or `None`. Weight of the temporal
            auxiliary loss, see `keras_stts.layers.AuxiliaryLoss`. Defaults to
            `0.5`. The metric `aux_loss` is that loss without weight, the mean
            over all real frames but the first of each video, whatever the
            size of batches; after `fit` and `evaluate` it is
            `model.auxiliary_loss.value`, too.
        stop_gradient_target: Bool, see `keras_stts.layers.AuxiliaryLoss`.
        trainable_parts: Optional list of `"scorer"`, `"vision_encoder"`,
            `"connector"` and `"language_model"`: what is trained, the rest
            is frozen. Defaults to all.
        head_dtype: Optional dtype policy of the output head. Defaults to the
            backbone's.
        sampler: Str or `keras_hub.samplers.Sampler`. What `generate` draws
            tokens with unless `compile(sampler=...)` says so. Defaults to
            `"top_k"`, the five likeliest.
        max_new_tokens: Optional int. Most tokens of an answer. Defaults to
            what `max_length` of `generate` leaves room for.

    Raises:
        ValueError: If the preprocessor makes other inputs than the backbone
            takes.

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    clip = keras_stts.datasets.shapes.render("test", 0)
    question = clip.questions[0]["question"]
    model.generate({"videos": [clip.frames], "prompts": [question]})

    model.fit(
        {
            "videos": [clip.frames],
            "prompts": [question],
            "responses": [clip.questions[0]["answer"]],
        },
        batch_size=1,
    )
    ```

    References:
        STTS (arXiv 2603.18004), Molmo2 (arXiv 2601.10611).
    """

    backbone_cls = VideoVLMBackbone
    preprocessor_cls = VideoVLMPreprocessor
    presets = PRESETS

    def __init__(
        self,
        backbone,
        preprocessor=None,
        *,
        aux_coefficient=0.5,
        stop_gradient_target=False,
        trainable_parts=None,
        head_dtype=None,
        sampler="top_k",
        max_new_tokens=None,
        **kwargs,
    ):
        if isinstance(preprocessor, ChatPreprocessor):
            check_agree(backbone, preprocessor)
        _check_max_new_tokens(max_new_tokens)
        if trainable_parts is not None:
            check_parts(trainable_parts)
            trainable_parts = list(trainable_parts)

        # The model is compiled as soon as it is made.
        self.default_sampler = sampler
        self.max_new_tokens = max_new_tokens

        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.lm_head = _make_head(backbone, head_dtype)

        # === Functional Model ===
        inputs = backbone.input
        auxiliary_loss = _make_auxiliary_loss(
            backbone, aux_coefficient, stop_gradient_target
        )
        hidden = run_backbone(backbone, auxiliary_loss, inputs)
        with layouts.sizes_known(sizes.of_backbone(backbone)):
            logits = self.lm_head(hidden)
        super().__init__(inputs=inputs, outputs=logits, **kwargs)

        self.base_preset = None  # Where `from_preset` had it from.

        # === Config ===
        self.aux_coefficient = aux_coefficient
        self.stop_gradient_target = stop_gradient_target
        self.auxiliary_loss = auxiliary_loss
        if auxiliary_loss is not None:
            self.aux_tracker = keras.metrics.Mean(name="aux_loss")
        self.trainable_parts = trainable_parts
        if trainable_parts is not None:
            set_trainable_parts(self, trainable_parts)

    def get_config(self):
        config = super().get_config()
        coefficient = self.aux_coefficient
        if callable(coefficient):
            coefficient = keras.saving.serialize_keras_object(coefficient)
        config.update(
            {
                "aux_coefficient": coefficient,
                "stop_gradient_target": self.stop_gradient_target,
                "trainable_parts": self.trainable_parts,
                "head_dtype": self._head_dtype(),
                "sampler": _serialized_sampler(self.default_sampler),
                "max_new_tokens": self.max_new_tokens,
            }
        )
        return config

    def _head_dtype(self):
        """The output head's policy, if it is not the backbone's."""
        if self.lm_head.quantization_mode is None:
            return None
        return keras.dtype_policies.serialize(self.lm_head.dtype_policy)

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("head_dtype"), dict):
            config["head_dtype"] = keras.dtype_policies.deserialize(
                config["head_dtype"]
            )
        if isinstance(config.get("sampler"), dict):
            config["sampler"] = keras_hub.samplers.get(config["sampler"])
        coefficient = config.get("aux_coefficient")
        if isinstance(coefficient, dict):
            config["aux_coefficient"] = keras.saving.deserialize_keras_object(
                coefficient
            )
        return super().from_config(config)


def _make_head(backbone, dtype):
    options = {"dtype": dtype or backbone.dtype_policy, "name": "lm_head"}
    if getattr(backbone.language_model, "tie_embeddings", False):
        return TiedHead(backbone.token_embedding, **options)
    return Dense(
        backbone.vocabulary_size,
        use_bias=False,
        kernel_initializer=normal_initializer(),
        **options,
    )


def _make_auxiliary_loss(backbone, coefficient, stop_gradient_target):
    """The layer, or `None` where there are no scores or no weight for it.

    The method says what its loss is. How much it weighs is a setting of
    training, as `trainable_parts` is, and so the task's: `None` means no loss
    here, and "left open" in a method; a schedule has a counter, which is a
    weight of the task; one backbone may be trained by two tasks; and presets
    have it in the task's config, not in the backbone's.
    """
    return backbone.pruning.auxiliary_loss(
        coefficient,
        stop_gradient_target=stop_gradient_target,
        dtype=backbone.dtype_policy,
    )


def _check_max_new_tokens(number):
    if number is not None and number < 1:
        raise ValueError(
            "`max_new_tokens` must be at least 1, or None. Received: "
            f"max_new_tokens={number}."
        )


def _serialized_sampler(sampler):
    if isinstance(sampler, str):
        return sampler
    return keras_hub.samplers.serialize(sampler)

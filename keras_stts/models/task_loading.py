"""How a `VideoVLM` is loaded from a preset."""

from keras_stts.models import sizes
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.presets import files as preset_files
from keras_stts.presets.keras_format import naming
from keras_stts.presets.load_task import load_task
from keras_stts.presets.load_task import preprocessor_class
from keras_stts.presets.preset_mixin import argument_names
from keras_stts.presets.preset_mixin import backbone_config
from keras_stts.presets.preset_mixin import base_of
from keras_stts.presets.preset_mixin import check_arguments
from keras_stts.presets.preset_mixin import preset_config
from keras_stts.presets.preset_mixin import resolve_preset
from keras_stts.training import distributing


class Loading:
    """See `VideoVLM`."""

    @classmethod
    def from_preset(
        cls, preset, load_weights=True, distribution=None, **kwargs
    ):
        """Load a model, its weights and its preprocessor.

        Args:
            preset: Str. A built-in name (see `presets`), a handle such as
                `"hf://org/model"`, or a local directory in the format of
                Keras, or in that of Molmo2 or Qwen3-VL.
            load_weights: Bool. `False` leaves the weights random.
            distribution: How weights and batches are spread over several
                devices, under JAX. `"data"`: each device has all weights and
                a share of the batch. `"fsdp"`: the weights are cut over the
                devices, too. `"auto"`: `"data"` if the weights take at most
                half of a device's memory, or else `"fsdp"`. Or a
                `keras.distribution.Distribution`. It stays set afterwards,
                as by `keras.distribution.set_distribution`. Defaults to what
                is set.
            **kwargs: Arguments of `VideoVLM`, `VideoVLMBackbone`,
                `VideoVLMPreprocessor` or `VideoVLMVideoConverter` to change,
                such as `prune_ratio`, `num_frames` or `dtype`. `pruning`
                replaces all methods of the preset, also one inside the
                language model. The new method takes the ratio and the layer
                of the old one, unless it has its own, but none of its
                weights: without STTS, its scorer is not loaded.

        Checkpoints of Molmo2's authors and of transformers say how videos are
        sampled, what a prompt looks like and how answers are drawn; the model
        does as they say, unless `num_frames=` or `sampling=` is given.
        Published settings take up to 384 frames. With Molmo2-4B a video then
        takes 165 MB of pixels, a vision part of 34,945 tokens (it was made
        for 36,864), 5.2 GB of keys and values in bfloat16 (2.9 at
        `prune_ratio=0.5`), and 1,192 TFLOP as `model.flops()` counts them
        (508), twelve times those of 64 frames. Pass `num_frames=64` if that
        is too much.

        Raises:
            FileNotFoundError: If the preset lacks a file, such as those of a
                preprocessor that it was saved with.
            ValueError: If the preset is unknown; if one of its files is
                damaged, would harm, or belongs to another preset; if `pruning`
                and `prune_ratio` contradict each other; or if there is no
                such distribution.
            TypeError: If an argument is unknown.
        """
        defaults, given = preset_config(preset), preset
        preset = resolve_preset(preset)
        if "backbone" not in kwargs:
            kwargs = {**defaults, **kwargs}
        with preset_files.loading():
            takers = _takers(cls, kwargs, preprocessor_class(preset))
        check_arguments(kwargs, set().union(*takers.values()))
        arguments = {
            part: {n: kwargs[n] for n in kwargs if n in names}
            for part, names in takers.items()
        }
        if distribution is not None and "backbone" in kwargs:
            raise ValueError(
                "Weights are spread over devices when they are made. Received: "
                f"distribution={distribution!r} and a `backbone`. Pass "
                "`distribution` to where the backbone is made, or set it by "
                "`keras.distribution.set_distribution` before."
            )

        def config():
            return backbone_config(preset, arguments["backbone"])

        with preset_files.loading():
            spread = distributing.distributed(distribution, config)
            with spread, naming(preset):
                model = load_task(
                    cls, preset, load_weights=load_weights, **arguments
                )
            if load_weights:
                model.base_preset = base_of(given)
        return model


def _takers(cls, kwargs, preprocessor):
    """Which arguments of `from_preset` go to which part of the model.

    A part that the caller has made already takes none.

    Args:
        cls: `VideoVLM` or a subclass.
        kwargs: Dict of arguments of `from_preset`.
        preprocessor: Class of the preset's preprocessor.

    Returns:
        Dict of `"task"`, `"backbone"`, `"preprocessor"` and `"converter"` to
        the names of arguments, a set.
    """
    takers = {
        "task": argument_names(cls) | {"name", "compile"},
        "backbone": argument_names(VideoVLMBackbone) | {"dtype"},
        "preprocessor": argument_names(preprocessor),
        "converter": argument_names(preprocessor.video_converter_cls),
    }
    if preprocessor is VideoVLMPreprocessor:
        takers["backbone"] -= set().union(*sizes.OTHERS.values())
    if "backbone" in kwargs:
        takers["backbone"] = set()
    if "preprocessor" in kwargs:
        takers["preprocessor"] = takers["converter"] = set()
    if "video_converter" in kwargs:
        takers["converter"] = set()
    return takers

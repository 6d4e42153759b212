"""LoRA, quantization, saving and export of a `VideoVLM`."""

import keras

from keras_stts import _hub_compat as hub
from keras_stts._collection import cheap_collection
from keras_stts.formats import registry
from keras_stts.presets import migration
from keras_stts.presets import saving as preset_saving
from keras_stts.presets.keras_format import reading_weights
from keras_stts.presets.model_card import write_model_card
from keras_stts.training import lora

QUANTIZED = (keras.layers.Dense, keras.layers.Embedding)


class Saving:
    """See `VideoVLM`."""

    def enable_lora(self, rank, target_layer_names=None):
        """Train LoRA factors and the scorer only; freeze the rest.

        Compile the model again afterwards.

        Args:
            rank: Int. Rank of the factors.
            target_layer_names: Optional list of str, names of the layers that
                get factors; `"lm_head"` is the output head. Defaults to
                `["query", "value"]`, of vision encoder, connector and
                language model. The scorer is trained whole.

        Raises:
            ValueError: If a name is none of a layer that can have factors.
        """
        names = target_layer_names or self.backbone.default_lora_layer_names()
        lora.enable(self, self.backbone.pruning, rank, names)

    def save_lora_weights(self, filepath):
        """Save the LoRA factors, also the output head's, and the scorer.

        Args:
            filepath: Path that ends in `.lora.h5`.

        Raises:
            ValueError: If the path ends otherwise, or the model has no
                factors.
            OSError: If the file cannot be written, for instance because the
                disk is full. An older file is then unchanged.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
        model.enable_lora(4)
        model.save_lora_weights("tuned.lora.h5")  # After training it.
        model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
        model.load_lora_weights("tuned.lora.h5")
        ```
        """
        lora.save(self, self.backbone.pruning, filepath)

    def load_lora_weights(self, filepath):
        """Load what `save_lora_weights` saved.

        A model without factors gets them in the same layers. Compile it
        again before you train on.

        Args:
            filepath: Path.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, refers to other files, or was
                saved by another model, or with factors of other layers or of
                another rank.
        """
        lora.load(self, self.backbone.pruning, filepath, self.enable_lora)

    def quantize(self, mode, filters=None, **kwargs):
        """Quantize all layers but the scorer's, on which the choice depends.

        Args:
            mode: Str, such as `"int8"` or `"int4"`; see
                `keras.Model.quantize`.
            filters: Optional regular expression, list of such, or function of
                a layer, that says which layers are quantized. Defaults to all
                but the scorer's.
            **kwargs: See `keras.Model.quantize`.
        """
        if filters is None:

            def filters(layer):
                in_method = "pruning" in (layer.path or "").split("/")
                return isinstance(layer, QUANTIZED) and not in_method

        with cheap_collection():
            super().quantize(mode, filters=filters, **kwargs)

    def export_to_transformers(self, directory, max_shard_size=5_000_000_000):
        """Write the model in the format of transformers' Molmo2 or Qwen3-VL.

        That is its config, weights (float32, bfloat16 or float16, as in the
        model, with LoRA factors merged), tokenizer and processor. STTS' scorer
        is written, too, for Molmo2 under the names of the published weights;
        transformers ignores it and prunes nothing. An output head that is the
        token embedding is written as tied.

        Args:
            directory: Path, made if need be.
            max_shard_size: Int. Most bytes of weights in a file.

        The files of an older export are replaced at once, after all new ones
        are written. Other files are kept.

        Raises:
            ValueError: If the model is quantized, or has parts or settings
                that transformers' model does not have.
            OSError: If a file cannot be written, for instance because the disk
                is full. The older export is then unchanged.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        model.export_to_transformers("exported")
        again = keras_stts.VideoVLM.from_preset("exported", prune_ratio=0.5)
        ```
        """
        format = registry.of_model(self)
        with preset_saving.replacing(directory, "transformers") as part:
            format.export(self, part, max_shard_size)

    def save_to_preset(self, preset_dir, max_shard_size=10, card=None):
        """Save the model for `from_preset`, with a model card.

        The files of an older preset are replaced at once, after all new ones
        are written; until then there must be room for both. Other files are
        kept.

        Args:
            preset_dir: Path, made if need be. A `README.md` in it that was
                written or changed by hand is kept.
            max_shard_size: Number. Most GB of weights in a file.
            card: Optional dict, what the model card says beside what the
                model knows: arguments of `huggingface_hub.ModelCardData`,
                such as `"base_model"`, `"license"`, `"datasets"`,
                `"language"` and `"eval_results"`, a list of what
                `keras_stts.evaluate` returned. What is left out is "not
                stated" there. The base model of one that was loaded from a
                handle is known, also after saving and loading it again.

        Raises:
            OSError: If a file cannot be written, for instance because the disk
                is full. The older preset is then unchanged.
            ValueError: If `card` has a key that is none, or results that are
                none.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        card = {"license": "apache-2.0", "language": "en"}
        model.save_to_preset("my_model", card=card)
        ```
        """
        base = self.base_preset
        with preset_saving.replacing(preset_dir, "task", base) as part:
            super().save_to_preset(str(part), max_shard_size=max_shard_size)
            write_model_card(self, part, preset_dir, card)

    def save_task_weights(self, filepath):
        """Save the weights that are not the backbone's; see KerasHub."""
        keras.saving.save_weights(
            self, filepath, objects_to_skip=self._objects_to_skip()
        )

    def load_task_weights(self, filepath):
        """Load what `save_task_weights` saved."""
        with reading_weights(filepath):
            keras.saving.load_weights(
                self, filepath, objects_to_skip=self._objects_to_skip()
            )

    def load_weights(self, filepath, **kwargs):
        """See `keras.Model.load_weights`. An error names a damaged file."""
        with reading_weights(filepath):
            if not migration.load_weights(self, filepath, **kwargs):
                super().load_weights(filepath, **kwargs)

    def _objects_to_skip(self):
        """The backbone's layers, which have a file of their own, and what
        belongs to a training run."""
        run = [self.optimizer, *self.metrics] if self.compiled else []
        return [*hub.flatten_layers(self.backbone), *run]

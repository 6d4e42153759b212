"""How a `VideoVLM` is adapted, quantized, saved and exported."""

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
        """Train LoRA factors and the scorer only; the rest is frozen.

        Compile the model anew afterwards.

        Args:
            rank: Int. Rank of the factors.
            target_layer_names: Optional list of str, names of the layers that
                get factors; `"lm_head"` is the output head. Defaults to
                `["query", "value"]`, of vision encoder, connector and
                language model. The scorer is trained whole.

        Raises:
            ValueError: If no layer that can have factors has such a name.
        """
        names = target_layer_names or self.backbone.default_lora_layer_names()
        lora.enable(self, self.backbone.pruning, rank, names)

    def save_lora_weights(self, filepath):
        """Save LoRA factors, the head's too, and the scorer.

        Args:
            filepath: Path that ends in `.lora.h5`.

        Raises:
            ValueError: If it ends otherwise, or the model has no factors.
            OSError: If it cannot be written, such as on a full disk. Then a
                file that was there is as it was.

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

        Layers of a model without factors get those of the file; compile it
        anew to train on.

        Args:
            filepath: Path.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, refers to other files, or is of
                another model, or of other factors.
        """
        lora.load(self, self.backbone.pruning, filepath, self.enable_lora)

    def quantize(self, mode, filters=None, **kwargs):
        """Quantize all layers but the scorer, which decides what stays.

        Args:
            mode: Str, such as `"int8"` or `"int4"`; see
                `keras.Model.quantize`.
            filters: Optional regular expression, list of them or function of
                a layer: which layers. Defaults to all but the scorer's.
            **kwargs: See `keras.Model.quantize`.
        """
        if filters is None:

            def filters(layer):
                in_method = "pruning" in (layer.path or "").split("/")
                return isinstance(layer, QUANTIZED) and not in_method

        with cheap_collection():
            super().quantize(mode, filters=filters, **kwargs)

    def export_to_transformers(self, directory, max_shard_size=5_000_000_000):
        """Write the model as transformers' Molmo2 or Qwen3-VL reads it.

        Its config, weights (float32, bfloat16 or float16, as the model has
        them; LoRA factors are merged), tokenizer and processor. STTS' scorer
        is written beside, for Molmo2 under the names that its authors
        published; transformers leaves it out, and prunes nothing. An output
        head that is the token embedding is written as tied.

        Args:
            directory: Path, made if need be.
            max_shard_size: Int. Bytes of weights that a file holds at most.

        What is there of an older preset is replaced in one go, when all is
        written. Other files are kept.

        Raises:
            ValueError: If the model is quantized, or has parts or settings
                that the family lacks.
            OSError: If it cannot be written, such as on a full disk. Then the
                older preset is still there.

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

    def save_to_preset(self, preset_dir, max_shard_size=10):
        """Save the model for `from_preset`, with a model card.

        What is there of an older preset is replaced in one go, when all is
        written: until then the disk holds both. Other files are kept.

        Args:
            preset_dir: Path, made if need be. A `README.md` in it that
                someone wrote is kept.
            max_shard_size: Number. GB of weights that a file holds at most.

        Raises:
            OSError: If it cannot be written, such as on a full disk. Then the
                older preset is still there.
        """
        with preset_saving.replacing(preset_dir, "task") as part:
            super().save_to_preset(str(part), max_shard_size=max_shard_size)
            write_model_card(self, part, preset_dir)

    def save_task_weights(self, filepath):
        """Save the weights that are not in the backbone; see KerasHub."""
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
        """See `keras.Model.load_weights`; damaged files are named."""
        with reading_weights(filepath):
            if not migration.load_weights(self, filepath, **kwargs):
                super().load_weights(filepath, **kwargs)

    def _objects_to_skip(self):
        """What is saved elsewhere, or belongs to a training run alone."""
        run = [self.optimizer, *self.metrics] if self.compiled else []
        return [*hub.flatten_layers(self.backbone), *run]

from keras_stts.formats import registry
from keras_stts.formats.molmo2 import export
from keras_stts.formats.molmo2 import loading
from keras_stts.preprocessing.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.presets.files import read_once
from keras_stts.towers.vision_encoder import VisionEncoder


class Molmo2(registry.Format):
    """Molmo2's checkpoints, in the formats of its authors and transformers."""

    model_type = "molmo2"
    preprocessor_cls = VideoVLMPreprocessor
    tower_cls = VisionEncoder

    def load(self, cls, preset, **kwargs):
        return loading.load(cls, preset, **kwargs)

    def backbone_config(self, preset):
        return read_once(loading.Files, preset).backbone

    def task_arguments(self, preset):
        return loading.task_arguments(preset)

    def load_head(self, model, preset):
        loading.load_head(model, preset)

    def has_preprocessor(self, preset):
        return loading.has_tokenizer(preset)

    def load_preprocessor(self, preset, preprocessor, converter):
        return loading.load_preprocessor(preset, preprocessor, converter)

    def export(self, model, directory, max_shard_size):
        export.export(model, directory, max_shard_size)


registry.register(Molmo2())

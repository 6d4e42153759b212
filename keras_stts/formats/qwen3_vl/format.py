from keras_stts.formats import registry
from keras_stts.formats.molmo2.tokenizer import has_tokenizer
from keras_stts.formats.qwen3_vl import export
from keras_stts.formats.qwen3_vl import loading
from keras_stts.formats.qwen3_vl.files import Files
from keras_stts.preprocessing.qwen3_vl.preprocessor import Qwen3VLPreprocessor
from keras_stts.presets.files import read_once
from keras_stts.towers.qwen3_vl import Qwen3VLVisionEncoder


class Qwen3VL(registry.Format):
    """Qwen3-VL's checkpoints, as transformers saves them."""

    model_type = "qwen3_vl"
    preprocessor_cls = Qwen3VLPreprocessor
    tower_cls = Qwen3VLVisionEncoder

    def share(self, preset, arguments):
        loading.share(preset, arguments)

    def load(self, cls, preset, **kwargs):
        return loading.load(cls, preset, **kwargs)

    def backbone_config(self, preset):
        return loading.backbone_config(preset)

    def task_arguments(self, preset):
        return read_once(Files, preset).task

    def load_head(self, model, preset):
        loading.load_head(model, preset)

    def has_preprocessor(self, preset):
        return has_tokenizer(preset)

    def load_preprocessor(self, preset, preprocessor, converter):
        return loading.load_preprocessor(preset, preprocessor, converter)

    def export(self, model, directory, max_shard_size):
        export.export(model, directory, max_shard_size)


registry.register(Qwen3VL())

"""STTS token pruning and video language models for Keras 3."""

from keras_stts import _backend  # noqa: F401  Before Keras is imported.
from keras_stts import callbacks
from keras_stts import config
from keras_stts import data
from keras_stts import datasets
from keras_stts import evaluation
from keras_stts import language
from keras_stts import layers
from keras_stts import ops
from keras_stts import optimizers
from keras_stts import pruning
from keras_stts import towers
from keras_stts import visualize
from keras_stts.evaluation import evaluate
from keras_stts.formats.molmo2 import format as _molmo2  # noqa: F401
from keras_stts.formats.qwen3_vl import format as _qwen3_vl  # noqa: F401
from keras_stts.models.video_vlm import VideoVLM
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.encoded_video import EncodedVideo
from keras_stts.preprocessing.qwen3_vl.converter import Qwen3VLVideoConverter
from keras_stts.preprocessing.qwen3_vl.preprocessor import Qwen3VLPreprocessor
from keras_stts.preprocessing.qwen3_vl.tokenizer import Qwen3VLTokenizer
from keras_stts.preprocessing.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.preprocessing.video_vlm_tokenizer import VideoVLMTokenizer
from keras_stts.preprocessing.video_vlm_video_converter import (
    VideoVLMVideoConverter,
)
from keras_stts.timing import benchmark
from keras_stts.version import __version__

__all__ = [
    "EncodedVideo",
    "Qwen3VLPreprocessor",
    "Qwen3VLTokenizer",
    "Qwen3VLVideoConverter",
    "VideoVLM",
    "VideoVLMBackbone",
    "VideoVLMPreprocessor",
    "VideoVLMTokenizer",
    "VideoVLMVideoConverter",
    "__version__",
    "benchmark",
    "callbacks",
    "config",
    "data",
    "datasets",
    "evaluate",
    "evaluation",
    "language",
    "layers",
    "ops",
    "optimizers",
    "pruning",
    "towers",
    "visualize",
]

"""Every field of the files of a Qwen3-VL checkpoint, and its use.

Data only. `keras_stts.formats.fields` reads files by these tables and refuses
any other field.
"""

from keras_stts.formats.qwen3_vl.config_fields import CONFIG
from keras_stts.formats.qwen3_vl.config_fields import TEXT
from keras_stts.formats.qwen3_vl.config_fields import VISION
from keras_stts.formats.qwen3_vl.processor_fields import IMAGE_PROCESSOR
from keras_stts.formats.qwen3_vl.processor_fields import PROCESSOR
from keras_stts.formats.qwen3_vl.processor_fields import VIDEO_PROCESSOR

TABLES = {
    "config.json": {"": CONFIG, "vision_config": VISION, "text_config": TEXT},
    "preprocessor_config.json": {"": IMAGE_PROCESSOR},
    "video_preprocessor_config.json": {"": VIDEO_PROCESSOR},
    "processor_config.json": {
        "": PROCESSOR,
        "image_processor": IMAGE_PROCESSOR,
        "video_processor": VIDEO_PROCESSOR,
    },
}

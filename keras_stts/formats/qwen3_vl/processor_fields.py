"""Every field of the files of Qwen3-VL's processors. Data only."""

from keras_stts.formats.field_kinds import ABOUT
from keras_stts.formats.field_kinds import OUTPUTS
from keras_stts.formats.field_kinds import only
from keras_stts.formats.field_kinds import read
from keras_stts.formats.molmo2.processor_fields import PIXELS as SHARED

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
# What processors of images and videos share.
PIXELS = {
    **SHARED,
    "do_resize": only(True, why="sides must be multiples of blocks"),
    "merge_size": read("merge_size", "int", 2),
    "patch_size": read("patch_size", "int", 16),
    "resample": only(3, "bicubic", why="pictures are resized bicubically"),
    "temporal_patch_size": read("temporal_patch_size", "int", 2),
}
IMAGE_PROCESSOR = {
    **PIXELS,
    "feature_extractor_type": ABOUT,
    # What transformers assumes of a file without them, though it is not
    # Qwen3-VL's: then the file is refused.
    "image_mean": read("image_mean", "numbers", CLIP_MEAN),
    "image_processor_type": only(
        "Qwen2VLImageProcessor",
        "Qwen2VLImageProcessorFast",
        "Qwen2VLImageProcessorPil",
        why="images are cut up as Qwen's are",
    ),
    "image_std": read("image_std", "numbers", CLIP_STD),
    "max_pixels": read("max_pixels", "int"),
    "min_pixels": read("min_pixels", "int"),
    "patch_size": read("patch_size", "int", 14),
}
VIDEO_PROCESSOR = {
    **PIXELS,
    "cap_pixels_per_frame": read("cap_pixels_per_frame", "bool", False),
    "do_sample_frames": only(True, why="frames are chosen by `fps`"),
    "fps": read("max_fps", "number", 2),
    "max_frames": read("num_frames", "int", 768),
    "max_video_tokens": read("max_video_tokens", "int", 768),
    "min_frames": only(4, why="of short videos four frames are taken"),
    "num_frames": only(why="frames are chosen by `fps`"),
    "return_metadata": OUTPUTS,
    "video_metadata": only(why="is of one video"),
    "video_processor_type": only(
        "Qwen3VLVideoProcessor", why="videos are seen as Qwen3-VL sees them"
    ),
}
PROCESSOR = {
    "auto_map": ABOUT,
    "chat_template": read("chat_template", "any"),
    "image_processor": read("image_processor", "dict"),
    "processor_class": only("Qwen3VLProcessor", why="no other is known"),
    "transformers_version": ABOUT,
    "video_processor": read("video_processor", "dict"),
}

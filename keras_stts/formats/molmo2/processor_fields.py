"""Every field of the files of processors of pixels and prompts. Data only."""

from keras_stts.formats.field_kinds import ABOUT
from keras_stts.formats.field_kinds import OUTPUTS
from keras_stts.formats.field_kinds import SPEED
from keras_stts.formats.field_kinds import only
from keras_stts.formats.field_kinds import read
from keras_stts.formats.field_kinds import unused

DEVICE = unused("says where and how transformers holds arrays")

# What processors of images and videos share.
PIXELS = {
    "_processor_class": ABOUT,
    "_valid_kwargs_names": ABOUT,
    "auto_map": ABOUT,
    "crop_size": unused("is of `do_center_crop`"),
    "data_format": DEVICE,
    "default_to_square": unused("`size` names both sides"),
    "device": DEVICE,
    "disable_grouping": SPEED,
    "do_center_crop": only(False, why="pictures are resized, never cropped"),
    "do_convert_rgb": unused("files are read as RGB, arrays must be"),
    "do_normalize": read("do_normalize", "bool", True),
    "do_pad": only(False, why="pictures are resized, never padded"),
    "do_rescale": read("do_rescale", "bool", True),
    "do_resize": only(True, why="all pictures have one size"),
    "image_mean": read("image_mean", "numbers", [0.5, 0.5, 0.5]),
    "image_seq_length": unused("is of transformers' fast image processors"),
    "image_std": read("image_std", "numbers", [0.5, 0.5, 0.5]),
    "input_data_format": DEVICE,
    "pad_size": unused("is of `do_pad`"),
    "patch_size": read("patch_size", "int"),
    "processor_class": ABOUT,
    "resample": only(2, "bilinear", why="pictures are resized bilinearly"),
    "rescale_factor": read("rescale_factor", "number", 1 / 255),
    "return_tensors": DEVICE,
    "size": read("size", "dict"),
    "transformers_version": ABOUT,
}
IMAGE_PROCESSOR = {
    **PIXELS,
    "feature_extractor_type": ABOUT,
    "image_processor_type": only(
        "Molmo2ImageProcessor",
        "Molmo2ImageProcessorFast",
        why="images are cut up as Molmo2's are",
    ),
    "max_crops": read("max_crops", "int", 8),
    "overlap_margins": only([4, 4], why="crops overlap by four patches"),
    "pooling_size": only([2, 2], why="a token of an image pools 2 x 2 patches"),
}
VIDEO_PROCESSOR = {
    **PIXELS,
    "do_sample_frames": read("do_sample_frames", "bool", True),
    "fps": only(why="frames are chosen by `num_frames` and `max_fps`"),
    "frame_sample_mode": read("frame_sample_mode", "str"),
    "max_fps": read("max_fps", "number", 2),
    "num_frames": read("num_frames", "int", 64),
    "pooling_size": read("pooling_size", "ints", [3, 3]),
    "return_metadata": OUTPUTS,
    "sampling_fps": unused('is of frame_sample_mode "fps"'),
    "video_metadata": only(why="is of one video"),
    "video_processor_type": only(
        "Molmo2VideoProcessor", why="videos are seen as Molmo2 sees them"
    ),
}
PROCESSOR = {
    "auto_map": ABOUT,
    "chat_template": read("chat_template", "any"),
    "image_processor": read("image_processor", "dict"),
    "image_token": only("<|image|>", why="is what stands for an image"),
    "image_use_col_tokens": read("image_use_col_tokens", "bool", True),
    "processor_class": only("Molmo2Processor", why="no other is known"),
    "transformers_version": ABOUT,
    "use_frame_special_tokens": read("use_frame_special_tokens", "bool"),
    "use_single_crop_col_tokens": read(
        "use_single_crop_col_tokens", "bool or null"
    ),
    "use_single_crop_start_token": read(
        "use_single_crop_start_token", "bool", True
    ),
    "video_processor": read("video_processor", "dict"),
    "video_token": only("<|video|>", why="is what stands for a video"),
    "video_use_col_tokens": read("video_use_col_tokens", "bool", False),
}

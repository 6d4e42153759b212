"""Settings of a Qwen3-VL checkpoint's processor for videos and images.

As in transformers, a section of `processor_config.json` precedes a file of its
own, and without one the file for images is that for videos, too.
"""

import collections

from keras_stts.formats import fields
from keras_stts.formats.qwen3_vl.settings import TABLES
from keras_stts.presets import files as preset_files

PROCESSOR = "processor_config.json"
IMAGES = "preprocessor_config.json"
VIDEOS = "video_preprocessor_config.json"
# Limits of pixels where a file has none, as in transformers.
LIMITS = {IMAGES: (3136, 1003520), VIDEOS: (131072, 786432)}
NORMALIZATION = {
    "do_normalize": True,
    "do_rescale": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
Section = collections.namedtuple("Section", ["values", "prefix", "where"])


def load(preset, config):
    """Arguments of `Qwen3VLVideoConverter` from a checkpoint's files.

    Args:
        preset: Str. Handle or directory.
        config: Dict, see `keras_stts.formats.qwen3_vl.config.model_config`.

    Returns:
        Dict.

    Raises:
        ValueError: If a field or its value is unknown, or fields contradict
            each other.
    """
    top = fields.read_file(preset, PROCESSOR, tables=TABLES)
    top = top or fields.parse({}, PROCESSOR, preset=preset, tables=TABLES)
    image = _section(preset, top, "image_processor", IMAGES)
    video = _section(preset, top, "video_processor", VIDEOS)
    for section in (image, video):
        _check_patches(section, config)
        _check_pixels(section)
    image_limits, video_limits = _limits(image, IMAGES), _limits(video, VIDEOS)
    values = video.values
    for name in ("max_fps", "num_frames", "max_video_tokens"):
        _require(video, name, values[name] > 0, "be positive")
    cap = values["cap_pixels_per_frame"]
    return {
        "min_pixels": video_limits[0],
        "max_pixels": video_limits[1],
        "image_min_pixels": image_limits[0],
        "image_max_pixels": image_limits[1],
        "max_fps": values["max_fps"],
        "num_frames": values["num_frames"],
        "max_frame_blocks": values["max_video_tokens"] if cap else None,
        "patch_size": config["vision_patch_size"],
        "temporal_patch_size": config["vision_temporal_patch_size"],
        "merge_size": config["vision_window"],
    }


def _section(preset, top, name, file):
    """A part of the processor, from the first file that has it."""
    if top[name] is not None:
        values = fields.parse(top[name], PROCESSOR, name, preset, tables=TABLES)
        return Section(values, f"{name}.", f"{PROCESSOR} of {preset}")
    values = fields.read_file(preset, file, tables=TABLES)
    if values is None:
        return _without_file(preset, file)
    return Section(values, "", f"{file} of {preset}")


def _without_file(preset, file):
    """A section of the fields for images that it has, too, or of none."""
    given, where = {}, f"{file} of {preset}"
    if preset_files.has(preset, IMAGES):
        given = preset_files.read_json(preset, IMAGES)
        where = f"{IMAGES} of {preset}"
        given = {k: given[k] for k in given if k in TABLES[file][""]}
    values = fields.parse(
        given, file, preset=preset, where=where, tables=TABLES
    )
    return Section(values, "", where)


def _require(section, name, good, rule):
    label, value = f"{section.prefix}{name}", section.values[name]
    fields.require(good, rule, label, value, section.where)


def _check_patches(section, config):
    """Raise unless pictures are cut up as the model's are."""
    for name, argument in (
        ("patch_size", "vision_patch_size"),
        ("temporal_patch_size", "vision_temporal_patch_size"),
        ("merge_size", "vision_window"),
    ):
        wanted = config[argument]
        good = section.values[name] == wanted
        _require(section, name, good, f"be {wanted}, as in config.json")


def _check_pixels(section):
    """Raise unless pixels become numbers of -1 to 1."""
    for name, wanted in NORMALIZATION.items():
        good = section.values[name] == wanted
        _require(section, name, good, f"be {wanted}: pixels become -1 to 1")
    factor = section.values["rescale_factor"]
    good = abs(255 * factor - 1) < 1e-6
    _require(section, "rescale_factor", good, "be 1 / 255")


def _limits(section, file):
    """Fewest and most pixels; fields of their own precede `size`."""
    values, size = section.values, section.values["size"]
    names = {"shortest_edge", "longest_edge"}
    good = size is None or set(size) == names
    _require(section, "size", good, f"hold {' and '.join(sorted(names))}")
    least, most = LIMITS[file]
    if size is not None:
        least, most = size["shortest_edge"], size["longest_edge"]
    if values.get("min_pixels") is not None:
        least = values["min_pixels"]
    if values.get("max_pixels") is not None:
        most = values["max_pixels"]
    number, _ = fields.TYPES["int"]
    good = number(least) and number(most) and 0 < least <= most
    _require(section, "size", good, "be areas that rise, in pixels")
    return least, most

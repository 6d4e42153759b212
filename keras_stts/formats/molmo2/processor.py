"""Settings of a Molmo2 checkpoint's processor for videos, images and prompts.

As in transformers, a section of `processor_config.json` precedes a file of its
own. `preprocessor_config.json` is for images; without another file it is also
used for the pixels of videos, but not for their sampling and pooling.
"""

import collections

from keras_stts.formats.molmo2 import fields as fields
from keras_stts.formats.molmo2.processor_fields import PIXELS
from keras_stts.models.backbone_bounds import INTS
from keras_stts.presets import files as preset_files

PROCESSOR = "processor_config.json"
IMAGES = "preprocessor_config.json"
VIDEOS = "video_preprocessor_config.json"
SWITCHES = (
    "image_use_col_tokens",
    "use_single_crop_col_tokens",
    "use_single_crop_start_token",
    "video_use_col_tokens",
)


NORMALIZATION = (
    "do_normalize",
    "do_rescale",
    "rescale_factor",
    "image_mean",
    "image_std",
)
Part = collections.namedtuple("Part", ["values", "given", "prefix", "where"])


def load(preset, config, image_size, patch_size):
    """Settings of a checkpoint's processor.

    Args:
        preset: Str. Handle or directory.
        config: Dict, the checkpoint's `config.json`.
        image_size, patch_size: Ints from that file.

    Returns:
        Tuple of three dicts of arguments: of `VideoVLMBackbone`,
        `VideoVLMPreprocessor` and `VideoVLMVideoConverter`.

    Raises:
        ValueError: If a field or its value is unknown, or two fields
            contradict each other.
    """
    top = fields.read_file(preset, PROCESSOR)
    if top is None:
        top = fields.parse({}, PROCESSOR, preset=preset)
    image = _part(preset, top, "image_processor", (IMAGES,))
    video = _part(preset, top, "video_processor", (VIDEOS, IMAGES))
    for part in (image, video):
        _check_size(part, image_size, patch_size)
    pixels, window = _pixels(video, image), _window(video)
    count = _bounded(video, "num_frames")
    crops = _bounded(image, "max_crops")
    rate = video.values["max_fps"]
    _require(video, "max_fps", rate > 0, "be positive")
    backbone = {"num_frames": count, "window": window, "max_crops": crops}
    preprocessor = {
        "num_blocks": (-(-image_size // patch_size // window)) ** 2,
        "max_crops": crops,
        "patch_size": patch_size,
        **{name: top[name] for name in SWITCHES},
        "use_frame_special_tokens": _frame_tokens(top, config, preset),
    }
    converter = {
        "image_size": (image_size, image_size),
        "num_frames": count,
        "max_fps": rate,
        "sampling": _sampling(video),
    }
    return {**backbone, **pixels}, preprocessor, converter


def _part(preset, top, section, files):
    """A part of the processor, from the first file that has it."""
    if top[section] is not None:
        values = fields.parse(top[section], PROCESSOR, section, preset)
        where = f"{PROCESSOR} of {preset}"
        return Part(values, top[section], f"{section}.", where)
    own = files[0]
    for name in files:
        if preset_files.has(preset, name):
            given = preset_files.read_json(preset, name)
            values = fields.parse(given, name, preset=preset)
            if name != own:
                given = {k: given[k] for k in given if k in PIXELS}
                values = fields.parse(given, own, preset=preset)
            return Part(values, given, "", f"{name} of {preset}")
    values = fields.parse({}, own, preset=preset)
    return Part(values, {}, "", f"{own} of {preset}")


def _require(part, name, good, rule):
    value = part.values[name]
    fields.require(good, rule, f"{part.prefix}{name}", value, part.where)


def _check_size(part, side, patch):
    size, wanted = part.values["size"], {"height": side, "width": side}
    good = size in (None, wanted)
    _require(part, "size", good, f"be {wanted}, the size in config.json")
    good = part.values["patch_size"] in (None, patch)
    _require(part, "patch_size", good, f"be {patch}, as in config.json")


def _bounded(part, name):
    value, (_, most) = part.values[name], INTS[name]
    _require(part, name, 0 <= value <= most, f"be from 0 to {most:,}")
    return value


def _window(video):
    sides = video.values["pooling_size"]
    good = len(sides) == 2 and 0 < sides[0] == sides[1] <= INTS["window"][1]
    _require(video, "pooling_size", good, "be two equal sides")
    return sides[0]


def _pixels(video, image):
    """Mean and standard deviation of pixels in [0, 1], one number or three."""
    result = _normalization(video)
    same = _normalization(image) == result
    differ = [n for n in NORMALIZATION if image.values[n] != video.values[n]]
    rule = f"be as in {video.where}: a model has one normalisation"
    _require(image, (differ or NORMALIZATION)[0], same, rule)
    return result


def _normalization(part):
    values = part.values
    factor = values["rescale_factor"] if values["do_rescale"] else 1
    _require(part, "rescale_factor", factor > 0, "be positive")
    # Pixels of 0 to 255 are first multiplied by the factor.
    scale = 255 * factor
    scale = 1 if abs(scale - 1) < 1e-6 else scale
    mean, std = values["image_mean"], values["image_std"]
    if not values["do_normalize"]:
        mean, std = 0.0, 1.0
    result = {}
    for name, value in (("image_mean", mean), ("image_std", std)):
        value = value if isinstance(value, list) else [value]
        good = len(value) in (1, 3) and (name == "image_mean" or min(value) > 0)
        _require(part, name, good, "be a number or three, one per colour")
        value = [float(v) / scale for v in value]
        name = name.replace("image", "pixel")
        result[name] = value[0] if len(set(value)) == 1 else value
    return result


def _frame_tokens(top, config, preset):
    """The tokens around frames, which two files may name."""
    name = "use_frame_special_tokens"
    ours, other = top[name], config.get(name)
    fields.require(
        None in (ours, other) or ours == other,
        f"be {ours}, as in {PROCESSOR}",
        name,
        other,
        f"config.json of {preset}",
    )
    value = other if ours is None else ours
    return True if value is None else value


def _sampling(video):
    """Name of the sampling rule."""
    mode = video.values["frame_sample_mode"]
    rule = 'be "uniform_last_frame" or null: no other way to sample is known'
    good = mode in (None, "uniform_last_frame")
    _require(video, "frame_sample_mode", good, rule)
    if not video.values["do_sample_frames"]:
        return "all"
    # The published processor samples like this, transformers' does not.
    published = "video_processing_molmo2" in str(video.given.get("auto_map"))
    return "molmo2" if mode or published else "molmo2_hf"

"""Files of Qwen3-VL checkpoints: each field is followed or refused."""

import copy
import json

import numpy as np
import pytest

from keras_stts.formats.qwen3_vl import processor
from keras_stts.formats.qwen3_vl.config import model_config
from keras_stts.preprocessing.qwen3_vl.converter import Qwen3VLVideoConverter

pytestmark = pytest.mark.once
# As of Qwen/Qwen3-VL-2B-Instruct.
PUBLISHED = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "initializer_range": 0.02,
        "intermediate_size": 6144,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [24, 20, 20],
            "rope_type": "default",
        },
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2048,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}
SIZES = {
    "vision_num_layers": 24,
    "vision_hidden_dim": 1024,
    "vision_num_heads": 16,
    "vision_intermediate_dim": 4096,
    "vision_patch_size": 16,
    "vision_temporal_patch_size": 2,
    "vision_position_side": 48,
    "vision_deepstack_layers": [5, 11, 17],
    "vision_window": 2,
    "vision_activation": "gelu_pytorch_tanh",
    "connector_output_dim": 2048,
    "vocabulary_size": 151936,
    "num_layers": 28,
    "hidden_dim": 2048,
    "num_query_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_dim": 6144,
    "rope_max_wavelength": 5000000,
    "rope_sections": [24, 20, 20],
    "layer_norm_epsilon": 1e-6,
    "activation": "silu",
    "attention_bias": False,
    "tie_embeddings": True,
    "image_token_id": 151655,
    "video_token_id": 151656,
}
IMAGES = {
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
VIDEOS = {
    **IMAGES,
    "size": {"longest_edge": 25165824, "shortest_edge": 4096},
    "video_processor_type": "Qwen3VLVideoProcessor",
}
del VIDEOS["image_processor_type"]
CONVERTER = {
    "min_pixels": 4096,
    "max_pixels": 25165824,
    "image_min_pixels": 65536,
    "image_max_pixels": 16777216,
    "max_fps": 2,
    "num_frames": 768,
    "max_frame_blocks": None,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
}


def changed(config, path, value):
    config = copy.deepcopy(config)
    *parts, name = path.split(".")
    inner = config
    for part in parts:
        inner = inner[part]
    if value is KeyError:
        del inner[name]
    else:
        inner[name] = value
    return config


def test_published_config():
    assert model_config(PUBLISHED) == SIZES


def test_config_as_transformers_writes_it(tmp_path):
    from tests.models import hugging_face

    assert hugging_face
    transformers = pytest.importorskip("transformers")
    transformers.Qwen3VLConfig(**copy.deepcopy(PUBLISHED)).save_pretrained(
        tmp_path
    )
    written = json.loads((tmp_path / "config.json").read_text())
    assert written != PUBLISHED
    assert model_config(written) == SIZES


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("new", 1, "What `new` in config.json of a checkpoint asks for"),
        ("text_config.new", 1, "What `text_config.new`"),
        ("vision_config.new", 1, "What `vision_config.new`"),
        ("text_config.rope_scaling.new", 1, "be without new, not known"),
        ("text_config.rope_scaling.rope_type", "yarn", "of the type default"),
        ("text_config.rope_scaling.mrope_interleaved", False, "interleaved"),
        ("text_config.rope_scaling.mrope_section", [24, 20, 21], "half of"),
        ("text_config.rope_scaling.rope_theta", 1e4, "that of `rope_param"),
        ("text_config.rope_parameters", {"a": 1}, "agree with `rope_scaling`"),
        ("text_config.rope_theta", KeyError, "`rope_theta` above 1"),
        ("text_config.hidden_size", 1024, "be `text_config.hidden_size`"),
        ("text_config.tie_word_embeddings", False, "that of the whole model"),
        ("text_config.num_key_value_heads", 3, "divide `num_attention_heads`"),
        ("text_config.hidden_act", "none", "`text_config.hidden_act` in"),
        ("text_config.vocab_size", 151655, "`image_token_id`.*in the vocabul"),
        ("text_config.num_hidden_layers", 2, "no more than `text_config.num"),
        ("vision_config.num_position_embeddings", 50, "be a square"),
        ("vision_config.hidden_size", 1000, "multiple of 4 times `vision_con"),
        ("vision_config.deepstack_visual_indexes", [5, 24], "of the 24 layers"),
        ("vision_config.deepstack_visual_indexes", [5, 5], "rise, and be of"),
        ("vision_config.depth", KeyError, "must hold depth"),
        ("vision_config.in_channels", 1, "must be 3 or null, because frames"),
        ("vision_config.rope_parameters", {}, "rotated by these frequencies"),
        ("quantization_config", {"bits": 4}, "quantized weights are not read"),
        ("model_type", "qwen3_vl_moe", "must be 'qwen3_vl'"),
    ],
)
def test_config_refused(path, value, match):
    with pytest.raises(ValueError, match=match):
        model_config(changed(PUBLISHED, path, value))


def write(folder, **files):
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data))
    return str(folder)


def test_published_processor(tmp_path):
    preset = write(
        tmp_path,
        preprocessor_config=IMAGES,
        video_preprocessor_config=VIDEOS,
    )
    found = processor.load(preset, SIZES)
    assert found == CONVERTER
    # They are what the converter takes.
    config = Qwen3VLVideoConverter(**found).get_config()
    assert {name: config[name] for name in found} == found


def test_processor_in_one_file(tmp_path):
    preset = write(
        tmp_path,
        processor_config={
            "processor_class": "Qwen3VLProcessor",
            "image_processor": {**IMAGES, "max_pixels": 10**6},
            "video_processor": {
                **VIDEOS,
                "cap_pixels_per_frame": True,
                "fps": 4,
                "max_frames": 32,
            },
        },
        # Which is then not read.
        preprocessor_config={},
    )
    found = processor.load(preset, SIZES)
    changes = {"image_max_pixels": 10**6, "max_frame_blocks": 768}
    changes |= {"max_fps": 4, "num_frames": 32}
    assert found == CONVERTER | changes


@pytest.mark.parametrize(
    ("kind", "name", "value", "match"),
    [
        ("image", "new", 1, "What `new` in preprocessor_config.json"),
        ("image", "patch_size", 14, "`patch_size`.*be 16, as in config.json"),
        ("image", "patch_size", KeyError, "be 16, as in config.json"),
        ("image", "image_mean", KeyError, "pixels become -1 to 1"),
        ("image", "rescale_factor", 1.0, "be 1 / 255"),
        ("image", "resample", 2, "resized bicubically"),
        ("image", "size", {"height": 3}, "hold longest_edge and shortest_edge"),
        ("image", "min_pixels", 10**9, "areas that rise"),
        ("video", "image_std", [1, 1, 1], "`image_std`.*become -1 to 1"),
        ("video", "do_resize", False, "multiples of blocks"),
        ("video", "min_frames", 8, "four frames are taken"),
        ("video", "num_frames", 8, "chosen by `fps`"),
        ("video", "do_sample_frames", False, "chosen by `fps`"),
        ("video", "fps", 0, "`fps`.* be positive|max_fps.*be positive"),
    ],
)
def test_processor_refused(tmp_path, kind, name, value, match):
    files = {"image": IMAGES, "video": VIDEOS}
    files[kind] = changed(files[kind], name, value)
    preset = write(
        tmp_path,
        preprocessor_config=files["image"],
        video_preprocessor_config=files["video"],
    )
    with pytest.raises(ValueError, match=match):
        processor.load(preset, SIZES)


def test_limits_of_files_without_any(tmp_path):
    """As transformers assumes them."""
    from tests.models import hugging_face

    assert hugging_face
    transformers = pytest.importorskip("transformers")
    files = {
        "preprocessor_config": changed(IMAGES, "size", KeyError),
        "video_preprocessor_config": changed(VIDEOS, "size", KeyError),
    }
    found = processor.load(write(tmp_path, **files), SIZES)
    image = transformers.Qwen2VLImageProcessor().size
    video = transformers.Qwen3VLVideoProcessor().size
    for prefix, size in (("image_", image), ("", video)):
        limits = (found[f"{prefix}min_pixels"], found[f"{prefix}max_pixels"])
        assert limits == (size["shortest_edge"], size["longest_edge"])
    assert np.isfinite(found["max_fps"])


def test_one_file_for_images_and_videos(tmp_path):
    from tests.models import hugging_face

    assert hugging_face
    transformers = pytest.importorskip("transformers")
    config = {**IMAGES, "min_pixels": 70_000}
    preset = write(tmp_path, preprocessor_config=config)
    found = processor.load(preset, SIZES)
    size = transformers.Qwen3VLVideoProcessor.from_pretrained(preset).size
    limits = (size["shortest_edge"], size["longest_edge"])
    assert (found["min_pixels"], found["max_pixels"]) == limits
    assert limits == (65536, 16777216)
    assert found["image_min_pixels"] == 70_000
    for name in ("max_fps", "num_frames", "max_frame_blocks"):
        assert found[name] == CONVERTER[name]

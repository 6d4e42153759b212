"""transformers' processor, run beside our preprocessor."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_stts
from tests.models import tiny
from tests.models.hugging_face import molmo2

SIDE, PATCH = 378, 14


@pytest.fixture(scope="module")
def processor():
    processor = molmo2.Molmo2Processor.from_pretrained(tiny.MOLMO2)
    # This checkpoint's config leaves the scaling of videos out.
    processor.video_processor.do_rescale = True
    processor.video_processor.do_normalize = True
    return processor


@pytest.fixture(scope="module")
def for_images():
    return keras_stts.VideoVLMPreprocessor.from_preset(
        tiny.MOLMO2,
        num_images=3,
        video_converter=keras_stts.VideoVLMVideoConverter(SIDE, num_frames=0),
    )


def for_videos(num_frames):
    converter = keras_stts.VideoVLMVideoConverter(SIDE, num_frames=num_frames)
    return keras_stts.VideoVLMPreprocessor.from_preset(
        tiny.MOLMO2, video_converter=converter
    )


def pixels_of(patches):
    """Normalised patches (n, 729, 588) to pixels 0-255 (n, 378, 378, 3)."""
    side = SIDE // PATCH
    x = patches.numpy().reshape(-1, side, side, PATCH, PATCH, 3)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIDE, SIDE, 3)
    return (x * 0.5 + 0.5) * 255


def joined(x):
    return np.concatenate(
        [
            x["vision_token_ids"][x["vision_mask"]],
            x["token_ids"][x["padding_mask"]],
        ]
    )


def prompt(processor, kinds):
    content = [{"type": kind} for kind in kinds]
    content.append({"type": "text", "text": "What is there?"})
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )


# Sides of up to four pixels transformers may take for channels.
sizes = st.tuples(st.integers(5, 600), st.integers(5, 600))


@hypothesis.given(sizes=st.lists(sizes, min_size=1, max_size=3))
@hypothesis.settings(max_examples=8, deadline=None)
def test_images(processor, for_images, sizes):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), "uint8") for size in sizes]
    text = prompt(processor, ["image"] * len(images))
    theirs = processor(images=images, text=text, return_tensors="pt")
    ours = for_images.generate_preprocess(
        {"images": images, "prompts": "What is there?"}
    )
    tiny.same(joined(ours), theirs["input_ids"][0].numpy())
    pooling = theirs["image_token_pooling"].numpy()
    tiny.same(ours["image_pooling"][: len(pooling)], pooling)
    assert (ours["image_pooling"][len(pooling) :] == -1).all()
    wanted = pixels_of(theirs["pixel_values"])
    crops = ours["images"][: len(wanted)].astype("float32")
    assert np.abs(crops - wanted).max() <= 1.001
    assert not ours["images"][len(wanted) :].any()


@hypothesis.given(
    size=st.tuples(st.integers(5, 300), st.integers(5, 300)),
    num_frames=st.integers(2, 24),
    fps=st.sampled_from([1.0, 2.0, 2.997, 10.0, 23.976, 30.0]),
    most=st.sampled_from([4, 8]),
)
@hypothesis.settings(max_examples=8, deadline=None)
def test_videos(processor, size, num_frames, fps, most):
    # If it samples a single frame it takes that for an image, and fails.
    hypothesis.assume(num_frames / fps > 1)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (num_frames, *size, 3), "uint8")
    processor.video_processor.num_frames = most
    metadata = {
        "total_num_frames": num_frames,
        "fps": fps,
        "duration": num_frames / fps,
    }
    theirs = processor(
        videos=[video],
        text=prompt(processor, ["video"]),
        video_metadata=[metadata],
        return_tensors="pt",
    )
    ours = for_videos(most).generate_preprocess(
        {"videos": video, "fps": fps, "prompts": "What is there?"}
    )
    tiny.same(joined(ours), theirs["input_ids"][0].numpy())
    wanted = pixels_of(theirs["pixel_values_videos"])
    frames = ours["videos"][ours["frame_mask"]].astype("float32")
    assert np.abs(frames - wanted).max() <= 1.001

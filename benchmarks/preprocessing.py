"""Speed of preprocessing, beside transformers' Molmo2Processor.

    python benchmarks/preprocessing.py

turns a question about an array of frames, or about images, into the model's
inputs, by turns with both, in one process on the same two cores. transformers
also normalises the pixels, which `VideoVLM` does on the device. The last line
is one JSON object.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import keras_stts  # noqa: E402
from tests.models.hugging_face import molmo2  # noqa: E402

SIDE = 378


def processors(checkpoint, num_frames, num_images):
    theirs = molmo2.Molmo2Processor.from_pretrained(checkpoint)
    theirs.video_processor.do_rescale = True
    theirs.video_processor.do_normalize = True
    converter = keras_stts.VideoVLMVideoConverter(SIDE, num_frames=num_frames)
    ours = keras_stts.VideoVLMPreprocessor.from_preset(
        checkpoint, video_converter=converter, num_images=num_images
    )
    return ours, theirs


def prompt(processor, kinds):
    content = [{"type": kind} for kind in kinds]
    content.append({"type": "text", "text": "What is there?"})
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )


def video_case(checkpoint, seconds, height, width):
    """Functions that preprocess a video of 4 frames a second."""
    ours, theirs = processors(checkpoint, 64, 0)
    count, fps = 4 * seconds, 4.0
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (count, height, width, 3), "uint8")
    metadata = {
        "total_num_frames": count,
        "fps": fps,
        "duration": count / fps,
    }
    text = prompt(theirs, ["video"])
    return (
        lambda: ours.generate_preprocess(
            {"videos": video, "fps": fps, "prompts": "What is there?"}
        ),
        lambda: theirs(
            videos=[video],
            text=text,
            video_metadata=[metadata],
            return_tensors="pt",
        ),
    )


def image_case(checkpoint, count, height, width):
    ours, theirs = processors(checkpoint, 0, count)
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (count, height, width, 3), "uint8"))
    text = prompt(theirs, ["image"] * count)
    return (
        lambda: ours.generate_preprocess(
            {"images": images, "prompts": "What is there?"}
        ),
        lambda: theirs(images=images, text=text, return_tensors="pt"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--checkpoint", default=str(ROOT / "tests/models/golden/molmo2_tiny")
    )
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cases = {
        "video 64 frames of 360x640": (video_case, 40, 360, 640),
        "video 64 frames of 720x1280": (video_case, 40, 720, 1280),
        "1 image of 1000x1500": (image_case, 1, 1000, 1500),
        "3 images of 480x640": (image_case, 3, 480, 640),
    }
    rows = {}
    for name, (case, *sizes) in cases.items():
        functions = case(args.checkpoint, *sizes)
        times = [[], []]
        for _ in range(1 + args.rounds):
            for function, seconds in zip(functions, times):
                start = time.perf_counter()
                function()
                seconds.append(time.perf_counter() - start)
        ours, theirs = (statistics.median(t[1:]) for t in times)
        print(
            f"{name:30} ours {ours:6.3f} s, transformers {theirs:6.3f} s, "
            f"{theirs / ours:.2f} x as fast",
            flush=True,
        )
        rows[name] = {"seconds": ours, "transformers": theirs}
    print(json.dumps({"benchmark": "preprocessing", "rows": rows}))


if __name__ == "__main__":
    main()

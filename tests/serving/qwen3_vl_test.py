"""The second family behind the server: a trained model, and images."""

import base64
import json
import pathlib

import keras
import numpy as np
import PIL.Image
import pytest

import keras_stts
from keras_stts.serving.app import make_app
from keras_stts.serving.limits import Limits
from tests.models import qwen3_vl
from tests.preprocessing.qwen3_vl_preprocessor_test import make
from tests.serving import servers

PRESET = "shapes_tiny_qwen3vl"

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="One is enough; it is soonest."
)


def ask(address, parts, name=PRESET, **fields):
    """Tuple of the status, and the answer or what is said of the error."""
    content = [
        {"type": f"{kind}_url", f"{kind}_url": {"url": value}}
        if kind != "text"
        else {"type": "text", "text": value}
        for kind, value in parts
    ]
    messages = [{"role": "user", "content": content}]
    body = {"model": name, "messages": messages, "temperature": 0, **fields}
    status, found = servers.post(address, json.dumps(body).encode())
    if status == 200:
        return status, found["choices"][0]["message"]["content"]
    return status, found["error"]["message"]


def test_a_trained_model(folder, clips):
    model = keras_stts.VideoVLM.from_preset(PRESET)
    app = make_app(model, PRESET, Limits(max_batch=2), folders=[folder])
    with servers.running(app) as address:
        for row in clips:
            url = pathlib.Path(row["video"]).as_uri()
            parts = [("video", url), ("text", row["question"])]
            assert ask(address, parts) == (200, row["answer"])


def picture(path, height, width):
    rng = np.random.default_rng(height)
    pixels = rng.integers(0, 256, (height, width, 3), "uint8")
    PIL.Image.fromarray(pixels).save(path)
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/png;base64,{content}"


def test_images(folder, clip, tmp_path):
    """As `generate` answers; what is too large is told its own limit."""
    preprocessor = make(num_videos=1, sequence_length=80)
    model = qwen3_vl.model(preprocessor, shallow=True, text_layers=1)
    model.compile(sampler="greedy")
    image = tmp_path / "a.png"
    url = picture(image, 40, 50)
    app = make_app(model, "tiny", Limits(max_batch=2), folders=[folder])
    text = "what is it?"
    shown = [
        {"type": "image"},
        {"type": "video"},
        {"type": "text", "text": text},
    ]
    wanted = model.generate(
        {
            "videos": [str(clip)],
            "images": [[str(image)]],
            "prompts": [[{"role": "user", "content": shown}]],
        }
    )
    with servers.running(app) as address:
        parts = [("image", url), ("video", clip.as_uri()), ("text", text)]
        assert ask(address, parts, "tiny") == (200, wanted[0])
        status, answer = ask(address, [parts[0], parts[2]], "tiny")
        assert status == 200 and answer
        large = picture(tmp_path / "large.png", 400, 90)
        model.preprocessor.video_converter.image_max_pixels = 10**6
        status, said = ask(address, [("image", large), parts[2]], "tiny")
    assert status == 400
    assert "An image must have up to `num_image_blocks` blocks" in said

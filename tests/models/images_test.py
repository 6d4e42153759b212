"""Images beside a pruned video."""

import imageio.v3 as iio
import keras
import numpy as np
import pytest
from keras import ops

from keras_stts import VideoVLM
from tests.models import tiny

IMAGES = {"num_images": 2, "max_crops": 2, "patch_size": 1}


def model_with(num_images, num_frames=4):
    """A model of frames of 16x16 patches; crops overlap by eight."""
    settings = {**IMAGES, "num_images": num_images}
    processor = tiny.preprocessor(
        num_frames, num_blocks=64, sequence_length=32, **settings
    )
    settings |= {"num_frames": num_frames, "num_layers": 2}
    return tiny.shallow(True, processor, **settings)


def image(seed):
    return tiny.video(seed, 1, 16)[0]


def logits(model, x):
    inputs = model.preprocessor.generate_preprocess(x)
    return tiny.run(model, model, inputs), inputs["padding_mask"]


@pytest.fixture(scope="module")
def model():
    return model_with(2)


def test_no_image_is_a_model_without_images(model):
    plain = model_with(0)
    plain.set_weights(model.get_weights())
    x = tiny.raw((4, 3), responses=False)
    ours, mask = logits(model, {**x, "images": [None, None]})
    theirs, _ = logits(plain, x)
    tiny.close(ours[mask], theirs[mask])


def test_each_example_alone(model):
    x = tiny.raw((4, 3), responses=False)
    images = [[image(5), image(6)], [image(7)]]
    both, mask = logits(model, {**x, "images": images})
    for i in range(2):
        one = {name: [x[name][i]] * 2 for name in x}
        alone, _ = logits(model, {**one, "images": [images[i]] * 2})
        tiny.close(alone[0][mask[i]], both[i][mask[i]])
    other, _ = logits(model, {**x, "images": [images[0], [image(8)]]})
    tiny.same(other[0], both[0])
    assert np.abs(other[1] - both[1]).max() > 1e-3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)], ids=str)
def test_rows_with_fewer_images_or_none(order):
    """Each is what it is alone; the last row may have none."""
    model = model_with(2, num_frames=0)
    images = [[image(5), image(6)], [image(7)], None]
    images = [images[i] for i in order]
    prompts = [tiny.PROMPTS[i] for i in order]
    both, mask = logits(model, {"images": images, "prompts": prompts})
    for i in range(3):
        one = {"images": [images[i]] * 3, "prompts": [prompts[i]] * 3}
        alone, _ = logits(model, one)
        tiny.close(alone[0][mask[i]], both[i][mask[i]])


def test_no_images_at_all():
    """A train step is that of the model without images."""
    texts = {"prompts": tiny.PROMPTS, "responses": tiny.RESPONSES}
    weights = []
    for count, images in ((0, {}), (1, {"images": [None] * 3})):
        model = tiny.compile_to_train(model_with(count, num_frames=0))
        model.fit({**images, **texts}, shuffle=False, verbose=0)
        weights.append({v.path: v.numpy() for v in model.weights})
    assert set(weights[0]) == set(weights[1])
    for path, value in weights[0].items():
        tiny.close(value, weights[1][path])


def test_graph_equals_decoding(model):
    x = tiny.raw((4, 3), responses=False)
    x["images"] = [[image(5)], []]
    graph, mask = logits(model, x)
    model.compile(sampler="greedy")
    inputs = model.preprocessor.generate_preprocess(x)
    first = mask.sum(-1)
    inputs = {name: ops.convert_to_tensor(x) for name, x in inputs.items()}
    # JAX would compile each operation by itself.
    is_jax = keras.config.backend() == "jax"
    step = model.make_generate_function() if is_jax else model.generate_step
    out = step(inputs)
    tokens = ops.convert_to_numpy(out["token_ids"])
    for row, place in enumerate(first):
        assert tokens[row, place] == graph[row, place - 1].argmax()


def test_fit_and_generate(tmp_path):
    model = model_with(1, num_frames=0)
    x = {"images": [image(1), image(2)], "prompts": ["a?", "b?"]}
    x["responses"] = ["c", "d"]
    tiny.compile_to_train(model)
    loss = model.fit(x, batch_size=2, epochs=4, verbose=0).history["loss"]
    assert loss[-1] < loss[0]
    x.pop("responses")
    answers = model.generate(x)
    path = str(tmp_path / "preset")
    model.save_to_preset(path)
    loaded = VideoVLM.from_preset(path)
    loaded.compile(sampler="greedy")
    assert loaded.generate(x) == answers


def test_from_files_and_in_tf_data(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = model_with(1, num_frames=0)
    images = [image(1), image(2)]
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path, pixels in zip(paths, images):
        iio.imwrite(path, pixels)
    texts = {"prompts": ["a?", "b?"], "responses": ["c", "d"]}
    wanted = model.preprocessor({"images": images, **texts})
    for given in (paths, np.stack(images)):
        data = tf.data.Dataset.from_tensor_slices({"images": given, **texts})
        for dataset in (
            data.batch(2).map(model.preprocessor),
            data.map(model.preprocessor).batch(2),
        ):
            given = next(iter(dataset))
            keras.tree.map_structure(tiny.same, wanted, given)
        tiny.compile_to_train(model)
        model.fit(data.batch(2), verbose=0)

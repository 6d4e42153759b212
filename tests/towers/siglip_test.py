"""KerasHub's SigLIP inside a `VideoVLM`, of a grid that 3x3 leaves a rest."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

import keras_stts
from tests.gradients import loss_and_gradients
from tests.models import tiny

SIZE = 20  # 5x5 patches: 2x2 blocks.


def tower(num_layers=3):
    keras.utils.set_random_seed(0)
    encoder = keras_hub.models.SigLIPVisionEncoder(
        patch_size=4,
        hidden_dim=16,
        num_layers=num_layers,
        num_heads=2,
        intermediate_dim=24,
        image_shape=(SIZE, SIZE, 3),
    )
    layers = [num_layers - 1, num_layers - 2]
    return encoder, keras_stts.towers.SigLIPTower(encoder, layers)


def model(pruning):
    tokens = tiny.tokenizer()
    _, vision_encoder = tower()
    connector = keras_stts.towers.Connector(2, 8, 16, 24, output_dim=16)
    language_model = keras_stts.language.LanguageModel(
        320,
        num_layers=2,
        hidden_dim=16,
        num_query_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_dim=24,
        additional_vocabulary_size=16,
    )
    backbone = keras_stts.VideoVLMBackbone(
        vision_encoder,
        connector,
        language_model,
        num_frames=tiny.NUM_FRAMES,
        image_patch_id=tokens.image_patch_token_id,
        vision_token_ids=tokens.vision_token_ids,
        pruning=pruning,
    )
    converter = keras_stts.VideoVLMVideoConverter(SIZE, tiny.NUM_FRAMES)
    preprocessor = keras_stts.VideoVLMPreprocessor(
        tokens,
        converter,
        num_blocks=backbone.num_blocks,
        sequence_length=tiny.LENGTH,
        time_tokens=6,
        chat_template=tiny.PLAIN_TEMPLATE,
    )
    return keras_stts.VideoVLM(backbone, preprocessor)


def videos():
    videos = [tiny.video(i, n, SIZE) for i, n in enumerate((4, 2, 3))]
    return {**tiny.raw(), "videos": videos}


def test_whole_frames_are_as_kerashub_has_them():
    encoder, vision = tower(num_layers=3)
    frames = tiny.video(0, 2, SIZE)
    pixels = frames.astype("float32") / 127.5 - 1
    layers = [encoder.encoder_layers[i].output for i in (2, 1)]
    whole = keras.Model(encoder.input, layers)
    wanted = whole.predict({"images": pixels}, verbose=0)
    wanted = np.concatenate(wanted, axis=-1)
    found = ops.convert_to_numpy(vision.encode_images(frames[None]))
    tiny.close(found[0], wanted.reshape(50, 32), 1e-4)
    blocks = vision(frames[None])
    mask = ops.convert_to_numpy(blocks["patch_mask"])
    assert blocks["features"].shape == (1, 8, 9, 32)
    assert mask.sum() == 50


METHODS = [
    keras_stts.pruning.STTS(0.5, layer=0),
    keras_stts.pruning.EVS(0.5),
    keras_stts.pruning.ToMe(0.3),
]
if keras.config.backend() == "jax":
    METHODS = METHODS[:1]  # Seconds to compile each.


@pytest.mark.parametrize("method", METHODS, ids=lambda x: type(x).__name__)
def test_in_a_model(method, tmp_path):
    method = type(method).from_config(method.get_config())
    trained = model(method)
    tiny.compile_to_train(trained, rate=0.5)
    x = videos()
    history = trained.fit(x, batch_size=3, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    del x["responses"]
    answers = trained.generate(x, max_length=19)
    trained.save_to_preset(tmp_path / "siglip")
    load = keras_stts.VideoVLM.from_preset
    other = load(str(tmp_path / "siglip"))
    other.compile(sampler="greedy")
    assert other.generate(x, max_length=19) == answers
    half = load(str(tmp_path / "siglip"), dtype="bfloat16", prune_ratio=0.25)
    assert half.backbone.prune_ratio == 0.25
    dtypes = {v.dtype for v in half.backbone.vision_encoder.weights}
    assert dtypes - {"int32", "int64"} == {"bfloat16"}


def test_rematerialize_does_not_change_gradients():
    frames = tiny.video(0, 2, SIZE)[None]
    _, kept = tower(num_layers=3)
    encoder = keras_stts.towers.SigLIPTower.from_config(kept.get_config())
    again = keras_stts.towers.SigLIPTower.from_config(
        {**kept.get_config(), "rematerialize": True}
    )
    assert again.get_config()["rematerialize"]
    found = []
    for vision in (encoder, again):
        vision.build()
        vision(frames)
        vision.set_weights(kept.get_weights())
        weight = vision.blocks[0].layer.self_attn.key_dense.kernel

        def total(scale, vision=vision):
            return ops.sum(vision(frames)["features"] ** 2) * scale

        slopes = loss_and_gradients(total, np.float32(1), [weight])
        found.append(slopes[2][0])
    assert np.abs(found[0]).max() > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-5)

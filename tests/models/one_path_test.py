"""Training graph, prefill and decoding are one path; videos keep apart."""

import numpy as np
import pytest
from keras import ops

import keras_stts
from keras_stts.compiling import compiled
from tests.models import tiny

PROMPTS = ["what?", "which way does it go?", "how many?"]


@pytest.fixture(scope="module")
def model():
    return tiny.packed(sharp=True)


@pytest.fixture(scope="module")
def inputs(model):
    x = tiny.raw((4, 2, 3), responses=False)
    return model.preprocessor({**x, "prompts": PROMPTS})


@pytest.fixture(scope="module")
def logits(model):
    """Function from inputs to the training graph's logits, compiled."""
    return forward(model)


def forward(model):
    run = compiled(model, lambda x: model(x))
    return lambda x: ops.convert_to_numpy(run(tensors(x)))


def tensors(x):
    return {name: ops.convert_to_tensor(value) for name, value in x.items()}


def rows(x, *chosen):
    return {name: value[list(chosen)] for name, value in x.items()}


def decode_step_by_step(model, inputs):
    """Logits of the text part, one token at a time, from an empty cache."""
    backbone = model.backbone

    def start(x):
        vision = backbone.encode_video(
            x["videos"], keras_stts.ops.Frames(x["frame_mask"])
        )
        prefix = backbone.encode_prefix(
            x["vision_token_ids"], x["vision_mask"], vision
        )
        _, cache = backbone.decode(ops.zeros_like(x["token_ids"]), prefix)
        return prefix, cache

    def step(token, prefix, cache, index):
        hidden, cache = backbone.decode(token, prefix, cache=cache, index=index)
        return model.lm_head(hidden), cache

    prefix, cache = compiled(model, start)(tensors(inputs))
    step = compiled(model, step)
    steps = []
    for i in range(inputs["token_ids"].shape[1]):
        token = ops.convert_to_tensor(inputs["token_ids"][:, i : i + 1])
        index = ops.convert_to_tensor(i, "int32")
        out, cache = step(token, prefix, cache, index)
        steps.append(ops.convert_to_numpy(out))
    return np.concatenate(steps, axis=1)


def real(values, inputs):
    """Those at real tokens of the text."""
    return values[inputs["padding_mask"]]


def test_graph_equals_prefill_equals_decoding(model, inputs, logits):
    graph = logits(inputs)

    def prefill(x):
        hidden, *_ = model.prefill(x)
        return model.lm_head(hidden)

    tiny.close(compiled(model, prefill)(tensors(inputs)), graph)
    stepwise = decode_step_by_step(model, inputs)
    tiny.close(real(stepwise, inputs), real(graph, inputs))
    assert np.abs(real(graph, inputs)).max() > 0.1


def test_each_video_of_a_batch_alone(model, inputs, logits):
    whole = logits(inputs)
    for i in range(3):
        alone = {name: value[[i] * 3] for name, value in inputs.items()}
        tiny.close(logits(alone)[0], whole[i])


@pytest.mark.parametrize("positions", ["consecutive", "original"])
def test_padding_frames_change_nothing(positions):
    padded = tiny.packed(sharp=True, positions=positions)
    short = tiny.packed(sharp=True, positions=positions, num_frames=2)
    short.set_weights(padded.get_weights())
    x = tiny.raw((2,), responses=False)
    outputs = [
        tiny.run(m, m.backbone, m.preprocessor(x)) for m in (padded, short)
    ]
    hidden = [o["hidden_states"] for o in outputs]
    tiny.close(hidden[0], hidden[1])
    tiny.close(outputs[0]["scores"][:, :2], outputs[1]["scores"])
    kept = outputs[0]["kept"]
    tiny.same(kept[:, :2], outputs[1]["kept"])
    assert not kept[:, 2:].any()


def test_no_leak_between_videos(model, inputs, logits):
    changed = dict(inputs)
    changed["videos"] = inputs["videos"].copy()
    changed["videos"][1] = 255 - changed["videos"][1]
    before, after = logits(inputs), logits(changed)
    tiny.same(before[[0, 2]], after[[0, 2]])
    assert (before[1] != after[1]).any()


def test_pixels_of_padding_frames_change_nothing(model, inputs, logits):
    changed = dict(inputs)
    changed["videos"] = inputs["videos"].copy()
    changed["videos"][1, 2:] = 200
    tiny.same(logits(inputs), logits(changed))


def test_padding_after_a_text_changes_nothing(model, inputs, logits):
    changed = dict(inputs)
    changed["token_ids"] = np.where(
        inputs["padding_mask"], inputs["token_ids"], 7
    )
    before, after = logits(inputs), logits(changed)
    tiny.same(real(before, inputs), real(after, inputs))


def test_zero_ratio_keeps_all_and_needs_no_scorer(inputs):
    whole = tiny.packed(sharp=True, prune_ratio=0)
    again = type(whole.backbone).from_config(whole.backbone.get_config())
    assert not again.pruning.trainable_variables
    before = tiny.run(whole, whole.backbone, inputs)
    assert set(before) == {"hidden_states"}
    for variable in whole.backbone.pruning.scorer.variables:
        variable.assign(variable.value + 1)
    after = tiny.run(whole, whole.backbone, inputs)
    tiny.same(before["hidden_states"], after["hidden_states"])


def test_ratio_too_small_to_prune_keeps_all(inputs):
    """The same as ratio 0, but for the bias of the scores."""
    whole = tiny.packed(sharp=True, prune_ratio=0)
    none = tiny.packed(sharp=True, prune_ratio=0.01, pruning="random")
    got, wanted = (tiny.run(m, m.backbone, inputs) for m in (none, whole))
    real_blocks = np.repeat(inputs["frame_mask"][..., None], 4, axis=-1)
    tiny.same(got["kept"], real_blocks)
    tiny.close(got["hidden_states"], wanted["hidden_states"], 1e-4)


def test_budget_of_each_video(model, inputs):
    kept = tiny.run(model, model.backbone, inputs)["kept"]
    assert kept.sum((1, 2)).tolist() == [8, 4, 6]
    assert kept[:, 0].all()


def test_original_positions(inputs, logits):
    """Other positions than consecutive ones, decoded as they are trained."""
    m = tiny.packed(sharp=True, positions="original")
    graph = forward(m)(inputs)
    tiny.close(
        real(decode_step_by_step(m, inputs), inputs), real(graph, inputs)
    )
    assert np.abs(graph - logits(inputs)).max() > 1e-3


def test_several_texts_of_one_video(model, inputs, logits):
    """What beam search and several questions a video need."""
    one = rows(inputs, 0)
    texts = inputs["token_ids"]

    def shared(x, texts):
        _, prefix, _ = model.prefill(x)
        return model.lm_head(model.backbone.decode(texts, prefix)[0])

    got = ops.convert_to_numpy(
        compiled(model, shared)(tensors(one), ops.convert_to_tensor(texts))
    )
    tiny.close(got, logits({**rows(inputs, 0, 0, 0), "token_ids": texts}))

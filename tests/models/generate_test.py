"""Generation, from videos and prompts to answers."""

import copy

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_stts.compiling import compiled
from tests.models import tiny

PROMPTS = ["what?", "which way does it go?", "how many?"]


def build(**kwargs):
    """A model whose language model has two layers, each with a cache."""
    return tiny.shallow(sharp=True, num_layers=2, **kwargs)


@pytest.fixture(scope="module")
def model():
    model = build()
    model.compile(sampler="greedy")
    return model


@pytest.fixture
def raw():
    return {**tiny.raw((4, 2, 3), responses=False), "prompts": PROMPTS}


@pytest.fixture(scope="module")
def answers(model):
    x = {**tiny.raw((4, 2, 3), responses=False), "prompts": PROMPTS}
    return model.generate(x)


def single(raw, i):
    return {name: value[i] for name, value in raw.items()}


def test_list_and_single_inputs(model, raw, answers):
    assert len(answers) == 3 and all(type(a) is str for a in answers)
    assert len(set(answers)) > 1 and all(answers)
    for i in range(3):
        one = single(raw, i)
        assert model.generate(one) == answers[i]
        turned = dict(reversed(one.items()))
        assert model.generate(turned) == answers[i]
        listed = {name: [value] for name, value in turned.items()}
        assert model.generate(listed) == [answers[i]]


def test_inputs_are_left_alone(model, raw):
    for x in (raw, single(raw, 0)):
        before = copy.deepcopy(x)
        model.generate(x)
        assert list(x) == list(before)
        assert x["prompts"] == before["prompts"]
        assert type(x["videos"]) is type(before["videos"])


def test_arrays_of_videos_and_of_prompts(model, raw):
    x = {**raw, "videos": [tiny.video(i) for i in range(3)]}
    arrays = {
        "videos": np.stack(x["videos"]),
        "prompts": np.array(x["prompts"]),
    }
    answers = model.generate(x)
    assert model.generate(arrays) == answers
    dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(3)
    assert model.generate(dataset) == answers


def greedy_by_hand(model, x, stop=None):
    """Answers from the training graph, one token at a time."""
    run = compiled(model, lambda x: model(x))
    x = model.preprocessor.generate_preprocess(x)
    length = x["token_ids"].shape[1]
    answers = []
    for row in range(len(x["token_ids"])):
        one = {name: value[row : row + 1].copy() for name, value in x.items()}
        place = int(one["padding_mask"].sum())
        answer = []
        while place < length:
            tensors = {k: ops.convert_to_tensor(v) for k, v in one.items()}
            logits = ops.convert_to_numpy(run(tensors))
            token = int(logits[0, place - 1].argmax())
            answer.append(token)
            if token == stop:
                break
            one["token_ids"][0, place] = token
            one["padding_mask"][0, place] = True
            place += 1
        answers.append(answer)
    return answers


def generated(outputs, prompts):
    """Ids of the answers in what generation returned for prompts."""
    new = np.array(outputs["padding_mask"]) & ~prompts["padding_mask"]
    return [ids[mask].tolist() for ids, mask in zip(outputs["token_ids"], new)]


@pytest.fixture(scope="module")
def by_hand(model):
    x = {**tiny.raw((4, 2), responses=False), "prompts": PROMPTS[:2]}
    return greedy_by_hand(model, x)


def test_greedy_equals_the_training_graph(model, raw, by_hand):
    """And preprocessed inputs need no preprocessor."""
    x = model.preprocessor.generate_preprocess(raw)
    bare = build()
    bare.preprocessor = None
    bare.compile(sampler="greedy")
    outputs = bare.generate(x, stop_token_ids=None, strip_prompt=False)
    assert outputs["padding_mask"].all()
    assert generated(outputs, x)[:2] == by_hand
    answers = bare.generate(x, stop_token_ids=None)
    for i, answer in enumerate(by_hand):
        assert answers["token_ids"][i, : len(answer)].tolist() == answer
        assert answers["padding_mask"][i].sum() == len(answer)
    with pytest.raises(ValueError, match="`preprocessor` must be attached"):
        bare.generate(x)


def text_of(model, ids):
    """What is read of an answer: its tokens, but for special ones."""
    x = {"token_ids": np.array(ids), "padding_mask": np.ones(len(ids), bool)}
    return model.preprocessor.generate_postprocess(x)


def test_stop_tokens(model, raw, by_hand):
    stop = by_hand[0][3]
    wanted = [
        text_of(
            model,
            answer[: answer.index(stop) + 1] if stop in answer else answer,
        )
        for answer in by_hand
    ]
    got = model.generate(raw, stop_token_ids=(stop,))
    assert got[:2] == wanted
    whole = model.generate(raw, stop_token_ids=None)
    assert len(got[0]) < len(whole[0])


def test_strip_prompt(model, raw, answers):
    whole = model.generate(raw, strip_prompt=False)
    assert whole == [f"{p}\n{a}" for p, a in zip(PROMPTS, answers)]


def test_max_length(model, raw, answers):
    """Tokens of prompt and answer together."""
    short = model.generate(raw, max_length=22)
    for one, other in zip(short, answers):
        assert other.startswith(one.rstrip("\ufffd"))
    assert short != answers
    x = model.preprocessor.generate_preprocess(raw, sequence_length=22)
    assert x["token_ids"].shape == (3, 22)


def test_a_second_call_compiles_nothing(model, raw, monkeypatch):
    traces = []

    def generate_step(*args, **kwargs):
        traces.append(1)
        return type(model).generate_step(model, *args, **kwargs)

    monkeypatch.setattr(model, "generate_step", generate_step)
    monkeypatch.setattr(model, "generate_function", None)
    first = model.generate(raw)
    compiled = len(traces)
    other = {**raw, "prompts": ["which way?", "why?", "how?"]}
    assert model.generate(other) != first
    assert model.generate(raw) == first
    runs = 3 if keras.config.backend() == "torch" else compiled
    assert len(traces) == runs


@pytest.mark.parametrize(
    "sampler",
    [
        "top_k",
        keras_hub.samplers.BeamSampler(num_beams=2),
    ],
)
def test_samplers(sampler, raw):
    model = build()
    model.compile(sampler=sampler)
    answers = model.generate(raw, max_length=21)
    assert len(answers) == 3 and all(type(a) is str for a in answers)


def test_one_beam_is_greedy(model, raw, answers):
    model = build()
    model.compile(sampler=keras_hub.samplers.BeamSampler(num_beams=1))
    assert model.generate(raw) == answers


def test_random_pruning_generates(raw):
    model = build(pruning="random")
    model.compile(sampler="greedy")
    assert len(model.generate(raw, max_length=21)) == 3

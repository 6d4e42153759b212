"""Answers cut out of what was generated."""

import keras
import numpy as np
import pytest

from keras_stts.evaluation import answering
from keras_stts.evaluation.answering import LEAST_LENGTH
from keras_stts.evaluation.answering import Answerer
from tests.models import tiny


@pytest.fixture(scope="module")
def answerer():
    model = tiny.model()
    return Answerer(model, model.preprocessor, max_new_tokens=3)


def test_answers_end_at_the_stop_or_are_as_long_as_wanted(answerer):
    tokenizer = answerer.preprocessor.tokenizer
    stop = tokenizer.end_token_id
    a, b, c, d = (int(tokenizer.tokenize(x)[0]) for x in "abcd")
    token_ids = np.array(
        [
            [a, a, b, stop, c, c],  # The prompt is "aa".
            [a, b, c, d, a, b],  # It is "a" here.
            [a, stop, a, stop, b, b],  # And may hold a stop.
        ]
    )
    prompt = np.array(
        [[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1] + 3 * [0]]
    )
    texts, counts = answerer._texts({"padding_mask": prompt}, token_ids)
    assert texts == ["b", "bcd", ""]
    assert counts.tolist() == [1, 3, 0]


def test_decoding_stops_where_all_answers_do(answerer, monkeypatch):
    """Whatever room there is behind, and however long another prompt is."""
    x = answerer.preprocess(
        {"videos": [tiny.video()] * 2, "prompts": ["a", "a " * 20]}
    )
    prompts = x["padding_mask"].sum(-1)
    steps = []

    def decode(token, index, cache, prefix):
        steps.append(index)
        logits = np.zeros((2, 320), "float32")
        logits[:, ord("b")] = 1
        return keras.ops.convert_to_tensor(logits), None, cache

    monkeypatch.setattr(answerer.model, "decode", decode)
    tensors = {name: keras.ops.convert_to_tensor(x[name]) for name in x}
    token_ids = answerer._say(tensors, (None, None, None))
    _, counts = answerer._texts(x, keras.ops.convert_to_numpy(token_ids))
    assert counts.tolist() == [3, 3]
    wanted = prompts.max() - prompts.min() + 3 + 1
    assert answerer._steps(x, counts) == wanted
    if keras.config.backend() != "jax":  # There it is traced once.
        assert len(steps) == wanted


def test_text_parts_have_few_lengths_with_room_for_the_answer(answerer):
    lengths = []
    for count in range(1, 400, 7):
        x = answerer.preprocess(
            {"videos": [tiny.video()], "prompts": ["a " * count]}
        )
        real, padded = x["padding_mask"].sum(), x["token_ids"].shape[1]
        assert 3 <= padded - real and padded == x["padding_mask"].shape[1]
        assert padded - real - 3 < max(LEAST_LENGTH, real / 2)
        lengths.append(padded)
    assert lengths == sorted(lengths) and len(set(lengths)) < 20


def test_another_number_of_frames_is_another_preprocessor(answerer):
    one = answerer.preprocessor
    other = one.with_frames(2, "uniform_last_frame")
    assert other.num_frames == 2 and one.num_frames == tiny.NUM_FRAMES
    assert other.video_converter.sampling == "uniform_last_frame"
    assert other.tokenizer is one.tokenizer
    assert other.chat_template == one.chat_template
    same = one.with_frames()
    inputs = {"videos": [tiny.video()], "prompts": ["what?"]}
    for value, wanted in zip(same(inputs).values(), one(inputs).values()):
        np.testing.assert_array_equal(value, wanted)


def test_seconds_are_those_of_a_question_not_of_its_batch(monkeypatch):
    """By a clock on which the first prefill takes 111 s, those after it 12."""
    model, now = tiny.model(), [0.0]
    answerer = Answerer(model, model.preprocessor, max_new_tokens=3)
    prefills = iter((111.0, 12.0, 12.0))
    answerer._prefill = lambda x: ({}, next(prefills))
    answerer._decode = lambda x, _: np.full(4, 8.0)
    monkeypatch.setattr(
        answering, "wait", lambda s: now.append(float(np.max(s)))
    )
    monkeypatch.setattr(answering.time, "perf_counter", lambda: sum(now))
    # The batch takes 4 steps, for answers of these lengths.
    monkeypatch.setattr(answerer, "_steps", lambda *_: 4)
    texts = (["a"] * 4, np.array([1, 3, 0, 2]))
    monkeypatch.setattr(answerer, "_texts", lambda *_: texts)
    examples = {"videos": [tiny.video()] * 4, "prompts": ["a"] * 4}
    for compiling in (99.0 / 4, 0.0):
        costs = answerer(examples)
        assert [c["prefill_seconds"] for c in costs] == [3.0] * 4
        assert [c["compile_seconds"] for c in costs] == [compiling] * 4
        # Two seconds a step of the batch, half a second a row's: 2, 3, 1, 3.
        wanted = [1.0, 1.5, 0.5, 1.5]
        assert [c["decode_seconds"] for c in costs] == wanted

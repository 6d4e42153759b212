"""Answers of batches are those of the model, each row with its settings."""

import keras
import keras_hub
import numpy as np
import pytest

import keras_stts
from keras_stts.serving.engine import Engine
from keras_stts.serving.limits import Limits
from keras_stts.serving.protocol import Asked
from keras_stts.serving.refusals import Refused
from keras_stts.serving.sampler import RowSampler

QUESTIONS = 3


CLIPS = [keras_stts.datasets.shapes.render("test", i) for i in range(3)]


@pytest.fixture(scope="module")
def asked():
    """Pairs of frames and questions."""
    return [(clip.frames, clip.questions[0]["question"]) for clip in CLIPS]


@pytest.fixture(scope="module")
def expected():
    """What the model answers if it takes the likeliest tokens."""
    return [clip.questions[0]["answer"] for clip in CLIPS]


@pytest.fixture(scope="module")
def engine():
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    engine = Engine(model, Limits(max_batch=QUESTIONS))
    engine.warm_up()
    return engine


def test_a_warm_model_is_not_compiled_again(engine, asked, monkeypatch):
    """Python sees a forward pass only while it is compiled."""
    seen = []
    encode = keras_stts.VideoVLMBackbone.encode

    def count(*args):
        seen.append(args)
        return encode(*args)

    monkeypatch.setattr(keras_stts.VideoVLMBackbone, "encode", count)
    answers_to(engine, [row_of(engine, asked[0])])
    assert len(seen) == (keras.config.backend() == "torch")


class Job:
    """Keeps the pieces that are sent."""

    def __init__(self, row):
        self.row = row
        self.pieces = []
        self.send = self.pieces.append
        self.is_gone = False


def answers_to(engine, rows):
    """Answers, which are what the pieces are together."""
    jobs = [Job(row) for row in rows]
    answers = engine.answer(jobs)
    assert ["".join(j.pieces) for j in jobs] == [a.text for a in answers]
    return answers


def row_of(engine, pair, **settings):
    frames, question = pair
    content = [{"type": "video"}, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    wanted = Asked(messages, [("video", "")], **settings)
    return engine.prepare(wanted, [("video", frames)])


def test_answers(engine, asked, expected):
    rows = [row_of(engine, pair) for pair in asked]
    answers = answers_to(engine, rows)
    assert [answer.text for answer in answers] == expected
    assert {answer.reason for answer in answers} == {"stop"}
    tokenizer = engine.preprocessor.tokenizer
    counts = [len(tokenizer(text)) for text in expected]
    assert [answer.tokens for answer in answers] == counts


def test_generate_says_so(asked, expected):
    if keras.config.backend() != "torch":
        pytest.skip("One is enough, as this compiles another program.")
    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", prune_ratio=0.5, sampler="greedy"
    )
    frames, questions = zip(*asked)
    x = {"videos": list(frames), "prompts": list(questions)}
    assert model.generate(x) == expected


def test_fewer_rows(engine, asked, expected):
    for pair, text in zip(asked, expected):
        (answer,) = answers_to(engine, [row_of(engine, pair)])
        assert answer.text == text


def test_seeds(engine, asked):
    """A row's tokens do not depend on what is asked beside it."""
    settings = {"temperature": 2.0, "max_tokens": 4}
    row = row_of(engine, asked[0], seed=7, **settings)
    other = row_of(engine, (asked[1][0], "which?"), **settings)
    alone = answers_to(engine, [row])
    beside = answers_to(engine, [other, row, other])
    assert beside[1].text == alone[0].text


def test_who_is_gone_is_not_answered(engine, asked):
    job = Job(row_of(engine, asked[0], temperature=2.0))
    job.is_gone = True
    (answer,) = engine.answer([job])
    assert answer.tokens <= 1


def test_counts_of_a_prompt(engine, asked):
    row = row_of(engine, asked[0])
    x = engine.preprocessor.generate_preprocess(
        {"videos": [asked[0][0]], "prompts": [asked[0][1]]}
    )
    assert row.vision_tokens == x["vision_mask"].sum()
    assert row.prompt_tokens == row.vision_tokens + x["padding_mask"].sum()
    for name, value in x.items():
        np.testing.assert_array_equal(row.arrays[name], value[0], err_msg=name)


def test_rows_have_their_own_settings(engine, asked, expected):
    """One is cut, one is drawn of few tokens, one stops at a text."""
    text = expected[2]
    rows = [
        row_of(engine, asked[0], temperature=2.0, max_tokens=2),
        row_of(engine, asked[1], temperature=2.0, top_p=1e-6),
        row_of(engine, asked[2], stop=("never", text[1])),
    ]
    answers = answers_to(engine, rows)
    assert answers[0].tokens <= 2
    assert answers[1].text == expected[1]
    assert answers[2].text == text[:1]
    assert answers[2].reason == "stop"


def test_a_length_is_kept(engine, asked):
    """At a temperature at which answers are long."""
    settings = {"temperature": 2.0, "max_tokens": 1}
    rows = [row_of(engine, pair, **settings) for pair in asked]
    for answer in answers_to(engine, rows):
        assert answer.tokens <= 1
        assert answer.reason == ("length" if answer.tokens else "stop")


def test_drawn_tokens():
    """Of equally likely tokens, or of three of which one is likely."""
    rows, sampler = 50, RowSampler()
    logits = np.tile([[1.0, 1.0, 1.0, -9.0], [2.0, 1.0, 9.0, -9.0]], (25, 1))
    temperatures = np.arange(rows) >= 20
    shares = np.where(np.arange(rows) < 40, 1.0, 0.5)
    sampler.set_rows(temperatures, shares, range(rows), np.zeros(rows))
    tokens = sampler.get_next_token(sampler.compute_probabilities(logits))
    assert set(tokens[:20:2]) == {0}
    assert set(tokens[1::2]) == {2}  # The likeliest.
    assert set(tokens[20:40:2]) == {0, 1, 2}
    assert len(set(tokens[40::2])) == 2  # Two have half of it together.


def test_many_tokens_are_sorted_only_if_needed():
    sampler = RowSampler()
    logits = np.zeros((2, 5000))
    logits[0, 4321] = 20.0
    sampler.set_rows([1.0, 1.0], [0.9, 0.9], [1, 2], [0, 0])
    probabilities = sampler.compute_probabilities(logits)
    tokens = [sampler.get_next_token(probabilities) for _ in range(9)]
    assert {row[0] for row in tokens} == {4321}
    assert len({row[1] for row in tokens}) > 1


@pytest.mark.parametrize(
    "settings, question, reason",
    [
        ({"max_tokens": 65}, "why?", "room"),
        ({}, "why? " * 100, "sequence_length|room"),
        ({}, "<|video|>", "vision tokens"),
    ],
)
def test_refused(engine, asked, settings, question, reason):
    with pytest.raises(Refused, match=reason) as found:
        row_of(engine, (asked[0][0], question), **settings)
    assert found.value.status == 400


@pytest.mark.parametrize(
    "kinds, reason",
    [
        ([], "needs a video"),
        (["video", "video"], "up to 1 video"),
        (["video", "image"], "up to 0 image"),
    ],
)
def test_media_are_refused(engine, kinds, reason):
    with pytest.raises(Refused, match=reason):
        engine.check_media([(kind, "") for kind in kinds])


def test_the_longest_answer_of_a_server(asked):
    if keras.config.backend() != "torch":
        pytest.skip("One is enough, as this compiles another program.")
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    assert not isinstance(model.sampler, keras_hub.samplers.GreedySampler)
    engine = Engine(model, Limits(max_batch=1, max_tokens=1))
    assert row_of(engine, asked[0]).length == 1
    with pytest.raises(Refused, match="room for 1"):
        row_of(engine, asked[0], max_tokens=2)

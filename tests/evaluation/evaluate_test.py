"""From videos and questions to results, and on after a kill."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts.evaluation import Benchmark
from keras_stts.evaluation import load_results
from keras_stts.evaluation import plots
from keras_stts.evaluation import runner
from keras_stts.evaluation import table
from keras_stts.evaluation.answering import kept_by_row
from keras_stts.evaluation.answering import kept_by_time
from keras_stts.evaluation.identity import fingerprint
from tests.data.reading_test import write
from tests.models import tiny

COUNT = 5
STUBBED = """
import sys, time
from keras_stts.evaluation import runner
from tests.evaluation import evaluate_test as test
from tests.models import tiny

class Slow(test.Stub):
    def __call__(self, examples):
        time.sleep(0.3)
        return super().__call__(examples)

runner.Answerer = Slow
test.run(tiny.shallow(), sys.argv[1], output=sys.argv[2])
"""


class Stub:
    """Answers with the first letter of the question, at no cost."""

    asked = []

    def __init__(self, model, preprocessor, max_new_tokens):
        self.preprocessor = preprocessor
        self.max_new_tokens = max_new_tokens

    def __call__(self, examples):
        self.asked += examples["prompts"]
        costs = dict.fromkeys(keras_stts.evaluation.results.MEANS, 1.0)
        costs |= {"compile_seconds": 0.5, "text_length": 32}
        costs["peak_memory"] = {"host": 2**20, "device": None}
        return [{"prediction": p[:1], **costs} for p in examples["prompts"]]


def read(folder):
    """Two questions about each video; the first one asks for a clip."""
    for line in open(folder / "rows.jsonl"):
        yield json.loads(line)


MINE = Benchmark("mine", read, max_new_tokens=3, unparsed="dropped")


def run(model, folder, benchmark=MINE, **kwargs):
    kwargs = {"batch_size": 2, "progress": False, **kwargs}
    return keras_stts.evaluate(model, benchmark, folder, **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    rows = []
    for i in range(COUNT):
        seconds, video = min(1 + i, 3), f"{i}.mp4"
        write(folder / video, "-c:v libx264", rate=10, seconds=seconds)
        row = {"id": f"{i}", "video": video, "question": f"{i} {'a' * i}"}
        rows.append(row | {"answer": str(i % 3)})
    rows[0]["clip"] = [0.0, 0.5]
    again = {"id": "again", "question": "1 again", "answer": "not this"}
    rows.append(rows[1] | again)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def model():
    return tiny.shallow(sharp=True)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(runner, "Answerer", Stub)
    monkeypatch.setattr(Stub, "asked", [])
    return Stub


def lines(output, name="*/predictions.jsonl"):
    (path,) = pathlib.Path(output).glob(name)
    return [json.loads(line) for line in path.read_text().splitlines()]


def generate(model, questions, num_frames):
    """What the model says without all this."""
    converter = model.preprocessor.video_converter
    videos = [
        keras_stts.data.read_video(
            question.video,
            num_frames,
            size=converter.image_size,
            clip=question.clip,
        )
        for question in questions
    ]
    prompts = [question.prompt for question in questions]
    model.compile(sampler="greedy")
    return model.generate({"videos": videos, "prompts": prompts})


def test_one_set_of_weights_at_several_numbers_of_frames(
    folder, model, tmp_path
):
    wanted = (2, tiny.NUM_FRAMES)
    results = run(model, folder, num_frames=wanted, output=tmp_path)
    for result, frames in zip(results, wanted):
        assert result["num_frames"] == frames
        rows = lines(tmp_path, f"mine_{frames}_frames/predictions.jsonl")
        assert len(rows) == result["n"] == 6
        check_costs(model, rows, result, frames)
    rows = lines(tmp_path, "mine_2_frames/predictions.jsonl")
    said = {row["id"]: row["prediction"] for row in rows}
    questions = MINE.load(folder)
    built = generate(tiny.shallow(sharp=True, num_frames=2), questions, 2)
    for question, text in zip(questions, built):
        # It may be longer there, where it has room to the end.
        assert text.startswith(said[question.id])
    assert any(said.values())  # Some answer special tokens alone.
    assert results[0]["vision_tokens"] < results[1]["vision_tokens"]
    assert results == sorted(load_results(tmp_path), key=lambda r: r["flops"])
    assert "2 frames, 50% pruned" in table(results)


def check_costs(model, rows, result, frames):
    backbone = model.backbone
    most = keras_stts.ops.num_kept_blocks(backbone.num_blocks, frames, 0.5)
    counts = [row["vision_tokens"] for row in rows]
    assert max(counts) == most
    # The clip of half a second has one frame, which is never pruned.
    assert min(counts) == backbone.num_blocks
    assert result["vision_tokens"] == np.mean(counts)
    for row in rows:
        assert 1 <= row["answer_tokens"] <= MINE.max_new_tokens
        assert row["prefill_seconds"] > 0 and row["decode_seconds"] > 0
    (long,) = [row for row in rows if row["id"] == "3"]  # No frame is padding.
    for name in ("kept_by_row", "kept_by_time"):
        assert np.mean(long[name]) == pytest.approx(0.5, abs=1e-3)
    length = {row["text_length"] for row in rows}
    assert length == {32}
    flops = model.flops(num_frames=frames, text_length=32)["total"]
    assert result["flops"] == flops
    assert result["compile_seconds"] >= 0
    host = result["peak_memory"]["host"]
    assert host is None or 10**8 < host < 10**11


def test_results_of_answers(folder, model, stub, tmp_path):
    result = run(model, folder, output=tmp_path)
    # Of 0 to 4 the first three are right; "again" is not.
    assert result["accuracy"] == 3 / 6 and result["n"] == 6
    assert result["interval"][0] < 0.5 < result["interval"][1]
    assert result["compile_seconds"] == 3.0  # Half a second a question here.
    assert result["peak_memory"] == {"host": 2**20, "device": None}
    assert result["environment"]["backend"] == keras.config.backend()
    (saved,) = load_results(tmp_path)
    assert saved == result
    # Questions about one video are asked side by side.
    order = [line["id"] for line in lines(tmp_path)]
    assert order == ["0", "1", "again", "2", "3", "4"]
    first = lines(tmp_path)[1]
    assert first["prediction"] == first["parsed"] == "1" and first["right"]
    assert first["video"] == str(folder / "1.mp4")


@pytest.mark.once
def test_nothing_is_asked_twice(folder, model, stub, tmp_path):
    run(model, folder, output=tmp_path, limit=2)
    assert load_results(tmp_path)[0]["not_asked"] == 4
    assert stub.asked == ["0 ", "1 a"]
    result = run(model, folder, output=tmp_path, batch_size=3)
    asked = list(stub.asked)
    # The last batch is filled up.
    assert sorted(asked[2:]) == ["1 again"] * 3 + ["2 aa", "3 aaa", "4 aaaa"]
    assert result["batch_size"] == [2, 3]
    assert run(model, folder, output=tmp_path) == result
    assert stub.asked == asked and len(lines(tmp_path)) == 6


@pytest.mark.once
def test_goes_on_after_kill_9(folder, model, stub, tmp_path):
    """Kills a process that is at it, and then goes on with the rest."""
    root = pathlib.Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBED, str(folder), str(tmp_path)], cwd=root
    )
    path = tmp_path / "mine_4_frames/predictions.jsonl"
    while not (path.exists() and path.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, "It ended before it could be killed."
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = lines(tmp_path)
    assert 2 <= len(before) < 6
    result = run(tiny.shallow(), folder, output=tmp_path)
    after = lines(tmp_path)
    assert after[: len(before)] == before
    assert sorted(line["id"] for line in after) == list("01234") + ["again"]
    missing = {line["prompt"] for line in after[len(before) :]}
    assert set(stub.asked) == missing
    assert result["n"] == 6 and result["accuracy"] == 0.5


@pytest.mark.once
def test_an_interruption_leaves_usable_files(
    folder, model, stub, tmp_path, monkeypatch
):
    def interrupted(self, examples):
        if self.asked:
            raise KeyboardInterrupt
        return answer(self, examples)

    answer = Stub.__call__
    monkeypatch.setattr(Stub, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(model, folder, output=tmp_path)
    assert [line["id"] for line in lines(tmp_path)] == ["0", "1"]
    monkeypatch.setattr(Stub, "__call__", answer)
    assert run(model, folder, output=tmp_path)["n"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 5}, "{'max_new_tokens': 5} for"),
        ({"sampling": "uniform_last_frame"}, "holds those of {'sampling'"),
    ],
)
@pytest.mark.once
def test_other_settings_are_refused(
    folder, model, stub, tmp_path, change, message
):
    run(model, folder, output=tmp_path)
    with pytest.raises(ValueError, match=message):
        run(model, folder, output=tmp_path, **change)


def test_other_weights_and_questions_are_refused(folder, model, stub, tmp_path):
    run(model, folder, output=tmp_path)
    with pytest.raises(ValueError, match="{'weights': "):
        run(tiny.shallow(), folder, output=tmp_path)
    other = Benchmark("mine", read, "Hm. {question}", max_new_tokens=3)
    with pytest.raises(ValueError, match="{'questions': "):
        run(model, folder, other, output=tmp_path)


def test_other_weights_differ_in_any_place(model):
    before = fingerprint(model)
    weight = model.backbone.token_embedding.embeddings
    value = keras.ops.convert_to_numpy(weight).copy()
    other = value.copy()
    other[7, 5] += 1
    weight.assign(other)
    changed = fingerprint(model)
    weight.assign(value)
    assert changed != before == fingerprint(model)


@pytest.mark.once
def test_other_videos_are_refused(folder, model, stub, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    run(model, mine, output=tmp_path / "out")
    (mine / "4.mp4").unlink()
    # What is gone was answered when it was there.
    run(model, mine, output=tmp_path / "out")
    shutil.copy(folder / "0.mp4", mine / "3.mp4")
    with pytest.raises(ValueError, match="3.mp4', another one"):
        run(model, mine, output=tmp_path / "out")


def test_pruning_inside_the_language_model(folder, tmp_path):
    """What is left, and what it is called."""
    inside = keras_stts.pruning.FastV(layer=1, ratio=0.5)
    results = []
    for ratio in (0.0, 0.5):
        both = tiny.model(
            sharp=True,
            processor=tiny.preprocessor(prompt_mask=True),
            prune_ratio=ratio,
            language_pruning=inside,
        )
        (tmp_path / f"{ratio}").mkdir()
        result = run(both, folder, output=tmp_path / f"{ratio}")
        assert result["language_pruning"]["class_name"] == "FastV"
        backbone = both.backbone
        for row in lines(tmp_path / f"{ratio}"):
            _, left = inside.counts(row["vision_tokens"], backbone.grid)
            assert row["vision_tokens_left"] == left
            assert np.mean(row["kept_by_row"]) == pytest.approx(
                np.mean(row["kept_by_time"]), abs=1e-3
            )
        share = result["vision_tokens_left"] / result["vision_tokens"]
        assert share == pytest.approx(0.5, abs=0.02)
        results.append(result)
    assert results[0]["pruning"] is None
    assert results[0]["vision_tokens"] > results[1]["vision_tokens"]
    shown = table(results)
    assert "4 frames, FastV 50%" in shown
    assert "4 frames, 50% pruned, FastV 50%" in shown
    for plot in (plots.plot_kept_by_row, plots.plot_accuracy):
        (legend,) = plot(results).legends
        assert len(legend.get_texts()) == 2


@pytest.fixture
def damaged(folder, tmp_path):
    """The same with a video that is cut and one that is missing."""
    rows = [json.loads(line) for line in open(folder / "rows.jsonl")]
    for row in rows:
        row["video"] = str(folder / row["video"])
    data = (folder / "1.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    rows[1]["video"] = rows[5]["video"] = "cut.mp4"
    rows[3]["video"] = "none.mp4"
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.once
def test_unreadable_videos_are_counted(damaged, model, stub, tmp_path):
    with pytest.raises(ValueError, match="cut.mp4"):
        run(model, damaged, batch_size=1)
    assert stub.asked == ["0 "]
    result = run(model, damaged, on_error="skip")
    assert result["unreadable"] == 3 and result["n"] == 3
    assert "3 questions about unreadable videos" in table([result])
    run(model, damaged, on_error="report", output=tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*/unreadable.json")
    found = {row["id"]: row["reason"] for row in json.loads(path.read_text())}
    assert set(found) == {"1", "3", "again"}
    assert "cut.mp4" in found["again"] and "none.mp4" in found["3"]


def test_quirks_of_the_published_code(folder, model, stub):
    def parse(text, question):
        return None if text in "34" else text

    odd = Benchmark("odd", read, parse=parse, unparsed="dropped")
    result = run(model, folder, odd)
    assert result["n"] == 6 and result["accuracy"] == 0.5
    assert result["unparsed"] == 2 / 6
    result = run(model, folder, odd, reference_quirks=True)
    assert result["n"] == 4 and result["accuracy"] == 3 / 4
    assert result["unparsed"] == 2 / 6


@pytest.mark.once
def test_a_table_needs_no_folder(folder, model, stub, tmp_path):
    row = {"video": str(folder / "0.mp4"), "prompt": "1 a", "response": "1."}
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(row))
    assert run(model, None, str(path))["accuracy"] == 1


@pytest.mark.once
def test_a_progress_bar_counts(folder, model, stub, capsys):
    run(model, folder, progress=True)
    assert "6/6" in capsys.readouterr().out
    run(model, folder)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be positive"),
        ({"limit": -1}, "`limit` must be positive"),
        ({"limit": 2.5}, "`limit` must be positive, and an int"),
        ({"batch_size": "8"}, "`batch_size` must be positive, and an int"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be positive"),
        ({"num_frames": True}, "`num_frames` must be positive, and an int"),
        ({"num_frames": []}, "Received: num_frames=.."),
        ({"num_frames": [4, 1]}, "With num_frames=1: .* Ask with more"),
        ({"benchmark": "nextq", "folder": None}, "one of nextqa, "),
        ({"num_frames": [4, 0]}, "`num_frames` must be positive"),
        ({"on_error": "ignore"}, "one of raise, skip, report"),
        ({"on_error": "report"}, "Received: output=None"),
        ({"folder": None}, "`folder` must hold the benchmark's files"),
    ],
)
@pytest.mark.once
def test_wrong_arguments(folder, model, change, message):
    arguments = {"folder": folder, **change}
    with pytest.raises(ValueError, match=message):
        run(model, **arguments)


@pytest.mark.once
def test_a_name_is_no_model(folder):
    with pytest.raises(ValueError, match="must be a `keras_stts.VideoVLM`"):
        run("shapes_tiny", folder)


def test_a_model_needs_its_preprocessor(folder):
    bare = keras_stts.VideoVLM(tiny.model().backbone)
    with pytest.raises(ValueError, match="must have a preprocessor"):
        run(bare, folder)


@pytest.mark.once
def test_kept_shares_by_hand():
    kept = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 1]], bool)
    np.testing.assert_allclose(kept_by_row(kept, (2, 2)), [3 / 6, 4 / 6])
    # Frames are shown from 0, 1/3 and 2/3 of the video on.
    np.testing.assert_allclose(kept_by_time(kept, 3), [1, 0.25, 0.5])
    np.testing.assert_allclose(
        kept_by_time(kept, 2), [(1 * 2 + 0.25) / 3, (0.25 + 0.5 * 2) / 3]
    )
    assert kept_by_time(kept).mean() == pytest.approx(kept.mean())


@pytest.mark.once
def test_all_of_it_at_addresses(folder, model, stub, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for path in folder.iterdir():
        system.pipe(f"/bench/{path.name}", path.read_bytes())
    rows = [json.loads(line) for line in open(folder / "rows.jsonl")]
    rows = [
        {"id": r["id"], "video": r["video"], "prompt": r["question"]}
        | {"response": r["answer"]}
        for r in rows
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    system.pipe("/bench/table.jsonl", text.encode())
    output = "memory://results"

    def ask():
        table = "memory://bench/table.jsonl"
        return run(model, None, table, output=output)

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras_stts.evaluation.journal._Parts.close", killed)
        patch.setattr(runner, "Answerer", failing_after(stub, 2))
        with pytest.raises(KeyboardInterrupt):
            ask()
    place = f"/results/table_{tiny.NUM_FRAMES}_frames"
    assert len(system.glob(f"{place}/predictions-*.jsonl")) == 2
    stub.asked.clear()
    result = ask()
    assert len(stub.asked) == len(rows) - 4 == 2
    names = [
        path.rpartition("/")[2] for path in sorted(system.ls(place, False))
    ]
    assert names == ["predictions.jsonl", "results.json", "settings.json"]
    assert load_results(output) == [result] and result["n"] == 6
    assert ask()["accuracy"] == result["accuracy"] and len(stub.asked) == 2
    system.pipe("/bench/4.mp4", system.cat("/bench/0.mp4"))
    with pytest.raises(ValueError, match="memory://bench/4.mp4', another one"):
        ask()


def failing_after(stub, count):
    class Failing(stub):
        def __call__(self, examples):
            if len(self.asked) >= 2 * count:
                raise KeyboardInterrupt
            return super().__call__(examples)

    return Failing

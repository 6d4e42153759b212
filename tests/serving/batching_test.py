"""Which requests are answered together."""

import asyncio
import dataclasses
import threading

import pytest

from keras_stts.serving.batching import Batcher
from keras_stts.serving.limits import Limits
from keras_stts.serving.speaking import Answer

pytestmark = pytest.mark.once


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    shapes: str = "small"


class Model:
    """Answers with names in capitals, when it may."""

    def __init__(self):
        self.batches = []
        self.may = threading.Event()
        self.began = threading.Event()

    def answer(self, jobs):
        rows = [job.row for job in jobs]
        self.batches.append("".join(row.name for row in rows))
        self.began.set()
        assert self.may.wait(60)
        if any(row.name == "x" for row in rows):
            raise RuntimeError("x is bad")
        for job in jobs:
            job.send("piece")
        return [Answer(row.name.upper(), 1, "stop") for row in rows]


def ask(work, wait_seconds=0.0, max_batch=3):
    """Run `work(batcher, model)`; returns the `Model`."""

    async def run():
        model = Model()
        limits = Limits(max_batch=max_batch, wait_seconds=wait_seconds)
        batcher = Batcher(model.answer, limits)
        loop = asyncio.create_task(batcher.run())
        try:
            await work(batcher, model)
        finally:
            model.may.set()
            loop.cancel()
            batcher.close()
        return model

    return asyncio.run(run())


async def answer(batcher, row):
    job = batcher.put(row)
    try:
        return (await job.answer()).text
    finally:
        batcher.leave(job)


def start(batcher, names, shapes="small"):
    rows = [Row(name, shapes) for name in names]
    return [asyncio.create_task(answer(batcher, row)) for row in rows]


async def busy(batcher, model):
    """The model answers "0", and others have to wait."""
    (first,) = start(batcher, "0")
    await asyncio.to_thread(model.began.wait, 60)
    return first


def test_full_batches_and_order():
    async def work(batcher, model):
        first = await busy(batcher, model)
        tasks = start(batcher, "abcdefg")
        await asyncio.sleep(0)
        assert batcher.waiting == 7
        model.may.set()
        assert await asyncio.gather(first, *tasks) == list("0ABCDEFG")
        assert batcher.waiting == 0

    assert ask(work).batches == ["0", "abc", "def", "g"]


def test_rows_of_other_shapes_wait():
    async def work(batcher, model):
        first = await busy(batcher, model)
        tasks = start(batcher, "a") + start(batcher, "BC", "large")
        tasks += start(batcher, "d")
        model.may.set()
        await asyncio.gather(first, *tasks)

    assert ask(work).batches == ["0", "ad", "BC"]


def test_the_first_waits_for_others():
    async def work(batcher, model):
        model.may.set()
        tasks = start(batcher, "a")
        await asyncio.sleep(0)
        tasks += start(batcher, "bc")
        assert await asyncio.gather(*tasks) == list("ABC")

    assert ask(work, wait_seconds=3600.0).batches == ["abc"]


def test_one_alone_is_answered():
    async def work(batcher, model):
        model.may.set()
        assert await asyncio.gather(*start(batcher, "a")) == ["A"]

    assert ask(work, wait_seconds=0.05).batches == ["a"]


def test_who_is_gone_is_left_out():
    async def work(batcher, model):
        first = await busy(batcher, model)
        tasks = start(batcher, "abcd")
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 2
        model.may.set()
        assert await first == "0"
        assert await asyncio.gather(tasks[1], tasks[3]) == ["B", "D"]

    assert ask(work).batches == ["0", "bd"]


def test_who_goes_while_answered():
    async def work(batcher, model):
        first = await busy(batcher, model)
        first.cancel()
        tasks = start(batcher, "a")
        model.may.set()
        assert await asyncio.gather(*tasks) == ["A"]

    assert ask(work).batches == ["0", "a"]


def test_a_batch_that_fails():
    """Its requests fail, and the next are answered."""

    async def work(batcher, model):
        model.may.set()
        with pytest.raises(RuntimeError, match="x is bad"):
            await asyncio.gather(*start(batcher, "x"))
        assert await asyncio.gather(*start(batcher, "a")) == ["A"]

    ask(work)


def test_pieces_come_before_the_whole():
    async def work(batcher, model):
        model.may.set()
        job = batcher.put(Row("a"))
        assert await job.next() == "piece"
        assert await job.next() == Answer("A", 1, "stop")

    ask(work)


def test_closing_tells_the_model():
    """Nobody waits for what it answers."""

    async def work(batcher, model):
        job = batcher.put(Row("a"))
        await asyncio.to_thread(model.began.wait, 60)
        model.may.set()
        await asyncio.to_thread(batcher.close)
        assert job.is_gone

    ask(work)

"""Waiting requests, answered together."""

import asyncio
import concurrent.futures
import dataclasses
import time


@dataclasses.dataclass(eq=False)
class Job:
    """A row that waits for its answer.

    Attributes:
        row: `keras_stts.serving.engine.Row`.
        since: Float, when it came (`time.monotonic()`).
        answer: A future of its `Answer`.
    """

    row: object
    since: float
    answer: asyncio.Future


class Batcher:
    """Collects rows of the same shapes and has them answered, batch by batch.

    The oldest row decides when: once there are enough for a batch, or it has
    waited long enough. While a batch is answered others wait. A row whose
    request ended meanwhile is left out.

    Args:
        answer: Function of a list of rows that returns a list of answers. It
            runs in one thread, never twice at a time.
        limits: `keras_stts.serving.limits.Limits`.
    """

    def __init__(self, answer, limits):
        self._answer = answer
        self._size = limits.max_batch
        self._seconds = limits.wait_seconds
        self._waiting = []
        self._came = asyncio.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "model")

    @property
    def waiting(self):
        """Number of rows that wait."""
        return len(self._waiting)

    async def ask(self, row):
        """The answer to a row."""
        future = asyncio.get_running_loop().create_future()
        job = Job(row, time.monotonic(), future)
        self._waiting.append(job)
        self._came.set()
        try:
            return await future
        finally:
            if job in self._waiting:
                self._waiting.remove(job)

    async def run(self):
        """Answer batches until this is cancelled."""
        while True:
            await self._wait()
            batch = self._next()
            if not batch:
                continue
            jobs = [job for job in batch if not job.answer.done()]
            await self._run(jobs)

    async def _wait(self):
        """Return once there is a batch to be answered."""
        while True:
            self._came.clear()
            if self._waiting:
                oldest = self._waiting[0]
                left = oldest.since + self._seconds - time.monotonic()
                if left <= 0 or len(self._like(oldest)) >= self._size:
                    return
            else:
                left = None
            try:
                await asyncio.wait_for(self._came.wait(), left)
            except TimeoutError:
                pass

    def _like(self, job):
        """Jobs of the shapes of one."""
        shapes = job.row.shapes
        return [other for other in self._waiting if other.row.shapes == shapes]

    def _next(self):
        """The next batch, no longer waiting."""
        if not self._waiting:
            return []
        batch = self._like(self._waiting[0])[: self._size]
        self._waiting = [job for job in self._waiting if job not in batch]
        return batch

    async def _run(self, jobs):
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(
                self._thread, self._answer, [job.row for job in jobs]
            )
        except Exception as error:
            answers = [error] * len(jobs)
        for job, answer in zip(jobs, answers):
            if job.answer.done():
                continue
            if isinstance(answer, Exception):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)

    def close(self):
        """Wait for the batch that is being answered."""
        self._thread.shutdown(wait=True, cancel_futures=True)

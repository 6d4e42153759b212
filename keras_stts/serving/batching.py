"""Waiting requests, answered together."""

import asyncio
import concurrent.futures
import time


class Job:
    """A row that waits for its answer, which comes in pieces.

    Args:
        row: `keras_stts.serving.engine.Row`.

    Attributes:
        row: The same.
        since: Float, when it came (`time.monotonic()`).
        is_gone: Bool. Whether nobody waits for the answer any more.
    """

    def __init__(self, row):
        self.row = row
        self.since = time.monotonic()
        self.is_gone = False
        self._loop = asyncio.get_running_loop()
        self._events = asyncio.Queue()

    def send(self, event):
        """Send a piece of the answer, its end or an error, from any thread.

        Args:
            event: Str; or the whole answer; or an exception.
        """
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self):
        """The next piece, a str, or the whole answer after the last.

        Raises:
            Exception: If the model raised it.
        """
        event = await self._events.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def answer(self):
        """The whole answer."""
        while isinstance(event := await self.next(), str):
            pass
        return event


class Batcher:
    """Collects rows of the same shapes and has them answered, batch by batch.

    The oldest row decides when: once there are enough for a batch, or it has
    waited long enough. While a batch is answered others wait. A row whose
    request ended meanwhile is left out.

    Args:
        answer: Function of a list of `Job` that returns the list of their
            answers. It runs in one thread, never twice at a time.
        limits: `keras_stts.serving.limits.Limits`.
    """

    def __init__(self, answer, limits):
        self._answer = answer
        self._size = limits.max_batch
        self._seconds = limits.wait_seconds
        self._waiting, self._running = [], []
        self._came = asyncio.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "model")

    @property
    def waiting(self):
        """Number of rows that wait."""
        return len(self._waiting)

    def put(self, row):
        """A `Job` for a row."""
        job = Job(row)
        self._waiting.append(job)
        self._came.set()
        return job

    def leave(self, job):
        """Nobody waits for a job any more."""
        job.is_gone = True
        if job in self._waiting:
            self._waiting.remove(job)

    async def run(self):
        """Answer batches until this is cancelled."""
        while True:
            await self._wait()
            self._running = self._next()
            await self._run(self._running)

    async def _wait(self):
        """Return once there is a batch to be answered."""
        while True:
            self._came.clear()
            left = None
            if self._waiting:
                oldest = self._waiting[0]
                left = oldest.since + self._seconds - time.monotonic()
                if left <= 0 or len(self._like(oldest)) >= self._size:
                    return
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
        batch = self._like(self._waiting[0])[: self._size]
        self._waiting = [job for job in self._waiting if job not in batch]
        return batch

    async def _run(self, jobs):
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(
                self._thread, self._answer, jobs
            )
        except Exception as error:
            answers = [error] * len(jobs)
        for job, answer in zip(jobs, answers):
            job.send(answer)

    def close(self):
        """Have the model end the batch that it answers, and wait for it."""
        for job in self._running:
            job.is_gone = True
        self._thread.shutdown(wait=True, cancel_futures=True)

"""The server's addresses: completions, models, health and metrics."""

import asyncio
import contextlib
import functools
import json
import logging
import time

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.responses import Response as Plain
from starlette.responses import StreamingResponse
from starlette.routing import Route

from keras_stts.serving import bodies
from keras_stts.serving import metrics
from keras_stts.serving import protocol
from keras_stts.serving.batching import Batcher
from keras_stts.serving.engine import Engine
from keras_stts.serving.limits import Limits
from keras_stts.serving.media import Media
from keras_stts.serving.refusals import Refused

LOG = logging.getLogger("keras_stts.serving")
FAILED = Refused("The server failed; its log says why.", 500)
GONE = 499  # The status by which nginx counts clients that did not wait.


def make_app(model, name, limits=None, *, folders=(), hosts=()):
    """An ASGI application that answers with a model.

    Args:
        model: A `VideoVLM` with a preprocessor.
        name: Str. The model's name for clients.
        limits: Optional `keras_stts.serving.limits.Limits`.
        folders: Paths. Files in them may be named by `file://` addresses.
        hosts: Str. Hosts that may be fetched from although they are not
            public.

    Returns:
        A `starlette.applications.Starlette`.

    Raises:
        ValueError: If the model has no preprocessor, or a folder is missing.
    """
    if model.preprocessor is None:
        raise ValueError(
            "A model is served with its preprocessor. Received: a model with "
            "preprocessor=None."
        )
    limits = limits or Limits()
    server = Server(model, name, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        media = Media(
            model.preprocessor.video_converter, limits, folders, hosts
        )
        async with server.running(media):
            yield

    routes = [
        Route("/v1/chat/completions", server.complete, methods=["POST"]),
        Route("/v1/models", server.models),
        Route("/v1/models/{name:path}", server.named_model),
        Route("/health", server.health),
        Route("/metrics", server.metrics),
    ]
    handlers = {Refused: refusal, 404: unknown, 405: unknown}
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers=handlers
    )


class Visit:
    """A request from its arrival to its last byte.

    Args:
        metrics: `keras_stts.serving.metrics.Metrics`, in which it is counted.
    """

    def __init__(self, metrics):
        self.start = asyncio.get_running_loop().time()
        self._metrics = metrics
        self._last, self._ended = [], False

    def at_end(self, function):
        """Have a function called when the request has ended."""
        self._last.append(function)

    def end(self, status):
        """Count it, once, with HTTP's status."""
        if self._ended:
            return
        self._ended = True
        for function in self._last:
            function()
        seconds = asyncio.get_running_loop().time() - self.start
        self._metrics.requests.labels(str(status)).inc()
        self._metrics.seconds.observe(seconds)


class Stream(StreamingResponse):
    """Server-sent events that end a visit, even if none could be sent."""

    def __init__(self, events, visit):
        super().__init__(events, media_type="text/event-stream")
        self._visit = visit

    async def __call__(self, scope, receive, send):
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._visit.end(GONE)


class Server:
    """What the addresses of `make_app` do.

    Args:
        model, name, limits: See `make_app`.
    """

    def __init__(self, model, name, limits):
        self._engine = Engine(model, limits)
        self._name = name
        self._limits = limits
        self._metrics = metrics.Metrics()
        self._since = int(time.time())
        self._inside = 0

    @contextlib.asynccontextmanager
    async def running(self, media):
        """In here requests are answered."""
        self._media = media
        self._batcher = Batcher(self._answer, self._limits)
        self._loop = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            self._loop.cancel()
            await asyncio.to_thread(self._batcher.close)
            await media.close()

    async def complete(self, request):
        """POST /v1/chat/completions."""
        visit = Visit(self._metrics)
        try:
            response = await self._complete(request, visit)
        except Refused as error:
            response = _error(error)
        except bodies.ClientDisconnect:
            response = Plain(status_code=GONE)
        except Exception:
            LOG.exception("A request failed.")
            response = _error(FAILED)
        if not isinstance(response, Stream):
            visit.end(response.status_code)
        return response

    async def _complete(self, request, visit):
        most = self._limits.max_queue + self._limits.max_batch
        if self._inside >= most:
            raise Refused(
                f"The server takes up to {most} requests at a time. Received: "
                "one more. Try again later.",
                429,
                code="queue_full",
            )
        self._inside += 1
        visit.at_end(self._leave)
        try:
            async with asyncio.timeout_at(self._deadline(visit)):
                body = await bodies.read_json(request, self._limits.max_body)
                return await _unless_gone(request, self._respond(body, visit))
        except TimeoutError as error:
            raise self._late() from error

    def _leave(self):
        self._inside -= 1

    def _deadline(self, visit):
        return visit.start + self._limits.request_seconds

    def _late(self):
        return Refused(
            "A request must be answered within "
            f"{self._limits.request_seconds} s. This one was not. Ask again "
            "later, or about a shorter video.",
            504,
        )

    async def _respond(self, body, visit):
        asked = protocol.parse(body, self._name)
        row = await self._row(asked)
        job = self._batcher.put(row)
        visit.at_end(functools.partial(self._batcher.leave, job))
        if asked.stream:
            # The first piece is waited for: errors before it have a status.
            first = await job.next()
            return Stream(self._events(job, first, visit), visit)
        answer = await job.answer()
        whole = protocol.Response(self._name).whole(
            answer.text, answer.reason, self._usage(row, answer)
        )
        return JSONResponse(whole)

    async def _row(self, asked):
        """The request with what it shows, as a row of a batch."""
        if len(asked.media) > self._limits.max_media:
            raise Refused(
                f"A request may show {self._limits.max_media} videos and "
                f"images. Received: {len(asked.media)}.",
                param="messages",
            )
        self._engine.check_media(asked.media)
        media = [
            (kind, await self._media.read(kind, url))
            for kind, url in asked.media
        ]
        return await asyncio.to_thread(self._engine.prepare, asked, media)

    def _usage(self, row, answer):
        usage = protocol.usage(
            row.prompt_tokens, answer.tokens, row.vision_tokens
        )
        self._metrics.count_tokens(usage)
        return usage

    async def _events(self, job, first, visit):
        """Server-sent events of an answer, from its first piece."""
        response, status = protocol.Response(self._name), GONE
        try:
            yield _event(response.piece({"role": "assistant", "content": ""}))
            piece = first
            while isinstance(piece, str):
                yield _event(response.piece({"content": piece}))
                async with asyncio.timeout_at(self._deadline(visit)):
                    piece = await job.next()
            yield _event(response.piece({}, piece.reason))
            usage, status = self._usage(job.row, piece), 200
            if job.row.asked.include_usage:
                yield _event(response.counts(usage))
            yield "data: [DONE]\n\n"
        except TimeoutError:
            status = 504
            yield _event(self._late().body())
        except Exception:
            LOG.exception("A stream failed.")
            status = 500
            yield _event(FAILED.body())
        finally:
            visit.end(status)

    def _answer(self, jobs):
        start = time.perf_counter()
        answers = self._engine.answer(jobs)
        self._metrics.batch_seconds.observe(time.perf_counter() - start)
        self._metrics.rows.observe(len(jobs))
        return answers

    async def models(self, request):
        """GET /v1/models."""
        return JSONResponse({"object": "list", "data": [self._facts()]})

    async def named_model(self, request):
        """GET /v1/models/NAME."""
        if request.path_params["name"] != self._name:
            raise Refused(
                f"This server serves {self._name!r}. Received: another name.",
                404,
                code="model_not_found",
            )
        return JSONResponse(self._facts())

    def _facts(self):
        return {
            "id": self._name,
            "object": "model",
            "created": self._since,
            "owned_by": "keras_stts",
        }

    async def health(self, request):
        """GET /health: 200 while requests are answered, else 503."""
        alive = not self._loop.done()
        status = "ok" if alive else "the model no longer answers"
        return JSONResponse({"status": status}, 200 if alive else 503)

    async def metrics(self, request):
        """GET /metrics."""
        self._metrics.waiting.set(self._batcher.waiting)
        text = self._metrics.text()
        return Plain(text, headers={"content-type": metrics.CONTENT_TYPE})


async def _unless_gone(request, work):
    """What `work` returns, which is cancelled when the client is gone."""
    work = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(bodies.until_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when="FIRST_COMPLETED")
        if not work.done():
            raise bodies.ClientDisconnect
        return work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


def _event(value):
    return f"data: {json.dumps(value)}\n\n"


async def refusal(request, error):
    """The response to a request that is refused."""
    return _error(error)


async def unknown(request, error):
    """The response to a request of an unknown address or method."""
    text = (
        "Requests must be of POST /v1/chat/completions, GET /v1/models, "
        f"/health or /metrics. Received: {request.method} "
        f"{request.url.path!r:.100}."
    )
    return _error(Refused(text, error.status_code))


def _error(error):
    headers = {"Retry-After": "1"} if error.status == 429 else None
    # In ASCII: what was received may hold letters that are none.
    text = json.dumps(error.body())
    return Plain(text, error.status, headers, "application/json")

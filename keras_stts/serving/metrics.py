"""What Prometheus reads of a server."""

import os

import prometheus_client
from prometheus_client import multiprocess

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
ROWS = (1, 2, 4, 8, 16, 32, 64)
# Replicas of one server write into this folder, and each shows the sum.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """Counts of one server, or of all replicas of one.

    Attributes:
        requests: Counter by `status`, HTTP's.
        seconds: Histogram of the time from a request to its last byte.
        waiting: Gauge. Requests that wait for the model.
        tokens: Counter by `kind`: `"prompt"`, `"vision"` (of them) and
            `"completion"`.
        rows: Histogram of the requests in a batch.
        batch_seconds: Histogram of the time that the model takes for a batch.
    """

    def __init__(self):
        self._registry = prometheus_client.CollectorRegistry()
        if FOLDER in os.environ:
            multiprocess.MultiProcessCollector(self._registry)
        registry = None if FOLDER in os.environ else self._registry
        self.requests = prometheus_client.Counter(
            "keras_stts_requests",
            "Requests for completions",
            ["status"],
            registry=registry,
        )
        self.seconds = prometheus_client.Histogram(
            "keras_stts_request_seconds",
            "Seconds from a request to its last byte",
            buckets=SECONDS,
            registry=registry,
        )
        self.waiting = prometheus_client.Gauge(
            "keras_stts_waiting",
            "Requests that wait for the model",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.tokens = prometheus_client.Counter(
            "keras_stts_tokens", "Tokens", ["kind"], registry=registry
        )
        self.rows = prometheus_client.Histogram(
            "keras_stts_batch_requests",
            "Requests in a batch",
            buckets=ROWS,
            registry=registry,
        )
        self.batch_seconds = prometheus_client.Histogram(
            "keras_stts_batch_seconds",
            "Seconds that the model takes for a batch",
            buckets=SECONDS,
            registry=registry,
        )

    def count_tokens(self, usage):
        """Add the counts of `keras_stts.serving.protocol.usage`."""
        vision = usage["prompt_tokens_details"]["vision_tokens"]
        self.tokens.labels("prompt").inc(usage["prompt_tokens"])
        self.tokens.labels("vision").inc(vision)
        self.tokens.labels("completion").inc(usage["completion_tokens"])

    def text(self):
        """Bytes, as Prometheus reads them."""
        return prometheus_client.generate_latest(self._registry)


CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

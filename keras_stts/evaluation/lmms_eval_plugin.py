"""Makes `VideoVLM` a model of lmms-eval, which finds it by its entry point.

In an environment that has this package:

    pip install lmms-eval
    KERAS_BACKEND=torch lmms-eval eval --model keras_stts --tasks videomme \
        --model_args preset=shapes_tiny,prune_ratio=0.5,num_frames=64

Arguments of the model are `preset` and those of `VideoVLM.from_preset`;
`sampling="uniform_last_frame"` samples as Molmo2's authors evaluate.

What lmms-eval then reports beside scores:

- for each sample `token_counts` (with `--log_samples`, which also sums them in
  `efficiency`): `input_tokens`, what the language model reads after pruning,
  of video and text; `output_tokens`, with the end token, as other models of
  lmms-eval count them;
- `throughput` of the run: see `throughput` below.

The fields are those of lmms-eval at commit 75571cf (v0.7 and later); an earlier
lmms-eval gets texts alone.
"""

import functools

from keras_stts.data.workers import DecodePool
from keras_stts.evaluation.answering import Answerer
from keras_stts.models.video_vlm import VideoVLM

try:
    from lmms_eval.api.model import lmms
except ImportError:  # What follows can be imported and tested without.
    lmms = object
try:
    from lmms_eval.api.instance import GenerationResult
    from lmms_eval.api.instance import TokenCounts
    from lmms_eval.models.model_utils.gen_metrics import log_metrics
except ImportError:  # None, or one that does not ask for tokens and times.
    GenerationResult = TokenCounts = log_metrics = None

NAME = "keras_stts"
# What lmms-eval passes to all models, and this one does not use.
UNUSED = ("device", "max_batch_size")
MAX_NEW_TOKENS = 128
# Lengths of answers for which compiled functions are kept.
MOST_ANSWERERS = 4


def manifest():
    """What the entry point in `pyproject.toml` names."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id=NAME, chat_class_path=f"{__name__}.{KerasSTTS.__name__}"
    )


class KerasSTTS(lmms):
    """A `VideoVLM` that answers lmms-eval's requests about videos.

    Args:
        preset: Str, see `VideoVLM.from_preset`.
        batch_size: Int. Questions that are asked at once.
        num_workers: Int. Processes that decode videos.
        time_limit: Number. Seconds that a video may take.
        **kwargs: See `VideoVLM.from_preset`.
    """

    is_simple = False

    def __init__(
        self, preset, batch_size=1, num_workers=2, *, time_limit=60.0, **kwargs
    ):
        super().__init__()
        kwargs = {n: kwargs[n] for n in kwargs if n not in UNUSED}
        self.model = VideoVLM.from_preset(str(preset), **kwargs)
        self.batch_size = int(batch_size)
        self.num_workers = num_workers
        self.time_limit = time_limit
        self._answerer = functools.lru_cache(MOST_ANSWERERS)(self._make)

    def generate_until(self, requests):
        """Answers with their numbers of tokens, one a request, in order."""
        answers, costs, reading = [None] * len(requests), [], {}
        batches = list(self._batches(requests))
        with DecodePool(self.num_workers, self.time_limit) as pool:
            for place, batch in enumerate(batches):
                for i in sum(batches[place : place + 2], []):
                    if i not in reading:
                        reading[i] = self._read(requests[i], pool)
                options = requests[batch[0]].args[-4]
                found = self._answer([reading.pop(i) for i in batch], options)
                for i, (text, cost) in zip(batch, found):
                    answers[i] = with_counts(text, cost)
                    costs.append(cost)
                    request = (requests[i].args[0], options)
                    self.cache_hook.add_partial("generate_until", request, text)
        if log_metrics is not None and costs:
            log_metrics(**throughput(costs))
        return answers

    def _batches(self, requests):
        """Indices of requests that are asked together, in one way."""
        alike = {}
        for i, request in enumerate(requests):
            alike.setdefault(repr(request.args[-4]), []).append(i)
        for group in alike.values():
            for start in range(0, len(group), self.batch_size):
                yield group[start : start + self.batch_size]

    def _read(self, request, pool):
        """A conversation, and the video in it, which is being read."""
        *_, to_messages, _, doc_id, task, split = request.args
        messages = to_messages(self.task_dict[task][split][doc_id])
        messages, video = split_messages(messages)
        converter = self.model.preprocessor.video_converter
        clip = None
        if video.get("start_time") is not None:
            clip = (video["start_time"], video["end_time"])
        future = pool.submit(
            video["url"],
            converter.num_frames,
            max_fps=converter.max_fps,
            sampling=converter.sampling,
            size=converter.image_size,
            clip=clip,
        )
        return messages, future

    def _answer(self, asked, options):
        count = int(options.get("max_new_tokens", MAX_NEW_TOKENS))
        filled = asked + asked[-1:] * (self.batch_size - len(asked))
        answers = self._answerer(count)(
            {
                "prompts": [messages for messages, _ in filled],
                "videos": [f.result() for _, f in filled],
            }
        )
        until = options.get("until") or []
        until = [until] if isinstance(until, str) else until
        return [
            (
                cut(answer["prediction"], until),
                _cost(answer, count, len(filled)),
            )
            for answer in answers[: len(asked)]
        ]

    def _make(self, max_new_tokens):
        preprocessor = self.model.preprocessor
        return Answerer(self.model, preprocessor, max_new_tokens)

    def loglikelihood(self, requests):
        raise NotImplementedError(
            "Tasks that compare likelihoods are not supported. Choose one of "
            "the output type generate_until."
        )

    def generate_until_multi_round(self, requests):
        raise NotImplementedError(
            "Tasks of several rounds are not supported. Choose one of the "
            "output type generate_until."
        )


def split_messages(messages):
    """lmms-eval's messages as `VideoVLM` takes them, and their video.

    Args:
        messages: List of dicts of `"role"` and `"content"`, a list of parts
            of the type text (`"text"`) and one of the type video (`"url"`,
            `"start_time"`, `"end_time"`).

    Returns:
        Tuple (messages, the part of the video).

    Raises:
        ValueError: If there is not exactly one video, or anything else.
    """
    videos, result = [], []
    for message in messages:
        content = []
        for part in message["content"]:
            kind = part["type"]
            if kind == "video":
                videos.append(part)
            elif kind != "text":
                videos.append(None)
            content.append(part if kind == "text" else {"type": kind})
        result.append({"role": message["role"], "content": content})
    if len(videos) != 1 or videos[0] is None:
        found = [p["type"] for m in messages for p in m["content"]]
        raise ValueError(
            "A request must have one video beside its text. Received: parts "
            f"of the types {', '.join(found)}. Choose a task about videos."
        )
    return result, videos[0]


def cut(text, until):
    """A text up to the first of some strs."""
    for stop in until:
        text = text.split(stop)[0] if stop else text
    return text.strip()


def _cost(answer, max_new_tokens, batch_size):
    """Tokens and seconds of one answer of an `Answerer`."""
    # The end token is generated, too, unless the answer is cut before it.
    steps = min(answer["answer_tokens"] + 1, max_new_tokens)
    return {
        "input_tokens": answer["vision_tokens"] + answer["prompt_tokens"],
        "output_tokens": steps,
        "seconds": answer["prefill_seconds"] + answer["decode_seconds"],
        "vision_tokens": answer["vision_tokens"],
        "vision_tokens_left": answer["vision_tokens_left"],
        # Those of an answer are its share of the batch's seconds.
        "ttft": answer["prefill_seconds"] * batch_size,
        "tpot": answer["decode_seconds"] * batch_size / steps,
        "compile_seconds": answer["compile_seconds"],
    }


def with_counts(text, cost):
    """A text with its numbers of tokens, for an lmms-eval that takes them."""
    if GenerationResult is None:
        return text
    counts = TokenCounts(
        input_tokens=cost["input_tokens"], output_tokens=cost["output_tokens"]
    )
    return GenerationResult(text=text, token_counts=counts)


def throughput(costs):
    """What lmms-eval's `log_metrics` takes about the answers of a run.

    Args:
        costs: List of dicts, one for each answer.

    Returns:
        Dict of `"total_elapsed_time"`, the seconds of the model for all
        answers: prefill and decoding, compiled and warm, without reading
        videos; `"total_gen_tokens"`; `"avg_speed"`, tokens a second; and
        `"additional_metrics"`: `"total_requests"`, and means over the answers
        of `"ttft"`, seconds from a batch's start to its first tokens, `"tpot"`,
        seconds of each later step of a batch, `"vision_tokens"` that the
        language model reads, and `"vision_tokens_left"` in its last layer; and
        `"compile_seconds"`, of all.
    """
    seconds = sum(cost["seconds"] for cost in costs)
    tokens = sum(cost["output_tokens"] for cost in costs)
    means = {
        name: sum(cost[name] for cost in costs) / len(costs)
        for name in ("ttft", "tpot", "vision_tokens", "vision_tokens_left")
    }
    return {
        "total_elapsed_time": seconds,
        "total_gen_tokens": tokens,
        "avg_speed": tokens / seconds if seconds else 0.0,
        "additional_metrics": {
            "total_requests": len(costs),
            **means,
            "compile_seconds": sum(cost["compile_seconds"] for cost in costs),
        },
    }

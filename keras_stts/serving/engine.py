"""The model behind a server: from conversations to answers."""

import dataclasses

import numpy as np

from keras_stts.memory import foresight
from keras_stts.models.batch_sizes import is_compiled
from keras_stts.serving.refusals import Refused
from keras_stts.serving.refusals import refusing
from keras_stts.serving.sampler import RowSampler
from keras_stts.serving.speaking import Speaker


@dataclasses.dataclass(frozen=True)
class Row:
    """A request as a row of a batch.

    Attributes:
        arrays: Dict of the model's inputs, without the axis of the batch.
        asked: `keras_stts.serving.protocol.Asked`.
        length: Int. Most tokens of the answer.
        prompt_tokens: Int, all tokens of the prompt.
        vision_tokens: Int. Tokens of videos and images among them, with the
            times and marks around frames.
    """

    arrays: dict
    asked: object
    length: int
    prompt_tokens: int
    vision_tokens: int

    @property
    def shapes(self):
        """What rows of a batch have in common."""
        return tuple((n, a.shape) for n, a in sorted(self.arrays.items()))


class Engine:
    """Answers batches of requests.

    Where a model is compiled, which it is anew for each number of rows, all
    batches are filled up to one size.

    Args:
        model: A `VideoVLM` with a preprocessor. If a batch would not fit into
            memory, a warning says so.
        limits: `keras_stts.serving.limits.Limits`.
    """

    def __init__(self, model, limits):
        self.preprocessor = model.preprocessor
        self._most = limits.max_tokens or self.preprocessor.sequence_length
        self._size = limits.max_batch
        self._sampler = RowSampler()
        self._model = model
        length = self.preprocessor.sequence_length
        foresight.before_generate(model, limits.max_batch, length)
        self._stops = [int(i) for i in self.preprocessor.stop_token_ids]

    def check_media(self, media):
        """Raise unless the model can be shown so many videos and images.

        Args:
            media: List of pairs of a kind and an address.

        Raises:
            Refused: If it cannot.
        """
        kinds = [kind for kind, _ in media]
        layout = self.preprocessor.input_layout
        most = {
            "video": self._most_videos(),
            "image": self.preprocessor.num_images,
        }
        for kind, number in most.items():
            if kinds.count(kind) > number:
                raise Refused(
                    f"This server takes up to {number} {kind}s in a request. "
                    f"Received: {kinds.count(kind)}. (Who runs it can choose "
                    "another number, if the model allows it.)",
                    param="messages",
                )
        if layout.needs_video and most["video"] and "video" not in kinds:
            raise Refused(
                "This model needs a video in each request. Received: none. "
                'Add a part {"type": "video_url", "video_url": {"url": ...}}.',
                param="messages",
            )

    def _most_videos(self):
        if not self.preprocessor.num_frames:
            return 0
        return getattr(self.preprocessor, "num_videos", 1)

    def prepare(self, asked, media):
        """The `Row` of a request.

        Args:
            asked: `keras_stts.serving.protocol.Asked`.
            media: List of pairs of a kind and what was read.

        Raises:
            Refused: If the conversation is invalid, or too long.
        """
        with refusing("messages"):
            x = self.preprocessor.generate_preprocess(
                self._example(asked, media)
            )
        arrays = {name: np.asarray(value)[0] for name, value in x.items()}
        text = int(arrays["padding_mask"].sum())
        vision = int(arrays["vision_mask"].sum())
        room = len(arrays["padding_mask"]) - text
        wanted = asked.max_tokens or min(room, self._most)
        if wanted > min(room, self._most):
            raise Refused(
                "The answer must have room after the prompt. Received: "
                f"max_tokens={wanted}, and there is room for "
                f"{min(room, self._most)}. Ask for fewer.",
                param="max_tokens",
                code="context_length_exceeded",
            )
        return Row(arrays, asked, wanted, text + vision, vision)

    def _example(self, asked, media):
        shown = {
            kind: [value for k, value in media if k == kind]
            for kind in ("video", "image")
        }
        example = {"prompts": [asked.messages]}
        if self.preprocessor.num_frames and shown["video"]:
            videos = shown["video"]
            example["videos"] = [videos[0] if len(videos) == 1 else videos]
        if self.preprocessor.num_images:
            example["images"] = [shown["image"]]
        return example

    def answer(self, jobs):
        """Answers to rows of the same shapes, as many as a batch at most.

        It stops early when nobody waits any more.

        Args:
            jobs: List of `keras_stts.serving.batching.Job`, which are sent
                pieces of their answers.

        Returns:
            List of `keras_stts.serving.speaking.Answer`.
        """
        rows = [job.row for job in jobs]
        x = self._batch(rows)
        speakers = [
            Speaker(job.row.length, job.row.asked.stop, job.send)
            for job in jobs
        ]
        heard = []
        tokens = self._model.stream_tokens(x, self._stops, self._sampler)
        for token_ids, spoken in tokens:
            heard = self._heard(token_ids[: len(rows)], spoken[: len(rows)])
            for speaker, (text, tokens, ended) in zip(speakers, heard):
                speaker.hear(text, tokens, has_ended=ended)
            if all(s.answer or j.is_gone for s, j in zip(speakers, jobs)):
                break
        for speaker, (text, tokens, _) in zip(speakers, heard):
            speaker.end(text, tokens)
        return [speaker.answer for speaker in speakers]

    def warm_up(self):
        """Run a token of an answer, so that what is compiled is compiled.

        Videos of other sizes than a small black one may be in other buckets,
        each of which is compiled for the first request of its size.
        """
        if not is_compiled(self._model):
            return
        asked = {"prompts": ["?"] * self._size}
        if self._most_videos():
            black = np.zeros((2, 64, 64, 3), "uint8")
            asked |= {"videos": [black] * self._size, "fps": 1.0}
        x = self.preprocessor.generate_preprocess(asked)
        zeros = [0] * self._size
        self._sampler.set_rows(zeros, [1.0] * self._size, zeros, zeros)
        next(self._model.stream_tokens(x, self._stops, self._sampler))

    def _batch(self, rows):
        """Inputs of the model, and the sampler made ready for them."""
        missing = self._size - len(rows) if is_compiled(self._model) else 0
        filled = rows + rows[:1] * missing
        starts = np.array([row.arrays["padding_mask"].sum() for row in filled])
        self._sampler.set_rows(
            [row.asked.temperature for row in filled],
            [row.asked.top_p for row in filled],
            [row.asked.seed for row in filled],
            starts - starts.min(),
        )
        return {
            name: np.stack([row.arrays[name] for row in filled])
            for name in rows[0].arrays
        }

    def _heard(self, token_ids, spoken):
        """For each row its text, its tokens, and whether it has ended."""
        stops = np.isin(token_ids, self._stops) & spoken
        spoken = spoken & ~stops
        texts = self.preprocessor.generate_postprocess(
            {"token_ids": token_ids, "padding_mask": spoken}
        )
        return list(zip(texts, spoken.sum(-1).tolist(), stops.any(-1)))

"""Seeing a video once, for any number of questions."""

import functools
import hashlib
import json
import operator
import sys

import keras
import numpy as np
import tqdm
from keras import ops

from keras_stts.compiling import compiled
from keras_stts.models.backbone_bounds import is_int
from keras_stts.models.encoding import frames_of
from keras_stts.preprocessing.encoded_video import EncodedVideo
from keras_stts.preprocessing.encoded_video import are_encoded
from keras_stts.training import distributing
from keras_stts.training import padding

# Inputs with a value for each frame.
OF_FRAMES = ("frame_mask", "frame_grids")
MOST_FRAMES = 2**20
# Settings that do not change what a video becomes.
ANY = ("name", "num_frames", "rematerialize", "trainable")
SAMPLED = 4  # Values of each weight that a fingerprint looks at.


class VideoEncoding:
    """See `VideoVLM`."""

    def encode(
        self,
        video,
        fps=None,
        *,
        num_frames=None,
        chunk_frames=None,
        prompt="?",
        verbose=1,
    ):
        """See a video once, to ask about it any number of times.

        Twenty questions about an encoded video take one run of the vision
        transformer and of the language model on its tokens.

        A long video is read and seen in chunks of frames, so that memory grows
        neither with its frames nor with the vision transformer's work on them:
        what grows is what is left of it. A method that ranks blocks
        then has a budget for each chunk: it keeps the chunk's first frame, and
        removes its share of the others. Without pruning, and with methods that
        look at one frame at a time (`"tome"`), chunks change nothing.

        Args:
            video: What `generate` takes: a path, or a uint8 array (T, H, W,
                3); or a list of videos.
            fps: Optional number, frames a second of arrays; or a list of them.
            num_frames: Optional int. Most frames to sample. Defaults to the
                preprocessor's.
            chunk_frames: Optional int. Frames that are read and seen at once.
                Defaults to all. (A file that has no times of its frames, such
                as a raw stream, is decoded from its start for each chunk.)
            prompt: A prompt that begins as those that will be asked: what its
                chat template has before the video, such as a system message,
                is encoded too. Defaults to a question without any.
            verbose: 0 or 1: whether to show progress, if there is more than
                one chunk. Defaults to 1.

        Returns:
            A `keras_stts.EncodedVideo`, or a list of them. Its `nbytes` says
            what it takes on the device.

        Raises:
            ValueError: If the model prunes by the prompt (`"fastv"`,
                `"feather"`), has no preprocessor, or an argument is wrong.
        """
        distributing.check_devices(self)
        preprocessor = self._preprocessor_for(num_frames)
        chunk = _chunk_of(preprocessor, chunk_frames)
        single = not isinstance(video, list)
        videos = [video] if single else video
        rates = fps if isinstance(fps, (list, tuple)) else [fps] * len(videos)
        if len(rates) != len(videos):
            raise ValueError(
                "`fps` must be a number, or one for each video. Received: "
                f"{len(rates)} for {len(videos)} videos."
            )
        bar = tqdm.tqdm(
            desc="encode",
            unit="chunk",
            file=sys.stdout,
            disable=not verbose or (single and chunk is None),
        )
        see = functools.partial(
            self._encode,
            preprocessor=preprocessor,
            prompt=prompt,
            chunk=chunk,
            bar=bar,
            fingerprint=fingerprint_of(self),
        )
        with bar:
            results = [
                see(_choose(preprocessor, *pair)) for pair in zip(videos, rates)
            ]
        return results[0] if single else results

    def _encode(self, video, *, preprocessor, prompt, chunk, bar, **about):
        """The `EncodedVideo` of `ChosenFrames`."""
        x = preprocessor.preprocess_prompts(
            {"videos": [video.unread], "prompts": [prompt]}
        )
        x.pop("videos", None)
        parts = _Parts(video, preprocessor, chunk)
        prefix, maps = self._see_in_chunks(x, parts, bar)
        return EncodedVideo(
            prefix,
            head=x["vision_token_ids"][0][x["vision_mask"][0]],
            timestamps=video.times,
            grid=preprocessor.input_layout.grid_of(x, 0),
            **about,
            **maps,
        )

    def all_encoded(self, inputs):
        """Inputs of `generate`, all videos encoded if any is.

        Raises:
            ValueError: If one was encoded by another model, or before this
                one was trained.
        """
        videos = inputs.get("videos") if isinstance(inputs, dict) else None
        if not are_encoded(videos):
            return inputs
        alone = isinstance(videos, EncodedVideo)
        videos = [videos] if alone else list(videos)
        self._check_own(videos)
        inputs = dict(inputs)
        rates = inputs.pop("fps", None)
        if np.ndim(rates) == 0:
            rates = [rates] * len(videos)
        others, seen = {}, []
        for video, rate in zip(videos, rates):
            if not isinstance(video, EncodedVideo):
                key = id(video), rate
                if key not in others:
                    others[key] = self.encode(video, rate)
                video = others[key]
            seen.append(video)
        inputs["videos"] = seen[0] if alone else seen
        return inputs

    def _check_own(self, videos):
        made = {v.fingerprint for v in videos if isinstance(v, EncodedVideo)}
        if made != {fingerprint_of(self)}:
            raise ValueError(
                "An encoded video holds keys and values of the model that "
                "made it, with its weights of then. Received: one of another "
                "model, of other settings, or from before this one was "
                "trained. Encode the video again."
            )

    def _preprocessor_for(self, num_frames):
        backbone, preprocessor = self.backbone, self.preprocessor
        if preprocessor is None:
            raise ValueError(
                "`encode` reads a video, for which the model needs its "
                "preprocessor. Received: a model with preprocessor=None."
            )
        if backbone.language_pruning is not None:
            raise ValueError(
                "A method that prunes by the prompt cannot see a video before "
                "it. Received: "
                f"{type(backbone.language_pruning).__name__}. Ask with "
                "`generate`, or load the model with another `pruning`."
            )
        if num_frames is None:
            return preprocessor
        if not is_int(num_frames, 1, MOST_FRAMES):
            raise ValueError(
                "`num_frames` must be a number of frames, 1 at least. "
                f"Received: num_frames={num_frames!r}."
            )
        return preprocessor.with_frames(num_frames)

    def _see_in_chunks(self, x, parts, bar):
        """Prefix of a video, and its maps of blocks.

        Args:
            x: Dict of arrays, its inputs but for `"videos"`.
            parts: `_Parts`.
        """
        bar.total = (bar.total or 0) + len(parts)
        bar.refresh()
        see, seen = self.program("see", self._see), []
        for part in parts:
            if part is None:  # Padding alone.
                seen.append(keras.tree.map_structure(ops.zeros_like, seen[0]))
            else:
                seen.append(see(self._spread(part)))
            bar.update()
        read = self.program("read", self._read)
        frames = {
            name: _padded(x[name], len(parts) * parts.size)
            for name in OF_FRAMES
            if name in x
        }
        prefix, maps = read(self._spread({**x, **frames}), seen)
        if distributing.replicas() > 1:
            prefix, maps = padding.gather((prefix, maps), 1)
        real = int(np.sum(x["frame_mask"]))
        maps = {
            name: ops.convert_to_numpy(value)[0, :real]
            for name, value in maps.items()
        }
        return prefix, maps

    def _see(self, x):
        return self.backbone.encode_part(x["videos"], frames_of(x))

    def _read(self, x, parts):
        vision = self.backbone.join_parts(parts, frames_of(x))
        if "images" in x:
            vision |= self.backbone.encode_images(x)
        prefix = self.backbone.encode_prefix(
            x["vision_token_ids"],
            x["vision_mask"],
            vision,
            segments=x.get("vision_segments"),
            places=x.get("vision_positions"),
        )
        kept = {
            "layers": prefix["layers"],
            "mask": prefix["masks"][0],
            "length": prefix["length"],
        }
        maps = {}
        if "selection" in vision:
            maps["kept"] = vision["selection"].kept
            maps["scores"] = vision["scores"]
        return kept, maps

    def program(self, name, function):
        """A compiled function of the model, made once for its variables."""
        key = name, tuple(map(id, self.variables))
        made = vars(self).setdefault("_programs", {})
        if name not in made or made[name][0] != key:
            made[name] = key, compiled(self, function, loops=True)
        return made[name][1]

    def _spread(self, x):
        """Tensors of a video's arrays; each device gets the same video."""
        rows = distributing.replicas()
        if rows > 1:
            x = {name: np.repeat(value, rows, 0) for name, value in x.items()}
        return distributing.spread(x)


class _Parts:
    """Inputs of a video, without text, a chunk at a time.

    Args:
        video: `ChosenFrames`.
        preprocessor: The model's.
        chunk: Optional int. Rows of the model's frames in each.

    Attributes:
        size: Int, such rows.
    """

    def __init__(self, video, preprocessor, chunk):
        self.video, self.preprocessor = video, preprocessor
        self.number, self.blocks = preprocessor.bucket_of(video.shape)
        self.size = min(chunk or self.number, self.number)

    def __len__(self):
        return -(-self.number // self.size)

    def __iter__(self):
        """Yields dicts of arrays; `None` where all is padding."""
        see = self.preprocessor.see_video
        step = self.size * _frames_of_a_row(self.preprocessor)
        for first in range(0, len(self) * step, step):
            if first >= len(self.video.times):
                yield None
                continue
            part = self.video.read(first, first + step)
            yield see(part, bucket=(self.size, self.blocks))


def _choose(preprocessor, video, fps):
    """Frames of a video, sampled and to be resized, as `ChosenFrames`."""
    converter = preprocessor.video_converter
    if isinstance(video, EncodedVideo):
        raise ValueError(
            "`encode` takes videos. Received: one that is encoded already."
        )
    return converter.choose(video, fps, converter.image_size)


def _frames_of_a_row(preprocessor):
    """Frames of a video that a model takes as one."""
    return getattr(preprocessor.video_converter, "temporal_patch_size", 1)


def _chunk_of(preprocessor, frames):
    """Rows of a model's frames in a chunk of so many of a video's."""
    if frames is None:
        return None
    together = _frames_of_a_row(preprocessor)
    if not is_int(frames, together, MOST_FRAMES) or frames % together:
        raise ValueError(
            "`chunk_frames` must be a number of frames, a multiple of "
            f"{together}, which share a block. Received: chunk_frames="
            f"{frames!r}."
        )
    return frames // together


def _padded(array, length):
    """An array (1, T, ...) with padding frames at its end."""
    missing = length - array.shape[1]
    if not missing:
        return array
    # As padding has grids, of one block.
    value = 1 if array.ndim == 3 and array.dtype == np.int32 else 0
    width = [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, width, constant_values=value)


def fingerprint_of(model):
    """Short text that changes with a model's settings and weights.

    Of each weight a few values are looked at: training changes all.
    """
    config = keras.saving.serialize_keras_object(model.backbone.get_config())
    code = hashlib.sha256(json.dumps(_facts(config), sort_keys=True).encode())
    weights = model.backbone.weights  # In no order that all backends share.
    for weight in sorted(weights, key=operator.attrgetter("path")):
        step = max(1, int(np.prod(weight.shape)) // SAMPLED)
        values = ops.reshape(weight.value, (-1,))[::step][:SAMPLED]
        values = ops.convert_to_numpy(values).astype("float32")
        code.update(values.tobytes())
    return code.hexdigest()[:16]


def _facts(config):
    """A config without what does not change what a video becomes."""
    if isinstance(config, dict):
        return {n: _facts(v) for n, v in config.items() if n not in ANY}
    if isinstance(config, (list, tuple)):
        return [_facts(value) for value in config]
    return config

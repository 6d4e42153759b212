"""Videos that a model has seen, to be asked about later."""

import json

import keras
import numpy as np
from keras import ops

from keras_stts.data.disk import replacing
from keras_stts.presets.parsing import parse_json

HALF = ("bfloat16", "float16")
FORMAT = "keras_stts.EncodedVideo.1"


class EncodedVideo:
    """A video as the language model sees it: keys and values of its tokens.

    `VideoVLM.encode` makes it, `generate` and `stream` take it where they take
    a video. A vision part never sees the text after it, so answers are those
    to the video itself.

    Args:
        prefix: Dict of `"layers"`, a list of a (key, value) for each layer of
            shape (1, S, heads, width), `"mask"`, bool (1, S), and `"length"`,
            int32 (1,), the position at which the text begins.
        head: Ints. Token ids up to the last vision token.
        timestamps: Seconds of the frames.
        grid: Rows and columns of blocks of a frame.
        fingerprint: Str. Which weights and settings it was made with.
        kept: Optional bool array (T, P), which blocks were kept. A frame here
            is a temporal patch, of two frames, of Qwen3-VL.
        scores: Optional float32 array (T, P).

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    model.compile(sampler="greedy")
    clip = keras_stts.datasets.shapes.render("test", 0)
    video = model.encode(clip.frames)
    video.save("clip.safetensors")
    video = keras_stts.EncodedVideo.load("clip.safetensors")
    questions = [row["question"] for row in clip.questions]
    model.generate({"videos": [video] * 8, "prompts": questions})
    ```
    """

    def __init__(
        self,
        prefix,
        *,
        head,
        timestamps,
        grid,
        fingerprint,
        kept=None,
        scores=None,
    ):
        self.prefix = prefix
        self.head = [int(i) for i in head]
        self.timestamps = np.asarray(timestamps, "float64")
        self.grid = tuple(int(n) for n in grid)
        self.fingerprint = fingerprint
        self.kept = kept
        self.scores = scores

    @property
    def num_tokens(self):
        """Tokens of the vision part that the language model keeps."""
        return int(ops.convert_to_numpy(self.prefix["mask"]).sum())

    @property
    def nbytes(self):
        """Bytes of the keys and values, padding included."""
        return sum(
            int(np.prod(x.shape)) * (2 if _dtype(x) in HALF else 4)
            for x in keras.tree.flatten(self.prefix["layers"])
        )

    def __repr__(self):
        return (
            f"EncodedVideo({len(self.timestamps)} frames, "
            f"{self.num_tokens} tokens, {self.nbytes / 1e6:.1f} MB)"
        )

    def check_head(self, head):
        """Raise unless a prompt begins as the one that this was made with."""
        if [int(i) for i in head] != self.head:
            raise ValueError(
                "What a prompt has before its video is part of the encoded "
                "video: the system message, and other images. Received: a "
                f"prompt with {len(head)} tokens up to the end of the video, "
                f"others than the {len(self.head)} that were encoded. Encode "
                "the video with `encode(video, prompt=...)` and a prompt that "
                "begins alike."
            )

    def save(self, path):
        """Write a safetensors file.

        Args:
            path: Path. An older file is replaced once the new one is whole.
        """
        from safetensors.numpy import save_file

        tensors = {"mask": self.prefix["mask"], "length": self.prefix["length"]}
        for i, pair in enumerate(self.prefix["layers"]):
            tensors |= zip((f"key.{i}", f"value.{i}"), pair)
        for name in ("kept", "scores"):
            if getattr(self, name) is not None:
                tensors[name] = getattr(self, name)
        facts = {
            "format": FORMAT,
            "head": self.head,
            "timestamps": self.timestamps.tolist(),
            "grid": self.grid,
            "fingerprint": self.fingerprint,
        }
        arrays = {name: _array(value) for name, value in tensors.items()}
        with replacing(path) as part:
            save_file(arrays, part, {"encoded_video": json.dumps(facts)})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote, under this or another backend.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no encoded video.
        """
        import safetensors

        try:
            with safetensors.safe_open(path, "np") as file:
                facts = (file.metadata() or {}).get("encoded_video", "{}")
                arrays = {name: file.get_tensor(name) for name in file.keys()}
            facts = parse_json(facts, str(path))
            if facts.pop("format", None) != FORMAT:
                raise ValueError("no encoded video in it")
            layers = sum(name.startswith("key.") for name in arrays)
            prefix = {
                "layers": [
                    (_tensor(arrays[f"key.{i}"]), _tensor(arrays[f"value.{i}"]))
                    for i in range(layers)
                ],
                "mask": _tensor(arrays["mask"]),
                "length": _tensor(arrays["length"]),
            }
            maps = {name: arrays.get(name) for name in ("kept", "scores")}
            return cls(prefix, **facts, **maps)
        except FileNotFoundError:
            raise
        except (
            KeyError,
            TypeError,
            ValueError,
            safetensors.SafetensorError,
        ) as error:
            raise ValueError(
                "An encoded video must be a file that `EncodedVideo.save` "
                f"wrote. Received: {str(path)!r} ({error}). Encode the video "
                "again with `model.encode`."
            ) from error


def _array(tensor):
    """A NumPy array of the same dtype; PyTorch's bfloat16 is read wider."""
    array = np.ascontiguousarray(ops.convert_to_numpy(tensor))
    return array.astype(_dtype(tensor)) if _dtype(tensor) in HALF else array


def _dtype(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


def _tensor(array):
    dtype = _dtype(array)
    if dtype == "bfloat16":  # Which PyTorch does not take from NumPy.
        return ops.cast(ops.convert_to_tensor(array.astype("float32")), dtype)
    return ops.convert_to_tensor(array)


def joined(videos):
    """The prefix of a batch of texts, each about one of these videos.

    Args:
        videos: List of `EncodedVideo`s, one for each text. If all are the
            same object, its keys and values are there once.

    Returns:
        Dict as `VideoVLMBackbone.decode` takes it, of tensors (B, S, ...) or
        (1, S, ...).
    """
    if all(video is videos[0] for video in videos):
        prefixes = [videos[0].prefix]
    else:
        prefixes = [video.prefix for video in videos]
    longest = max(prefix["mask"].shape[1] for prefix in prefixes)
    prefix = keras.tree.map_structure(
        lambda *parts: ops.concatenate(
            [_padded(part, longest) for part in parts]
        ),
        *prefixes,
    )
    mask = prefix.pop("mask")
    return {**prefix, "masks": [mask] * len(prefix["layers"])}


def _padded(x, length):
    if len(x.shape) < 2 or x.shape[1] == length:
        return x
    width = [(0, 0)] * len(x.shape)
    width[1] = (0, length - x.shape[1])
    return ops.pad(x, width)


def are_encoded(videos):
    """Whether a list of videos holds encoded ones."""
    if isinstance(videos, EncodedVideo):
        return True
    if not isinstance(videos, (list, tuple)):
        return False
    return any(isinstance(video, EncodedVideo) for video in videos)


def check_questions(x):
    """Raise unless a batch of questions is about encoded videos alone.

    Args:
        x: Dict of lists, see `VideoVLMPreprocessor`.

    Raises:
        ValueError: If some videos are not encoded, or something is given that
            encoding has settled.
    """
    rows = [v for v in x["videos"] if not isinstance(v, EncodedVideo)]
    if rows:
        raise ValueError(
            "A preprocessor takes a batch of encoded videos, or of others. "
            f"Received: both, such as a {type(rows[0]).__name__}. "
            "`model.generate` takes both."
        )
    given = [name for name in ("fps", "images") if x.get(name) is not None]
    if given and (given != ["images"] or any(x["images"])):
        raise ValueError(
            "An encoded video has been sampled, and stands alone before its "
            f'question. Received also: "{given[0]}". Leave it out.'
        )

"""Which kernels run attention in a model, found by tracing a twin of it."""

import contextlib
import math
import random

import keras
from keras import ops

from keras_stts import _hub_compat as hub
from keras_stts import config
from keras_stts.flops import packed_pairs
from keras_stts.kernels import notes
from keras_stts.models import sizes
from keras_stts.models.attention_report import AttentionReport
from keras_stts.models.backbone_bounds import is_int
from keras_stts.models.encoding import frames_of
from keras_stts.pruning import Merging
from keras_stts.pruning import Ranking

WAITING = "uninitialized_variables"


def report_of(
    model, num_frames=None, batch_size=1, prune_ratio=None, text_length=None
):
    """The `AttentionReport` of a `VideoVLM`; see its method."""
    twin = _twin(model.backbone, num_frames, prune_ratio)
    return _report(twin, model.preprocessor, batch_size, text_length)


def padding_flops(model, num_frames=None, prune_ratio=None, text_length=None):
    """Operations that kernels spend on padding, which `count_flops` leaves out.

    Returns:
        Dict of a part's name to an int: operations that run less those that
        `count_flops` counts. Negative where a kernel skips padding that is
        counted, that of groups of frames.
    """
    twin = _twin(model.backbone, num_frames, prune_ratio)
    found = {}
    for row in _report(twin, model.preprocessor, 1, text_length):
        if row["kind"] in ("images", "decode"):
            continue
        run = row["runs"][0]
        pairs = sum(r.rows * r.run_queries * r.run_keys for r in row["runs"])
        pairs -= _counted_pairs(twin, row)
        more = 4 * run.heads * run.width * pairs * len(row["layers"])
        found[row["part"]] = found.get(row["part"], 0) + more
    return found


def _counted_pairs(backbone, row):
    """Pairs of query and key in a layer, as `count_flops` counts them."""
    if row["kind"] == "packed":
        return packed_pairs(
            backbone.num_frames,
            backbone.num_blocks,
            backbone.num_kept_blocks,
            backbone.window**2,
        )
    return sum(run.rows * run.queries * run.keys for run in row["runs"])


def _report(twin, preprocessor, batch_size, text_length):
    _check_size("batch_size", batch_size)
    if text_length is None:
        text_length = preprocessor.sequence_length if preprocessor else 64
    _check_size("text_length", text_length)
    time_tokens = preprocessor.time_tokens if preprocessor else 8
    found = _Found(twin)
    inputs = _inputs(twin, batch_size, text_length, time_tokens)
    found.trace(inputs)
    facts = {
        "attention": config.attention(),
        "backend": keras.config.backend(),
        "num_frames": twin.num_frames,
        "batch_size": batch_size,
        "prune_ratio": twin.prune_ratio,
        "text_length": text_length,
    }
    return AttentionReport(found.rows(), facts)


def _check_size(name, size):
    if not is_int(size, 1, math.inf):
        raise ValueError(
            f"`{name}` must be a whole number, at least 1. Received: {name}="
            f"{size!r}."
        )


def _twin(backbone, num_frames, prune_ratio):
    """The backbone with other sizes, and weights without values."""
    changes = {"num_frames": num_frames, "prune_ratio": prune_ratio}
    changes = {name: x for name, x in changes.items() if x is not None}
    with _holding_nothing():
        config = sizes.changed(backbone.get_config(), changes)
        return type(backbone).from_config(config)


@contextlib.contextmanager
def _holding_nothing():
    """Context whose new variables get no values; random states stay."""
    waiting = list(hub.global_state.get_global_attribute(WAITING, []))
    state = random.getstate()
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Keras would give them values at the end of the next scope.
        hub.global_state.set_global_attribute(WAITING, waiting)
        random.setstate(state)


def _inputs(backbone, batch_size, text_length, time_tokens):
    """Dict of the symbols of a batch."""
    frames = backbone.num_frames
    frame = time_tokens + 2 + backbone.num_blocks
    lengths = {
        name: frames for name in ("videos", "frame_mask", "frame_segments")
    }
    names = ("token_ids", "padding_mask", "prompt_mask", "text_segments")
    lengths |= dict.fromkeys(names, text_length)
    # An image's tokens are followed by two more.
    whole = backbone.num_segments + frames * frame + backbone.num_image_tokens
    names = ("vision_token_ids", "vision_mask", "vision_segments")
    lengths |= dict.fromkeys(names, whole)
    return {
        name: keras.KerasTensor(
            (batch_size, lengths.get(name, x.shape[1]), *x.shape[2:]), x.dtype
        )
        for name, x in backbone.input.items()
    }


class _Found:
    """What the layers of a backbone run, which is traced and not run.

    Args:
        backbone: A `VideoVLMBackbone` whose layers are watched from now on.
    """

    def __init__(self, backbone):
        self.backbone = backbone
        self.calls = []  # Tuples of a kind, a layer's path, and its runs.
        self.kind = None
        encoder = backbone.vision_encoder
        scorer = getattr(backbone.pruning, "scorer", None)
        self.scorers = [] if scorer is None else [scorer]
        for layer in (
            *encoder.blocks,
            *self.scorers,
            backbone.connector,
            *backbone.transformer_layers,
        ):
            self._watch(layer)

    def _watch(self, layer):
        call = layer.call

        def watched(*args, **kwargs):
            with notes.taken() as runs:
                outputs = call(*args, **kwargs)
            if runs:
                kind = self._kind(layer, kwargs)
                self.calls.append((kind, layer.path, tuple(runs)))
            return outputs

        layer.call = watched

    def _kind(self, layer, kwargs):
        encoder = self.backbone.vision_encoder
        if layer in (*self.scorers, self.backbone.connector):
            return "pooling"
        if kwargs.get("context") and self.kind == "prefix":
            return "text"
        if self.kind != "frames":
            return self.kind
        if kwargs.get("bias") is not None:
            return "frames, score bias"
        method = self.backbone.pruning
        if isinstance(method, Merging) and method.ratio:
            return "merged"
        inside = isinstance(method, Ranking)
        if not (inside and method.prunes_in("vision_encoder")):
            return "frames"
        if layer not in encoder.blocks[method.layer + 2 :]:
            return "frames"
        return "refilled" if method.refill else "packed"

    def trace(self, inputs):
        """Let the backbone run a prefill and a step of decoding."""
        tracer = _Tracer(self._run)
        tracer(inputs)

    def _run(self, inputs):
        self.calls.clear()
        backbone, vision = self.backbone, {}
        if "videos" in inputs:
            self.kind = "frames"
            frames = frames_of(inputs)
            vision = backbone.encode_video(inputs["videos"], frames)
        if "images" in inputs:
            self.kind = "images"
            vision |= backbone.encode_images(inputs)
        self.kind = "prefix"
        hidden, prefix, cache = backbone.encode(inputs, vision)
        if "text_segments" not in inputs:  # Rows of several only train.
            self.kind = "decode"
            token = inputs["token_ids"][:, :1]
            backbone.decode(token, prefix, cache=cache, index=0)
        return ops.sum(hidden)

    def rows(self):
        """Calls that differ in their layers alone, as one."""
        order = {}
        for kind, path, runs in self.calls:
            order.setdefault((_part(path), kind, runs), []).append(path)
        return [
            {
                "part": part,
                "kind": kind,
                "layers": layers,
                "runs": list(runs),
                "kernel": ", ".join(dict.fromkeys(r.kernel for r in runs)),
                "reason": next((r.reason for r in runs if r.reason), None),
            }
            for (part, kind, runs), layers in order.items()
        ]


def _part(path):
    name = path.split("/")[0]
    if "/scorer" in path:
        return "scorer"
    known = ("vision_encoder", "connector")
    return name if name in known else "language_model"


class _Tracer(keras.layers.Layer):
    """Traces a function of tensors, given symbols."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def call(self, inputs):
        return self.run(inputs)

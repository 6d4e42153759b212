"""What a program holds beside weights: from the first frame to the loss.

A program is a chain of stages, forward and, where something below is
trained, backward. At each the bytes that are alive are what stages before it
keep and what it works with itself; the most of them is what must fit.
"""

from collections import namedtuple

from keras_stts.memory.weights import itemsize
from keras_stts.memory.weights import part_of_weight

FLOAT = 4  # Bytes of a float32.
# Most logits of attention that are there at once: float32, exponentials, and
# these in the dtype of values.
MOST_LOGITS = 3 * 2**26

Stage = namedtuple(
    "Stage", ["part", "kept", "forward", "backward"], defaults=[0, 0, 0]
)
Stage.__doc__ = """A step of the program.

Attributes:
    part: Str.
    kept: Number of bytes that stay for the backward pass.
    forward: Number of bytes that its forward pass works with.
    backward: Number of bytes that its backward pass works with; 0 if it has
        none.
"""

# For the gradient of a block, numbers kept of a token, in widths of the
# residual stream, of all heads, and of the MLP: what a compiler does not
# compute again by itself.
Kept = namedtuple("Kept", ["width", "heads", "hidden"])
KEPT = {
    "tpu": {"vision": Kept(3, 4, 1), "language": Kept(3, 4, 2)},
    "gpu": {"vision": Kept(5, 4, 2), "language": Kept(3, 4, 3)},
}


def backward_starts(weights, config, runs_scorer):
    """Where the backward pass ends, going down from the loss.

    Args:
        weights: List of `Weight`.
        config: Dict of the arguments of `VideoVLMBackbone`.
        runs_scorer: Bool.

    Returns:
        Dict of `"vision_encoder"` and `"language_model"`: the lowest block
        whose inputs or weights have a gradient, or the number of blocks if
        none has; `"connector"`, `"scorer"`, `"head"`: bool.
    """
    trained = [w for w in weights if w.trainable]
    parts = {part_of_weight(w) for w in trained}
    vision = _lowest(trained, "vision_encoder/", "block_", config, "vision_")
    if "scorer" in parts and runs_scorer:
        # Its gradient comes by the bias of the block after it.
        vision = min(vision, config["prune_layer"] + 1)
    connector = "connector" in parts or vision < config["vision_num_layers"]
    text = _lowest(trained, "", "transformer_layer_", config, "")
    return {
        "vision_encoder": vision,
        "scorer": "scorer" in parts and runs_scorer,
        "connector": connector,
        "language_model": 0 if connector else text,
        "head": bool(trained),
    }


def _lowest(trained, start, block, config, prefix):
    """The lowest block with something to train, embeddings being below 0."""
    count = config[f"{prefix}num_layers"]
    places = [count]
    for weight in trained:
        name = weight.path.removeprefix(start)
        if not weight.path.startswith(start) or name.startswith("scorer"):
            continue
        if name.startswith(block):
            places.append(int(name.removeprefix(block).split("/")[0]))
        elif name.startswith(("patch_", "position_", "token_")):
            places.append(0)
    return min(places)


class Program:
    """The stages of a batch, in bytes.

    Args:
        config: Dict of the arguments of `VideoVLMBackbone`.
        tokens: `Tokens`.
        dtype: Str, that of computing.
        device: `"tpu"` or `"gpu"`.
        rematerialize: Bool.
        split: Int. Chips that heads and MLPs are split over.
    """

    def __init__(self, config, tokens, dtype, device, rematerialize, split=1):
        self.config = config
        self.tokens = tokens
        self.size = itemsize(dtype)
        self.kept = KEPT[device]
        self.rematerialize = rematerialize
        self.split = split

    def vision_stages(self, starts, trains, runs_scorer):
        """Stages of embedding, blocks, scorer and connector."""
        c, size = self.config, self.size
        width = c["vision_hidden_dim"]
        inner = c["vision_num_heads"] * c["vision_head_dim"]
        hidden = c["vision_intermediate_dim"]
        pixels = 3 * c["patch_size"] ** 2
        whole = self.tokens.whole
        stages = [
            Stage("vision_encoder", forward=whole * (2 * pixels + width) * size)
        ]
        for i, n in enumerate(self.tokens.late):
            back = trains and i >= starts["vision_encoder"]
            stages.append(
                self._block(
                    "vision_encoder",
                    n,
                    width,
                    (inner,) * 4,
                    hidden,
                    1,
                    back,
                    n * c["vision_num_heads"] * self.tokens.patches,
                )
            )
            if runs_scorer and i == c["prune_layer"]:
                stages.append(self._scorer(trains and starts["scorer"]))
            if i in c["vision_feature_layers"]:
                stages.append(Stage("connector", self._features(n) * size))
        stages.append(self._connector(trains and starts["connector"]))
        return stages

    def _features(self, n):
        return min(n, self.tokens.kept) * self.config["vision_hidden_dim"]

    def _block(self, part, n, width, heads, hidden, gates, back, pairs):
        """Of a transformer block on n tokens.

        Args:
            heads: Widths of queries, keys, values and what they make.
            hidden: Int, width of the MLP.
            gates: Int, products in the MLP before the last.
            back: Bool. Whether it has a backward pass.
            pairs: Int, logits of all its queries.
        """
        size, kept = self.size, self.kept[_kind(part)]
        heads, hidden = sum(heads) / self.split, hidden / self.split
        attention = n * (2 * width + heads) * size
        attention += min(3 * FLOAT * pairs, MOST_LOGITS)
        mlp = n * (2 * width + (gates + 1) * hidden) * size
        inside = kept.width * width + kept.hidden * hidden
        inside = n * (inside + kept.heads * heads / 4) * size
        forward = max(attention, mlp)
        if not back:
            return Stage(part, 0, forward)
        if not self.rematerialize:
            return Stage(part, inside, forward, forward)
        return Stage(part, n * width * size, forward, inside + forward)

    def _scorer(self, back):
        """Blocks side by side, keys and values of all patches."""
        c, n = self.config, self.tokens.frames * self.tokens.patches
        width = c["vision_hidden_dim"]
        work = n * width * (3 * self.size + FLOAT)
        kept = n * width * 3 * self.size if back else 0
        kept += n * width * self.size  # The block after it.
        return Stage("scorer", kept, work, 2 * work if back else 0)

    def _connector(self, back):
        c, size = self.config, self.size
        inner = c["connector_num_heads"] * c["connector_head_dim"]
        patches = c["window"] ** 2
        n = self.tokens.shown
        width = c["vision_hidden_dim"] * len(c["vision_feature_layers"])
        pool = n * patches * (width + 2 * inner / self.split)
        hidden = n * 3 * c["connector_intermediate_dim"] / self.split
        work = max(pool, hidden) * size
        kept = (pool + hidden) * size if back else 0
        return Stage("connector", kept, work, work if back else 0)

    def language_stages(self, starts, trains):
        """Stages of the vision part, then of the text part."""
        c, size = self.config, self.size
        width, hidden = c["hidden_dim"], c["intermediate_dim"]
        queries = c["num_query_heads"] * c["head_dim"]
        keys = c["num_key_value_heads"] * c["head_dim"]
        heads = (queries, keys, keys, queries)
        name, stages = "language_model", []
        text, count = self.tokens.text, c["num_query_heads"]
        batch = self.tokens.batch
        for i, n in enumerate(self.tokens.prefix):
            back = trains and i >= starts["language_model"]
            pairs = n * n // batch * count
            block = self._block(name, n, width, heads, hidden, 2, back, pairs)
            if i == c["num_layers"] - 1:
                # Nothing but its keys and values is read.
                block = Stage(name, 0, n * (width + 2 * keys) * size)
            stages.append(block)
        for i, n in enumerate(self.tokens.prefix):
            back = trains and i >= starts["language_model"]
            pairs = text * (n + text) // batch * count
            stages.append(
                self._block(name, text, width, heads, hidden, 2, back, pairs)
            )
        return stages

    def cache_bytes(self, text=True):
        """Keys and values of vision part and text part."""
        c = self.config
        heads = c["num_key_value_heads"]
        heads = heads / self.split if heads % self.split == 0 else heads
        width = 2 * heads * c["head_dim"] * self.size
        own = c["num_layers"] * self.tokens.text if text else 0
        return (sum(self.tokens.prefix) + own) * width

    def logit_bytes(self, rows, trains=False):
        """Of a number of tokens: logits, and float32 for their softmax."""
        vocabulary = self.config["vocabulary_size"] / self.split
        copies = FLOAT * (2 if trains else 1)
        return rows * vocabulary * (self.size * (2 if trains else 1) + copies)


def _kind(part):
    return "vision" if part == "vision_encoder" else "language"


def peak(stages):
    """Most bytes alive at once, by part.

    Args:
        stages: List of `Stage`.

    Returns:
        Dict of part to bytes at the worst moment.
    """
    alive, worst = dict.fromkeys((stage.part for stage in stages), 0), {}
    for stage in stages:
        worst = _worse(worst, alive, stage.part, stage.forward)
        alive[stage.part] += stage.kept
        worst = _worse(worst, alive, stage.part, 0)
    for stage in reversed(stages):
        worst = _worse(worst, alive, stage.part, stage.backward)
        alive[stage.part] -= stage.kept
    return worst


def _worse(worst, alive, part, work):
    moment = {**alive, part: alive[part] + work}
    return max(worst, moment, key=lambda moment: sum(moment.values()))

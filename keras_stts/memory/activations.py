"""What a program holds beside weights: from the first frame to the loss.

A program is a chain of stages, forward and, where something below is
trained, backward. At each the bytes that are alive are what stages before it
keep and what it works with itself; the most of them is what must fit.
"""

import math
from collections import namedtuple

from keras_stts.kernels.chunked import MOST_UNROLLED
from keras_stts.memory import backward
from keras_stts.memory.stages import Stage
from keras_stts.memory.weights import itemsize
from keras_stts.memory.weights import part_of_weight
from keras_stts.models.sizes import counted
from keras_stts.training.text_loss import chunk_length

FLOAT = 4  # Bytes of a float32.
# Most logits of attention that are there at once: float32, exponentials, and
# these in the dtype of values.
MOST_LOGITS = 3 * 2**26
# Most queries that fused attention on a GPU runs at once if each has a mask.
MOST_QUERIES = 1024

# Bytes of gradients that are summed at once over GPUs which have a part of each
# weight: what they are products of waits until there are as many.
SUMMED = 96 * 2**20

# For the gradient of a block, numbers kept of a token, in widths of the
# residual stream, of all heads, and of the MLP: what a compiler does not
# compute again by itself.
Kept = namedtuple("Kept", ["width", "heads", "hidden"])
KEPT = {
    "tpu": {"vision": Kept(3, 1, 1), "language": Kept(3, 1, 2)},
    "gpu": {"vision": Kept(5, 1, 3), "language": Kept(3, 1, 3)},
}
# How often one TPU's plan holds what a block of the language model keeps, if
# the rest is computed again: found from plans of two families.
HELD = 2.5
# Shares of all weights, and of the gradients of those that are trained.
GATHERED, WAITING = 0.5, 0.4


class Program:
    """The stages of a batch, in bytes.

    Args:
        config: Dict of the arguments of `VideoVLMBackbone`.
        tokens: `Tokens`.
        weights: List of `Weight`.
        dtype: Str, that of computing.
        device: `"tpu"` or `"gpu"`.
        phase: Str. See `VideoVLM.memory`.
        split: Int. Chips that heads and MLPs are split over.
        shared: Int. Chips that weights and gradients are cut over.
        in_chunks: Bool. Whether the loss takes a chunk of logits at a time.
    """

    def __init__(
        self,
        config,
        tokens,
        weights,
        dtype,
        device,
        *,
        phase,
        split=1,
        shared=1,
        in_chunks=True,
    ):
        self.config = counted(config)
        self.tokens = tokens
        self.size = itemsize(dtype)
        self.is_gpu = device == "gpu"
        self.kept = KEPT[device]
        self.split = split
        self.shared = shared
        self.in_chunks = in_chunks
        self.phase = phase
        self.weights = weights
        self.trains = phase == "fit"
        trained = weights if self.trains else []
        self.gradients = backward.gradients_by_stage(trained, shared)
        self.embedding = backward.embedding_bytes(trained, shared)
        self.starts = backward.backward_starts(
            trained, config, "scorer" in self.gradients
        )

    def gathered_bytes(self):
        """Bytes by part that TPUs hold of weights cut over chips, in training.

        Their compiler brings weights together sooner than they are needed,
        and cuts gradients later than they are made. Of 4 chips: on 8 it
        cuts products into loops over chips, which hold more if all weights
        are trained, see docs/memory.md.
        """
        if self.is_gpu or not self.trains or self.shared <= self.split:
            return {}
        found = {}
        for weight in self.weights:
            part = part_of_weight(weight)
            share = GATHERED + WAITING * weight.trainable
            size = math.prod(weight.shape) * self.size
            found[part] = found.get(part, 0) + share * size
        return found

    def stages(self, runs_scorer):
        """All of them, in the order in which they run."""
        return [
            *self.vision_stages(runs_scorer),
            *self.language_stages(),
            self._head(),
        ]

    def vision_stages(self, runs_scorer):
        """Stages of embedding, blocks, scorer and connector."""
        c, size, part = self.config, self.size, "vision_encoder"
        width = c["vision_hidden_dim"]
        inner = c["vision_num_heads"] * c["vision_head_dim"]
        pixels, whole = c["pixels"], self.tokens.whole
        embedded = whole * (2 * pixels + width) * size
        stages = [Stage(part, forward=embedded)]
        for i, n in enumerate(self.tokens.late):
            back = self.trains and i >= self.starts[part]
            pairs = n * c["vision_num_heads"] * self.tokens.patches
            block = self._block(
                (part, i),
                n,
                (width, (inner,) * 4, c["vision_intermediate_dim"]),
                gates=1,
                back=back,
                pairs=pairs,
                rotated=2 * inner * c.get("vision_rotates", False),
            )
            stages.append(block)
            if runs_scorer and i == c["prune_layer"]:
                stages.append(self._scorer())
            if i in c["vision_feature_layers"]:
                features = min(n, self.tokens.kept) * width * size
                stages.append(self._features(features))
        return [*stages, self._connector()]

    def _block(self, name, n, widths, *, gates, back, pairs, rotated=0):
        """Of a transformer block on n tokens.

        Args:
            name: Tuple of part and number.
            widths: Tuple of that of the residual stream, a tuple of those of
                queries, keys, values and what they make, and of the MLP's.
            gates: Int, products in the MLP before the last.
            back: Bool. Whether it has a backward pass.
            pairs: Int, logits of all its queries.
            rotated: Int, numbers of a token that are rotated by its position.
        """
        size, part = self.size, name[0]
        width, heads, hidden = widths
        heads, hidden = sum(heads) / self.split, hidden / self.split
        attention = n * (2 * width + heads) * size
        if pairs:
            attention += min(3 * FLOAT * pairs, MOST_LOGITS)
        if not self.is_gpu:  # Before and after, which GPUs do in one kernel.
            attention += 2 * n * rotated / self.split * FLOAT
        mlp = n * (3 * width + gates * hidden) * size
        forward = max(attention, mlp)
        if not back:
            return Stage(part, forward=forward)
        kept = self.kept["vision" if part == "vision_encoder" else "language"]
        inside = kept.width * width + kept.heads * heads + kept.hidden * hidden
        inside = n * inside * size
        gradients = self.gradients.get(name, 0)
        work = max(attention, n * (2 * width + gates * hidden) * size)
        work += self._waiting(name) * n * (2 * hidden + 6 * width) * size
        if not self.config["rematerialize"]:
            return Stage(part, inside, forward, work, gradients)
        return Stage(part, n * width * size, forward, inside + work, gradients)

    def _waiting(self, name):
        """How many blocks' gradients are not yet products, of all of a part."""
        gradients = self.gradients.get(name, 0)
        cut = self.shared > self.split
        if not self.is_gpu or not cut or not gradients:
            return 0
        # Gradients of single blocks have names of part and number.
        blocks = sum(each[0] == name[0] for each in self.gradients)
        return min(blocks, int(SUMMED // (gradients * self.shared)))

    def _scorer(self):
        """Blocks side by side, keys and values of all patches."""
        c, n = self.config, self.tokens.frames * self.tokens.patches
        width = c["vision_hidden_dim"]
        # Patches; keys, values and products of these with queries or shares.
        heads = 2 * self.size + FLOAT
        work = n * width * (self.size + heads)
        back = self.starts["scorer"]
        kept = n * width * 3 * self.size if back else 0
        kept += n * width * self.size  # The block after it.
        gradients = self.gradients.get("scorer", 0)
        return Stage("scorer", kept, work, 2 * work * back, gradients)

    def _features(self, size):
        """What the connector takes, and the gradient in its place."""
        return Stage("connector", size, backward=self.starts["connector"])

    def _connector(self):
        c, size = self.config, self.size
        costs, patches = c["connector_costs"], c["window"] ** 2
        n = self.tokens.shown
        width = c["vision_hidden_dim"] * len(c["vision_feature_layers"])
        pool = n * costs.pooled / self.split
        hidden = n * costs.hidden / self.split
        work = max(pool + n * patches * width, hidden) * size
        if not self.starts["connector"]:
            return Stage("connector", forward=work)
        gradients = self.gradients.get("connector", 0)
        return Stage("connector", (pool + hidden) * size, work, work, gradients)

    def language_stages(self):
        """Stages of the vision part, then of the text part."""
        c, size, name = self.config, self.size, "language_model"
        width = c["hidden_dim"]
        queries = c["num_query_heads"] * c["head_dim"]
        keys = c["num_key_value_heads"] * c["head_dim"]
        widths = (width, (queries, keys, keys, queries), c["intermediate_dim"])
        batch, text = self.tokens.batch, self.tokens.text
        # Zeros and sum: compilers make it when little else is there.
        before = [Stage(name, backward=2 * self.embedding)]
        after = []
        for i, n in enumerate(self.tokens.prefix):
            back = self.trains and i >= self.starts[name]
            pairs = n * n // batch * c["num_query_heads"]
            block = self._block(
                (name, i), n, widths, gates=2, back=back, pairs=pairs
            )
            cached = 2 * n * keys * size
            if i == c["num_layers"] - 1:
                # Nothing but its keys and values is read.
                work = n * (width + 2 * keys) * size
                block = Stage(name, n * width * size, work, work)
            before.append(self._cached(block, cached, n, queries, back))
            pairs = text * (n + text) // batch * c["num_query_heads"]
            own = self._block(
                (name, i), text, widths, gates=2, back=back, pairs=pairs
            )
            if back and not c["rematerialize"]:
                # The gradients of keys and values that it sees.
                own = own._replace(gradients=own.gradients + cached)
            after.append(own)
        return [*before, *after]

    def _cached(self, block, cached, n, queries, back):
        """The vision part's block, with the keys and values that it makes."""
        rows = self.tokens.batch * MOST_QUERIES
        pieces, zeros = -(-n // rows), 0
        if self.is_gpu and pieces > MOST_UNROLLED:  # In a loop.
            zeros = cached if back else pieces * rows * queries * self.size
        if not back:
            # Elsewhere they are what is asked for.
            kept = cached if self.phase in ("fit", "evaluate") else 0
            return Stage(block.part, kept, block.forward, zeros=zeros)
        if not self.config["rematerialize"]:
            # Kept inside.
            return block._replace(gradients=-cached, zeros=zeros)
        # Until their gradients take their place.
        kept = block.kept + cached
        if not self.is_gpu and self.shared == 1:
            kept *= HELD
        return block._replace(kept=kept, gradients=0, zeros=zeros)

    def _head(self):
        last = self.phase not in ("fit", "evaluate")
        size = self.logit_bytes(self.tokens.batch if last else None)
        # Whole, where chips have a part of it each.
        kernel = self.config["hidden_dim"] * self.config["vocabulary_size"]
        kernel *= self.size * (self.shared > self.split)
        if not self.starts["head"]:
            return Stage("head", forward=size + kernel)
        work = size / 2 + kernel
        if self._tokens_at_once() == self.tokens.text:
            return Stage("head", size / 2, work, work)
        # The gradient of the head is there from the first chunk on.
        gradients = self.gradients.get("head", 0)
        return Stage("head", 0, 2 * work, 2 * work, gradients)

    def cache_bytes(self, *, text=True):
        """Keys and values of vision part and text part."""
        c = self.config
        heads = c["num_key_value_heads"]
        heads = heads / self.split if heads % self.split == 0 else heads
        width = 2 * heads * c["head_dim"] * self.size
        own = c["num_layers"] * self.tokens.text if text else 0
        return (sum(self.tokens.prefix) + own) * width

    def logit_bytes(self, rows=None):
        """Of a number of tokens, by default of those of the text part.

        Compilers make float32 of them as they sum, not in memory; training
        has their gradient, too. Of long texts there is a chunk at a time.
        """
        rows = self._tokens_at_once() if rows is None else rows
        vocabulary = self.config["vocabulary_size"] / self.split
        return rows * vocabulary * self.size * (2 if self.trains else 1)

    def _tokens_at_once(self):
        batch = self.tokens.batch
        if not self.in_chunks:
            return self.tokens.text
        shape = (batch, self.tokens.text // batch)
        return batch * chunk_length(shape, self.config["vocabulary_size"])

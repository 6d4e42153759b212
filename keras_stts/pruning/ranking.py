import keras
from keras import ops

from keras_stts.ops import neighbor_similarity

PLACES = ("vision_encoder", "connector")


class Ranking(keras.layers.Layer):
    """Scores the blocks of a video; the highest-scoring stay, and frame 0.

    The base class of ways to prune. To write one, say what `call` gives;
    budgets, padding, several samples a row, training and generation are
    taken care of.

    Args:
        place: Where blocks are ranked and pruned. `"vision_encoder"`: after
            block `prune_layer`, so that the rest of the vision encoder,
            connector and language model run on what stays. `"connector"`:
            after it, so that only the language model does. Defaults to the
            place of the class.

    Call arguments:
        blocks: Float32 tensor (B, T, P, F): in the vision encoder a block's
            patches side by side, after the connector its embedding.
        frame_mask: Optional bool tensor (B, T), False for padding frames.
            What these score does not matter, and they must not matter to
            what others score.
        segments: Optional int tensor (B, T): which of several videos that
            share a row a frame belongs to, see
            `keras_stts.ops.select_blocks`.

    Returns:
        Tensor (B, T, P), higher is better. Scores are compared within a video
        only. No gradient flows through the choice: what has weights learns by
        `attention_bias`, or by a loss of its own, which `call` adds with
        `self.add_loss`. A preset that was saved with another method has no
        weights for them; they start untrained.

    Examples:
    ```python
    @keras.saving.register_keras_serializable("my_project")
    class Contrast(keras_stts.pruning.Ranking):
        '''Blocks unlike the rest of their frame stay.'''

        place = "connector"

        def __init__(self, power=2, **kwargs):
            super().__init__(**kwargs)
            self.power = power

        def call(self, blocks, frame_mask=None, segments=None):
            mean = keras.ops.mean(blocks, axis=2, keepdims=True)
            distance = keras.ops.abs(blocks - mean) ** self.power
            return keras.ops.sum(distance, axis=-1)

        def get_config(self):
            return {**super().get_config(), "power": self.power}

    model = keras_stts.VideoVLM.from_preset("shapes_tiny", pruning=Contrast())
    ```

    One that is trained, by a loss of its own and by the answers':
    ```python
    @keras.saving.register_keras_serializable("my_project")
    class Learned(keras_stts.pruning.Ranking):
        '''Foresees how much a block changes.'''

        def build(self, blocks_shape):
            self.dense = keras.layers.Dense(1, activation="sigmoid")
            self.dense.build(blocks_shape)
            self.built = True

        def call(self, blocks, frame_mask=None, segments=None):
            scores = self.dense(blocks)[..., 0]
            change = 1 - keras_stts.ops.neighbor_similarity(blocks)
            error = keras.ops.square(scores - keras.ops.stop_gradient(change))
            self.add_loss(keras.ops.mean(error))
            return scores

        def attention_bias(self, scores, segments=None):
            return keras.ops.log(scores)

    model = keras_stts.VideoVLM.from_preset("shapes_tiny", pruning=Learned())
    ```
    """

    place = PLACES[0]
    prunes_blocks = True

    def __init__(self, place=None):
        super().__init__(name="ranking", dtype="float32")
        if place is not None:
            self.place = place
        if self.place not in PLACES:
            raise ValueError(
                f"`place` must be one of {', '.join(PLACES)}. Received: "
                f"place={place!r}."
            )

    def call(self, blocks, frame_mask=None, segments=None):
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `call(blocks, "
            "frame_mask=None, segments=None)`."
        )

    def attention_bias(self, scores, segments=None):
        """What the scores add to attention, by which they learn.

        The choice of blocks has no gradient. A bias of the logits of
        attention to a block's patches, in the vision block that runs next,
        on all patches, lets the loss of the answers reach what made the
        scores.

        Args:
            scores: Tensor (B, T, P), what `call` returned.
            segments: See `call`.

        Returns:
            Float32 tensor (B, T, P), or `None`, the default, for no bias. Of
            methods whose place is the connector it is not asked.
        """
        return None

    def flops(self, num_frames, num_blocks, width):
        """Floating point operations of `call`, for `VideoVLM.flops`.

        Args:
            num_frames: Int T.
            num_blocks: Int P.
            width: Int F.

        Returns:
            Number. Defaults to 0.
        """
        return 0

    def compute_output_shape(self, blocks_shape, *args, **kwargs):
        return blocks_shape[:-1]

    def get_build_config(self):
        """None: a config is of the settings alone."""

    def get_config(self):
        return {"place": self.place}


@keras.saving.register_keras_serializable(package="keras_stts")
class STTS(Ranking):
    """The trained scorer, whose scores also become a bias of attention.

    Its weights are the vision encoder's, there whatever ranks the blocks, so
    that methods can be compared on one set of weights. The encoder calls
    `keras_stts.layers.TokenScorer` in the place of this, and
    `keras_stts.layers.ScoreBias`, by which the loss trains it.

    Reference:
        STTS (arXiv 2603.18004).
    """

    def __init__(self, place=None):
        super().__init__(place)
        if self.place != "vision_encoder":
            raise ValueError(
                "STTS biases the attention of a vision block, so its place "
                f'is "vision_encoder". Received: place={place!r}.'
            )


@keras.saving.register_keras_serializable(package="keras_stts")
class Random(Ranking):
    """Blocks drawn without replacement, anew each time.

    Args:
        seed: Int. Of the first draw.
        place: See `Ranking`.
    """

    def __init__(self, seed=0, place=None):
        super().__init__(place)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, blocks, frame_mask=None, segments=None):
        shape = ops.shape(blocks)[:3]
        return keras.random.uniform(shape, seed=self.seed_generator)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_stts")
class FrameSimilarity(Ranking):
    """1 - cosine of a block with the same block of the previous frame.

    In the vision encoder this is the heuristic that STTS is compared with.

    Args:
        place: See `Ranking`.

    Reference:
        STTS (arXiv 2603.18004).
    """

    def call(self, blocks, frame_mask=None, segments=None):
        return 1.0 - neighbor_similarity(blocks, segments=segments)


@keras.saving.register_keras_serializable(package="keras_stts")
class EVS(FrameSimilarity):
    """Efficient Video Sampling: frame similarity, after the connector.

    As published, the first frame stays and the rest of the budget goes to
    the blocks of the whole video that changed most. The budget is that of
    all methods here, `keras_stts.ops.num_kept_blocks`; the published one is
    `int(P * T * (1 - prune_ratio))`, which can be one block less.

    Args:
        place: See `Ranking`.

    Reference:
        EVS (arXiv 2510.14624).
    """

    place = "connector"

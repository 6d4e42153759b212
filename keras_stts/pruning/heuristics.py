"""Rankings without weights."""

import keras
from keras import ops

from keras_stts.ops import Frames
from keras_stts.ops import neighbor_similarity
from keras_stts.pruning.ranking import Ranking


@keras.saving.register_keras_serializable(package="keras_stts")
class Random(Ranking):
    """Blocks drawn without replacement, anew each time.

    Args:
        ratio: See `Ranking`.
        seed: Int. Of the first draw.
        **kwargs: See `Ranking`.
    """

    def __init__(self, ratio=None, *, seed=0, **kwargs):
        super().__init__(ratio, **kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, blocks, frames=Frames()):
        shape = ops.shape(blocks)[:3]
        return keras.random.uniform(shape, seed=self.seed_generator)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_stts")
class FrameSimilarity(Ranking):
    """1 - cosine of a block with the same block of the previous frame.

    In the vision encoder this is the heuristic that STTS is compared with.

    Args: See `Ranking`.

    Reference:
        STTS (arXiv 2603.18004).
    """

    def call(self, blocks, frames=Frames()):
        return 1.0 - neighbor_similarity(blocks, segments=frames.segments)


@keras.saving.register_keras_serializable(package="keras_stts")
class EVS(FrameSimilarity):
    """Efficient Video Sampling: frame similarity, after the connector.

    As published, the first frame stays and the rest of the budget goes to
    the blocks of the whole video that changed most. The budget is that of
    all methods here, `keras_stts.ops.num_kept_blocks`; the published one is
    `int(P * T * (1 - ratio))`, which can be one block less.

    Args: See `Ranking`.

    Reference:
        EVS (arXiv 2510.14624).
    """

    place = "connector"

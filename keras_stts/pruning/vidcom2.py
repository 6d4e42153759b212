import math

import keras
from keras import ops

from keras_stts.ops import Frames
from keras_stts.ops.segments import same_video
from keras_stts.pruning.ranking import Ranking

# Widths of the Gaussian kernels, doubled variances.
WIDTHS = [2.0**k for k in range(-2, 3)]


@keras.saving.register_keras_serializable(package="keras_stts")
class VidCom2(Ranking):
    """Video Compression Commander: distinctive frames keep more blocks.

    On the channels that vary least, and on vectors of length 1, a block is
    compared with the mean of its video and of its frame by a sum of Gaussian
    kernels. The lower both, the sooner it stays. A frame whose blocks are
    unlike their video has a larger share `s = 1 + p - mean(p)`, where p is
    the softmax over frames of the negative mean kernel by `temperature`.

    As published, a frame keeps `round(s * (1 - ratio) * P)` blocks, so
    the total depends on the data. Here it is known before the run: the j-th
    best block of a frame, from 0, scores `s / (j + 0.5)`, which hands out a
    total in the proportion of the shares (Sainte-Laguë). Two more things
    differ. Frame 0 is never pruned, as for all methods here, and the others
    share what is left. And what a frame cannot take, as its share is more
    than all its blocks, goes to other frames and is not lost.

    Args:
        channels: Float in (0, 1]. Share of the channels that are compared.
        temperature: Float. The lower, the more distinctive frames get.
        ratio: See `Ranking`.
        **kwargs: See `Ranking`.

    Reference:
        VidCom2 (arXiv 2505.14454), with the constants of its code.
    """

    place = "connector"

    def __init__(self, ratio=None, *, channels=0.5, temperature=0.01, **kwargs):
        super().__init__(ratio, **kwargs)
        if not 0 < channels <= 1 or temperature <= 0:
            raise ValueError(
                "`channels` must lie in (0, 1], and `temperature` be "
                f"positive. Received: channels={channels}, temperature="
                f"{temperature}."
            )
        self.channels = channels
        self.temperature = temperature

    def call(self, blocks, frames=Frames()):
        real = frames.real(blocks)
        members = same_video(ops.any(real, axis=-1), frames.segments)
        weights = members / _count(members)[..., None]
        x = blocks * self._steadiest(blocks, weights, real)[:, :, None]
        squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
        x = x * ops.rsqrt(ops.maximum(squares, 1e-24))
        frame = _mean_of_blocks(x, real)
        video = ops.einsum("bmt,btf->bmf", weights, frame)
        to_video, to_frame = _kernels(x, video), _kernels(x, frame)
        shares = self._shares(-_mean_of_blocks(to_video, real), members)
        both = ops.where(real, to_video + to_frame, math.inf)
        order = ops.argsort(both, axis=-1)
        rank = ops.cast(ops.argsort(order, axis=-1), "float32")
        return shares[..., None] / (rank + 0.5)

    def _steadiest(self, blocks, weights, real):
        """1 at the channels that vary least in a video, else 0: (B, M, F)."""
        width = blocks.shape[-1]
        mean = _mean_of_blocks(blocks, real)
        mean = ops.einsum("bmt,btf->bmf", weights, mean)
        spread = ops.square(blocks - mean[:, :, None])
        spread = _mean_of_blocks(spread, real)
        variance = ops.einsum("bmt,btf->bmf", weights, spread)
        rank = ops.argsort(ops.argsort(variance, axis=-1), axis=-1)
        return ops.cast(rank < max(1, int(width * self.channels)), "float32")

    def _shares(self, frames, members):
        """Shares (B, T) of frames (B, T) that are the more distinctive."""
        others = ops.where(members > 0, frames[:, None], -1e30)
        top = ops.max(others, axis=-1)
        others = ops.exp((others - top[..., None]) / self.temperature)
        own = ops.exp(ops.minimum(frames - top, 0.0) / self.temperature)
        return 1.0 + own / ops.sum(others, axis=-1) - 1.0 / _count(members)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "temperature": self.temperature,
        }


def _mean_of_blocks(x, real):
    """Mean over the real blocks of each frame: (B, T, P, ...) -> (B, T, ...).

    Args:
        x: Float tensor (B, T, P, ...).
        real: Bool tensor (B, T, P).
    """
    real = ops.cast(real, "float32")
    share = real / ops.maximum(ops.sum(real, axis=-1, keepdims=True), 1.0)
    return ops.einsum("btp,btp...->bt...", share, x)


def _count(members):
    """Frames of each video: (B, M, T) -> (B, M)."""
    return ops.maximum(ops.sum(members, axis=-1), 1.0)


def _kernels(x, center):
    """Blocks (B, T, P, F) beside a center (B, 1 or T, F): (B, T, P)."""
    distance = ops.sum(ops.square(x - center[:, :, None]), axis=-1)
    return sum(ops.exp(-distance / width) for width in WIDTHS)

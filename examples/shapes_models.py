"""Tiny video language models for `datasets.shapes`, one of each family."""

import json

import numpy as np
from tokenizers import Tokenizer
from tokenizers import models
from tokenizers import pre_tokenizers
from tokenizers import trainers

import keras_stts
from keras_stts import language
from keras_stts import towers
from keras_stts.data.bicubic import resize_bicubic
from keras_stts.datasets import shapes
from keras_stts.preprocessing.chat import PLAIN_TEMPLATE
from keras_stts.preprocessing.qwen3_vl.tokenizer import (
    VISION_TOKENS as QWEN_TOKENS,
)
from keras_stts.preprocessing.video_vlm_tokenizer import VISION_TOKENS

HIDDEN_DIM = 96
NUM_LAYERS = 3
DECODER = {
    "num_query_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 24,
    "intermediate_dim": 256,
    "rope_max_wavelength": 10000.0,
}
VISION_DIM = 64
VISION_LAYERS = 6
# Layers whose outputs DeepStack adds in the language model, after pruning.
DEEPSTACK_LAYERS = [3, 4]
PRUNE_LAYER = 2
SCALE = 4  # Of the pixels of clips in files.


def train_vocabulary(texts, special):
    """A byte-level BPE in which every word of the questions is a token.

    Returns:
        Tuple of the vocabulary, the merges, and the tokens never split.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    data = json.loads(tokenizer.to_str())["model"]
    vocabulary = dict(data["vocab"])
    # A cell is one token, as every other answer.
    whole = list(shapes.ANSWERS["where"])
    whole += ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special]
    for token in whole:
        vocabulary[token] = len(vocabulary)
    return vocabulary, [" ".join(pair) for pair in data["merges"]], whole


class Molmo2:
    """`shapes_tiny`: a frame is 4x4 blocks of 3x3 patches."""

    preset = "shapes_tiny"
    frames_together = 1
    num_clips = 4000
    # How to learn the language: shares of the blocks and of the clips, learning
    # rates, and shares of the steps. On few blocks, frame 0 and others, it
    # begins sooner.
    lessons = ((0.25, 1.0, 2e-3, 0.8), (1.0, 1.0, 1e-3, 0.2))
    language_steps = 6000
    tune_steps = 400
    more = 0.8  # The other ratio that is tried, beside half.
    studied = (0.3, 0.5, 0.8)  # Ratios of `compare_methods.py`.
    # Ratios of one model for all, which take turns, and the steps of each.
    ratios, ratio_steps = (0.0, 0.5, 0.8), 300
    # No more than these questions and times need.
    tight = {"sequence_length": 16, "time_tokens": 5}

    @staticmethod
    def tokenizer(texts):
        vocabulary, merges, whole = train_vocabulary(
            texts, VISION_TOKENS.values()
        )
        return keras_stts.VideoVLMTokenizer(
            vocabulary, merges, unsplittable_tokens=whole
        )

    @staticmethod
    def model(tokenizer):
        """The model, unpruned, with random weights."""
        special = len(VISION_TOKENS)
        backbone = keras_stts.VideoVLMBackbone.from_sizes(
            vocabulary_size=tokenizer.vocabulary_size() - special,
            additional_vocabulary_size=special,
            num_frames=shapes.NUM_FRAMES,
            image_size=shapes.FRAME_SIZE,
            patch_size=4,
            vision_num_layers=VISION_LAYERS,
            vision_hidden_dim=VISION_DIM,
            vision_num_heads=4,
            vision_head_dim=16,
            vision_intermediate_dim=256,
            vision_feature_layers=[VISION_LAYERS - 1],
            connector_hidden_dim=64,
            connector_num_heads=4,
            connector_head_dim=16,
            connector_intermediate_dim=192,
            num_layers=NUM_LAYERS,
            hidden_dim=HIDDEN_DIM,
            **DECODER,
            image_patch_id=tokenizer.image_patch_token_id,
            vision_token_ids=tokenizer.vision_token_ids,
            prune_ratio=0.0,
            prune_layer=PRUNE_LAYER,
            positions="original",
        )
        converter = keras_stts.VideoVLMVideoConverter(
            shapes.FRAME_SIZE, num_frames=shapes.NUM_FRAMES
        )
        preprocessor = keras_stts.VideoVLMPreprocessor(
            tokenizer,
            converter,
            num_blocks=shapes.CELLS**2,
            **Molmo2.tight,
            chat_template=PLAIN_TEMPLATE,
        )
        return keras_stts.VideoVLM(backbone, preprocessor)

    @staticmethod
    def frames(video):
        """The frames of a clip as they are read from its file."""
        return video

    @staticmethod
    def ends(connector):
        """The last layers of what makes embeddings, and how loud each is."""
        return [(connector.down, 0.5)]

    room = {}

    @staticmethod
    def widen(preprocessor):
        """Room for longer questions than these, and for clips of hours."""
        preprocessor.sequence_length = 64
        preprocessor.time_tokens = 8


class Qwen3VL:
    """`shapes_tiny_qwen3vl`: two frames are 4x4 blocks of 2x2 patches."""

    preset = "shapes_tiny_qwen3vl"
    frames_together = 2
    num_clips = 8000
    # What and when first, then where and which way, then how many. What half of
    # the clips teach it learns by heart in the end, so it sees others, too.
    lessons = (
        (0.5, 0.5, 2e-3, 0.21),
        (1.0, 0.5, 1e-3, 0.05),
        (0.5, 0.5, 1e-3, 0.29),
        (1.0, 0.5, 1e-3, 0.23),
        (1.0, 1.0, 1e-3, 0.22),
    )
    language_steps = 13500
    tune_steps = 800
    more = 0.3  # At 75% frame 0 alone is left, of four.
    studied = (0.3, 0.5)
    ratios, ratio_steps = (0.0, 0.5, 0.3, 0.5), 200
    tight = {"sequence_length": 16, "word_tokens": 2}

    @staticmethod
    def tokenizer(texts):
        # The word of times, which questions lack.
        vocabulary, merges, whole = train_vocabulary(
            [*texts, "<0.5 seconds>"], QWEN_TOKENS.values()
        )
        return keras_stts.Qwen3VLTokenizer(
            vocabulary, merges, unsplittable_tokens=whole
        )

    @classmethod
    def model(cls, tokenizer):
        """The model, unpruned, with random weights."""
        patch = shapes.FRAME_SIZE // shapes.CELLS // 2
        pixels = shapes.NUM_FRAMES * shapes.FRAME_SIZE**2
        num_pairs = shapes.NUM_FRAMES // cls.frames_together
        encoder = towers.Qwen3VLVisionEncoder(
            VISION_LAYERS,
            VISION_DIM,
            num_heads=4,
            intermediate_dim=256,
            num_blocks=shapes.CELLS**2,
            deepstack_layers=DEEPSTACK_LAYERS,
            patch_size=patch,
            position_side=2 * shapes.CELLS,
            name="vision_encoder",
        )
        connector = towers.Qwen3VLConnector(
            VISION_DIM,
            HIDDEN_DIM,
            num_additions=len(DEEPSTACK_LAYERS),
            name="connector",
        )
        decoder = language.LanguageModel(
            tokenizer.vocabulary_size(),
            NUM_LAYERS,
            HIDDEN_DIM,
            **DECODER,
            additional_vocabulary_size=0,
            rope_sections=[4, 4, 4],
            name="language_model",
        )
        backbone = keras_stts.VideoVLMBackbone(
            encoder,
            connector,
            decoder,
            num_frames=num_pairs,
            image_patch_id=tokenizer.image_pad_token_id,
            video_patch_id=tokenizer.video_pad_token_id,
            vision_token_ids=[],
            pruning=keras_stts.pruning.STTS(0.0, layer=PRUNE_LAYER),
        )
        converter = keras_stts.Qwen3VLVideoConverter(
            min_pixels=pixels // 16,
            max_pixels=pixels,
            max_frame_blocks=shapes.CELLS**2,
            num_frames=shapes.NUM_FRAMES,
            patch_size=patch,
        )
        preprocessor = keras_stts.Qwen3VLPreprocessor(
            tokenizer,
            converter,
            buckets=[(num_pairs, shapes.CELLS**2)],
            **cls.tight,
            chat_template=PLAIN_TEMPLATE,
        )
        return keras_stts.VideoVLM(backbone, preprocessor)

    @staticmethod
    def frames(video):
        """The frames of a clip as they are read from its file."""
        large = video.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
        return resize_bicubic(large, video.shape[1:3])

    @staticmethod
    def ends(connector):
        """The last layers of what makes embeddings, and how loud each is."""
        *additions, merger = connector.mergers
        ends = [(merger.down, 0.5)]
        return ends + [(each.down, 0.1) for each in additions]

    # Frames of other shapes may have more blocks.
    room = {"vision_num_blocks": shapes.CELLS**2 + shapes.CELLS}

    @classmethod
    def widen(cls, preprocessor):
        """Room for longer questions than these, for words before videos, and
        for frames of other shapes."""
        preprocessor.sequence_length = 64
        ((num_frames, num_blocks),) = preprocessor.buckets
        largest = cls.room["vision_num_blocks"]
        preprocessor.buckets = [(num_frames, num_blocks), (num_frames, largest)]
        preprocessor.word_tokens = 16


FAMILIES: dict = {"molmo2": Molmo2, "qwen3_vl": Qwen3VL}


def place_gain(out):
    """Matrix that lifts the directions which tell one cell from another.

    Args:
        out: Array (..., cells, D), embeddings of blocks.
    """
    width, cells = out.shape[-1], out.shape[-2]
    out = out.reshape(-1, cells, width)
    means = out.mean(0) - out.mean((0, 1))
    _, lengths, directions = np.linalg.svd(means, full_matrices=False)
    variance = out.reshape(-1, width).var(0).mean()
    wanted = (variance * cells) ** 0.5
    # The last direction is the mean, which was taken off.
    lengths, directions = lengths[:-1], directions[:-1]
    gains = np.clip(wanted / lengths, 1.0, 30.0)
    return np.eye(width) + (directions.T * (gains - 1.0)) @ directions

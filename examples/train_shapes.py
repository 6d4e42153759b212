"""Trains `shapes_tiny` and compares pruning methods on it.

    KERAS_BACKEND=tensorflow python examples/train_shapes.py

renders 5,000 clips as mp4 files and trains a video language model of 0.9
million parameters on their questions: first what is in a block, then the
language model on cached features (few blocks, then all), then the scorer alone.
From there each pruning method is fine-tuned for equally many steps, and one
model for all ratios, which is saved as a preset. A stage that an earlier run
has finished is loaded instead.

About an hour on two cores. Right answers to the 8,000 questions about 1,000
test clips, % with 95% intervals:

    text only                           22.6 ± 0.9
    unpruned                            99.3 ± 0.2
    STTS 50%                            99.1 ± 0.2
    random 50%                          53.5 ± 1.2
    STTS 80%                            79.9 ± 1.0
    frame similarity 80%                75.9 ± 1.0
    random 80%                          29.8 ± 1.1
    one model for all, at 0%            97.7 ± 0.3
    one model for all, at 50%           98.7 ± 0.3
    one model for all, at 80%           78.4 ± 1.1
"""

import argparse
import collections
import json
import pathlib
import time

import keras
import numpy as np
from keras import ops
from tokenizers import Tokenizer
from tokenizers import models
from tokenizers import pre_tokenizers
from tokenizers import trainers

import keras_stts
from keras_stts.datasets import shapes
from keras_stts.models import sizes
from keras_stts.ops import neighbor_similarity
from keras_stts.ops import pack_blocks
from keras_stts.ops import select_blocks
from keras_stts.preprocessing.chat import PLAIN_TEMPLATE
from keras_stts.preprocessing.video_vlm_tokenizer import VISION_TOKENS

FPS = 1.0
SHARED = ("frame_mask", "vision_token_ids", "vision_mask")


def build_tokenizer(texts):
    """A byte-level BPE in which every word of the questions is a token."""
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
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    # A cell is one token, as every other answer.
    whole = list(shapes.ANSWERS["where"]) + special
    whole += list(VISION_TOKENS.values())
    for token in whole:
        vocabulary[token] = len(vocabulary)
    merges = [" ".join(pair) for pair in data["merges"]]
    return keras_stts.VideoVLMTokenizer(
        vocabulary, merges, unsplittable_tokens=whole
    )


def build_model(tokenizer):
    """The model, unpruned, with random weights."""
    special = len(VISION_TOKENS)
    backbone = keras_stts.VideoVLMBackbone.from_sizes(
        vocabulary_size=tokenizer.vocabulary_size() - special,
        additional_vocabulary_size=special,
        num_frames=shapes.NUM_FRAMES,
        image_size=shapes.FRAME_SIZE,
        patch_size=4,
        vision_num_layers=6,
        vision_hidden_dim=64,
        vision_num_heads=4,
        vision_head_dim=16,
        vision_intermediate_dim=256,
        vision_feature_layers=[5],
        connector_hidden_dim=64,
        connector_num_heads=4,
        connector_head_dim=16,
        connector_intermediate_dim=192,
        num_layers=3,
        hidden_dim=96,
        num_query_heads=4,
        num_key_value_heads=4,
        head_dim=24,
        intermediate_dim=256,
        rope_max_wavelength=10000.0,
        image_patch_id=tokenizer.image_patch_token_id,
        vision_token_ids=tokenizer.vision_token_ids,
        prune_ratio=0.0,
        prune_layer=2,
        positions="original",
    )
    converter = keras_stts.VideoVLMVideoConverter(
        shapes.FRAME_SIZE, num_frames=shapes.NUM_FRAMES
    )
    preprocessor = keras_stts.VideoVLMPreprocessor(
        tokenizer,
        converter,
        num_blocks=shapes.CELLS**2,
        sequence_length=16,
        time_tokens=5,
        chat_template=PLAIN_TEMPLATE,
    )
    # Positions and kernels start louder than at the width of a large model.
    position = backbone.vision_encoder.position_embedding
    position.assign(position * 20.0)
    return keras_stts.VideoVLM(backbone, preprocessor)


def balance(model, features):
    """Make weights and embeddings as loud as a width of 96 needs.

    Kernels start at 0.02, which is next to nothing at this width. Tokens,
    blocks, and in these the place of a block must speak equally loud, or the
    language model hears neither when nor where.
    """
    backbone = model.backbone
    for layer in backbone.transformer_layers:
        for weight in layer.trainable_variables:
            if weight.name == "kernel":
                weight.assign(weight * 5.0)
    embedding = backbone.token_embedding.embeddings
    embedding.assign(embedding * 25.0)
    kernel = backbone.connector.down.kernel
    out = backbone.connector(ops.convert_to_tensor(features, "float32"))
    out = ops.convert_to_numpy(out).reshape(-1, shapes.CELLS**2, out.shape[-1])
    gain = _place_gain(out)
    scale = 0.5 / (out @ gain).std()
    kernel.assign(ops.convert_to_numpy(kernel) @ gain * scale)


def _place_gain(out):
    """Matrix that lifts the directions which tell one cell from another."""
    width = out.shape[-1]
    means = out.mean(0) - out.mean((0, 1))
    _, lengths, directions = np.linalg.svd(means, full_matrices=False)
    variance = out.reshape(-1, width).var(0).mean()
    wanted = (variance * shapes.CELLS**2) ** 0.5
    # The last direction is the mean, which was taken off.
    lengths, directions = lengths[:-1], directions[:-1]
    gains = np.clip(wanted / lengths, 1.0, 30.0)
    return np.eye(width) + (directions.T * (gains - 1.0)) @ directions


def variant(model, aux_coefficient=0.5, trainable_parts=None, **changes):
    """A model with the same weights and other pruning settings."""
    config = sizes.changed(model.backbone.get_config(), changes)
    backbone = keras_stts.VideoVLMBackbone.from_config(config)
    result = keras_stts.VideoVLM(
        backbone,
        model.preprocessor,
        aux_coefficient=aux_coefficient,
        # Else the vision encoder learns to show no changes.
        stop_gradient_target=True,
        trainable_parts=trainable_parts,
    )
    copy_weights(model, result)
    return result


def copy_weights(source, target):
    """All weights that both have, but the step of a schedule."""
    values = {variable.path: variable for variable in source.weights}
    for variable in target.weights:
        if variable.path in values and variable.name != "iterations":
            variable.assign(values[variable.path])


def encode(model, data):
    """Preprocess the questions of every clip; arrays (clips, questions, S).

    The questions of a clip share its video, which is left as it is.
    """
    rows = []
    for video, prompts, responses in zip(
        data["videos"], data["questions"], data["answers"]
    ):
        x, labels, weights = model.preprocessor(
            {
                "videos": [video] * len(prompts),
                "prompts": prompts,
                "responses": responses,
                "fps": FPS,
            }
        )
        rows.append((x["token_ids"], labels, weights))
    texts = (np.stack(column) for column in zip(*rows))
    texts = dict(zip(("token_ids", "next_ids", "weights"), texts))
    # The last token of the prompt is the first whose next one is learnt.
    place = np.arange(texts["weights"].shape[-1])
    last = texts["weights"].argmax(-1)[..., None]
    texts["prompt_mask"] = place <= last
    # All clips have the same times.
    return {**data, **texts, **{name: x[name][:1] for name in SHARED}}


class Clips(keras.utils.PyDataset):
    """Batches of clips, or of their features, with all their questions."""

    def __init__(self, data, batch_size, vision=None, shuffle=True, seed=0):
        super().__init__()
        self.data = data
        self.vision = data["videos"] if vision is None else vision
        self.batch_size = batch_size
        self.rng = np.random.default_rng(seed) if shuffle else None
        self.order = np.arange(len(self.vision))
        self.on_epoch_end()

    @property
    def num_batches(self):
        return len(self.vision) // self.batch_size

    def on_epoch_end(self):
        if self.rng is not None:
            self.order = self.rng.permutation(len(self.vision))

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        x = {name: np.repeat(self.data[name], len(rows), 0) for name in SHARED}
        x["vision"] = self.vision[rows]
        x["token_ids"] = self.data["token_ids"][rows]
        x["prompt_mask"] = self.data["prompt_mask"][rows]
        if self.rng is not None:
            # Ranks that keep what questions ask about, and a random rest.
            informative = self.data["informative"][rows]
            noise = self.rng.random(informative.shape)
            x["ranks"] = (noise + informative).astype("float32")
        return x, self.data["next_ids"][rows], self.data["weights"][rows]


class Questions(keras.Model):
    """A `VideoVLM` on all questions of a clip at once.

    The questions of a clip share its prefix; none sees another.

    Args:
        model: A `VideoVLM`.
        keep: Optional float. If given, the vision inputs are features of all
            blocks, of which the share `keep` with the highest ranks is used.
    """

    def __init__(self, model, keep=None):
        super().__init__()
        self.model = model
        self.keep = keep

    def call(self, x, training=None):
        if self.keep is None:
            encode = self.model.backbone.encode_video
            frames = keras_stts.ops.Frames(x["frame_mask"])
            vision = encode(x["vision"], frames)
        else:
            vision = self.cached_vision(x)
        tokens = x["token_ids"]
        hidden, _ = self.read(x, vision)
        if self.keep is None and self.model.auxiliary_loss is not None:
            hidden = self.model.auxiliary_loss(
                hidden,
                vision["scores"],
                vision["similarity"],
                x["frame_mask"],
                training=training,
            )
        logits = self.model.lm_head(hidden)
        return ops.reshape(logits, (*ops.shape(tokens), logits.shape[-1]))

    def read(self, x, vision):
        """Hidden states of all questions, and the prefix they follow."""
        backbone = self.model.backbone
        names = ("vision_token_ids", "vision_mask")
        tokens, prompt_mask = x["token_ids"], x["prompt_mask"]
        count, length = tokens.shape[1:]
        tokens = ops.reshape(tokens, (-1, length))
        if backbone.language_pruning is None:
            prefix = backbone.encode_prefix(*(x[n] for n in names), vision)
            hidden, _ = backbone.decode(tokens, prefix)
            return hidden, prefix
        # Each question decides for itself what it is shown.
        inputs, vision = keras.tree.map_structure(
            lambda value: ops.repeat(value, count, axis=0),
            ({name: x[name] for name in names}, vision),
        )
        inputs["token_ids"] = tokens
        inputs["prompt_mask"] = ops.reshape(prompt_mask, (-1, length))
        hidden, prefix, _ = backbone.encode(inputs, vision)
        return hidden, prefix

    def cached_vision(self, x):
        connector = self.model.backbone.connector
        features = ops.cast(x["vision"], "float32")
        if self.keep == 1.0:
            return {"embeddings": connector(features)}
        selection = select_blocks(x["ranks"], 1 - self.keep)
        kept = pack_blocks(features, selection.index)
        return {"embeddings": connector(kept), "selection": selection}


class Labels(keras.Model):
    """Colour, shape and place of each block, from its embedding alone."""

    def __init__(self, backbone):
        super().__init__()
        self.encoder = backbone.vision_encoder
        self.connector = backbone.connector
        sizes = {"color": 9, "shape": 5, "cell": shapes.CELLS**2}
        self.heads = {
            name: keras.layers.Dense(size) for name, size in sizes.items()
        }

    def call(self, videos):
        x = self.connector(self.encoder(videos)["features"])
        return {name: head(x) for name, head in self.heads.items()}


def cosine(peak, steps):
    warmup = min(50, steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=peak, warmup_steps=warmup
    )


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train_vision(model, data, steps, batch_size=8):
    """Teach vision encoder and connector what is in each block."""
    trainer = Labels(model.backbone)
    trainer.compile(
        optimizer=keras.optimizers.AdamW(
            cosine(3e-3, steps), weight_decay=0.01, clipnorm=1.0
        ),
        loss={name: cross_entropy() for name in trainer.heads},
        metrics={name: "accuracy" for name in trainer.heads},
    )
    count = steps * batch_size
    index = np.arange(count) % len(data["videos"])
    labels = data["labels"][index].reshape(count, -1, 2)
    cell = np.tile(np.arange(shapes.CELLS**2), (count, shapes.NUM_FRAMES))
    targets = {"color": labels[..., 0], "shape": labels[..., 1], "cell": cell}
    trainer.fit(
        data["videos"][index], targets, batch_size=batch_size, verbose=2
    )


def cache_features(model, videos):
    """Features of all blocks of all clips, float16 (clips, 128, g, F)."""
    inputs = keras.Input(videos.shape[1:], dtype="uint8")
    encoder = model.backbone.vision_encoder
    run = keras.Model(inputs, encoder(inputs)["features"])
    return np.concatenate(
        [
            run.predict(videos[i : i + 256], verbose=0).astype("float16")
            for i in range(0, len(videos), 256)
        ]
    )


def train_language(model, data, features, steps):
    """Teach the language model on cached features: few blocks, then all."""
    balance(model, features[:64])
    model.backbone.vision_encoder.trainable = False
    for keep, share, rate in ((0.25, 0.8, 2e-3), (1.0, 0.2, 1e-3)):
        log(f"language model on {keep:.0%} of the blocks")
        clips = Clips(data, 16, features, seed=int(100 * keep))
        train(Questions(model, keep), clips, rate, int(steps * share))
    model.backbone.vision_encoder.trainable = True


def prepare(trainer, rate, steps, multipliers=()):
    trainer.compile(
        optimizer=keras_stts.optimizers.PartwiseAdamW(
            cosine(rate, steps), dict(multipliers), weight_decay=0.01
        ),
        loss=cross_entropy(),
        weighted_metrics=["accuracy"],
    )


def train(trainer, clips, rate, steps, **kwargs):
    """Train for so many steps; if they take several epochs, for whole ones."""
    prepare(trainer, rate, steps, **kwargs)
    each = min(steps, clips.num_batches)
    trainer.fit(clips, epochs=steps // each, steps_per_epoch=each, verbose=2)


def evaluate(model, data, batch_size=16):
    """Which answers are right, bool (clips, questions)."""
    clips = Clips(data, batch_size, shuffle=False)
    trainer = Questions(model)
    trainer.compile(loss=cross_entropy())
    right = []
    for i in range(clips.num_batches):
        x, labels, weights = clips[i]
        logits = trainer.predict_on_batch(x)
        hit = (logits.argmax(-1) == labels) | (weights == 0)
        right.append(hit.all(-1))
    return np.concatenate(right)


def interval(values):
    """Mean over clips and half its 95% interval, in points."""
    values = 100 * np.asarray(values, "float64").reshape(len(values), -1)
    values = values.mean(1)
    return values.mean(), 1.96 * values.std(ddof=1) / len(values) ** 0.5


def describe(name, right, data):
    mean, half = interval(right)
    kinds = np.array(data["kinds"][: len(right)])
    parts = [100 * right[kinds == kind].mean() for kind in shapes.KINDS]
    cells = "".join(f"{part:10.1f}" for part in parts)
    log(f"{name:34}{mean:6.1f} ± {half:.1f}{cells}")


def log(*words):
    print(f"[{time.strftime('%H:%M:%S')}]", *words, flush=True)


RATES = {"scorer": 0.1, "vision_encoder": 0.1}
RATIOS = (0.0, 0.5, 0.8)
VARIANTS = {
    "unpruned": {"prune_ratio": 0.0},
    "STTS 50%": {"prune_ratio": 0.5},
    "random 50%": {"prune_ratio": 0.5, "pruning": "random"},
    "STTS 80%": {"prune_ratio": 0.8},
    "frame similarity 80%": {
        "prune_ratio": 0.8,
        "pruning": "frame_similarity",
    },
    "random 80%": {"prune_ratio": 0.8, "pruning": "random"},
}


class Scores(keras.Model):
    """The scorer alone, on the auxiliary loss alone."""

    def __init__(self, backbone):
        super().__init__()
        self.encoder = backbone.vision_encoder
        self.method = backbone.pruning
        self.auxiliary_loss = keras_stts.layers.AuxiliaryLoss(
            1.0, stop_gradient_target=True
        )

    def call(self, videos):
        encoder = self.encoder
        x = encoder.embed(videos)
        _, num_frames, num_patches, width = x.shape
        x = ops.reshape(x, (-1, num_patches, width))
        for block in encoder.blocks[: self.method.layer + 1]:
            x = block(x)
        x = ops.reshape(x, (-1, num_frames, num_patches, width))
        blocks = keras_stts.ops.to_blocks(x, encoder.window, encoder.grid)
        scores = self.method.scorer(blocks)
        flat = keras_stts.ops.flat_blocks(blocks)
        similarity = neighbor_similarity(flat)
        return self.auxiliary_loss(scores, scores, similarity)


def start_scorer(model, videos, steps=500, batch_size=12):
    """Teach the scorer what changes, before anything hangs on it.

    An untrained scorer removes at random; the language model would turn it
    about before it knows anything. At twice this rate its sigmoid dies.
    """
    settings = {"prune_ratio": 0.5, "trainable_parts": ["scorer"]}
    started = variant(model, **settings)
    trainer = Scores(started.backbone)
    trainer.compile(
        optimizer=keras.optimizers.AdamW(
            cosine(2e-4, steps), weight_decay=0.01, beta_2=0.95, clipnorm=1.0
        )
    )
    index = np.arange(steps * batch_size) % len(videos)
    trainer.fit(videos[index], batch_size=batch_size, verbose=2)
    copy_weights(started, model)


def falling(steps):
    """The auxiliary loss holds the scorer while the language model learns to
    do without the pruned blocks; then only the language model's trains it."""
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [3 * steps // 5], [0.5, 0.0]
    )


def fine_tune(model, clips, steps):
    """Train a variant as a whole for some steps."""
    train(Questions(model), clips, 4e-4, steps, multipliers=RATES)


def fine_tune_ratios(model, data, ratios, steps, turn=10):
    """One set of weights for several ratios, which take turns."""
    tuned = [variant(model, 0.0, prune_ratio=ratio) for ratio in ratios]
    trainers = [Questions(each) for each in tuned]
    for i, trainer in enumerate(trainers):
        prepare(trainer, 2e-4, steps, RATES)
        trainer.clips = Clips(data, 8, seed=i)
    last = model
    for _ in range(steps // turn):
        for each, trainer in zip(tuned, trainers):
            copy_weights(last, each)
            trainer.fit(trainer.clips, steps_per_epoch=turn, verbose=0)
            last = each
    return last


def stage(model, path, run):
    """Run a stage of training, or load what it gave an earlier run."""
    if path.exists():
        log(f"{path} is there already")
        model.load_weights(path)
        return
    run()
    model.save_weights(path)


def train_unpruned(model, data, folder, vision_steps, language_steps):
    """Teach the model to see and to answer, in two stages."""

    def vision():
        train_vision(model, data, vision_steps)

    def language():
        features = cache_features(model, data["videos"])
        train_language(model, data, features, language_steps)

    stage(model, folder / "vision.weights.h5", vision)
    stage(model, folder / "language.weights.h5", language)


def text_only(data, test):
    """Right answers of a text-only baseline: the most frequent answer."""
    counts = collections.defaultdict(collections.Counter)
    for questions, answers in zip(data["questions"], data["answers"]):
        for question, answer in zip(questions, answers):
            counts[question][answer] += 1
    guess = {
        question: answers.most_common(1)[0][0]
        for question, answers in counts.items()
    }
    pairs = zip(test["questions"], test["answers"])
    return np.array(
        [[guess.get(q) == a for q, a in zip(*pair)] for pair in pairs]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default="shapes_data", type=pathlib.Path)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--vision-steps", type=int, default=700)
    parser.add_argument("--language-steps", type=int, default=6000)
    parser.add_argument("--tune-steps", type=int, default=400)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    data = shapes.load(args.folder, "train", args.train)
    test = shapes.load(args.folder, "test", args.test)
    texts = sum(data["questions"] + data["answers"], [])
    model = build_model(build_tokenizer(texts))
    data, test = encode(model, data), encode(model, test)
    log(f"{model.count_params():,} parameters")

    train_unpruned(
        model, data, args.folder, args.vision_steps, args.language_steps
    )

    def scorer():
        start_scorer(model, data["videos"])

    stage(model, args.folder / "scorer.weights.h5", scorer)

    log(
        f"{'right answers, %':34}{'all':^12}",
        *(f"{k:>9}" for k in shapes.KINDS),
    )
    describe("text only", text_only(data, test), test)
    tuned = {}
    for name in args.only:
        tuned[name] = variant(model, falling(args.tune_steps), **VARIANTS[name])
        fine_tune(tuned[name], Clips(data, 8), args.tune_steps)
        describe(name, evaluate(tuned[name], test), test)

    steps = 3 * args.tune_steps // 4
    model = fine_tune_ratios(tuned["STTS 50%"], data, RATIOS, steps)
    for ratio in RATIOS:
        right = evaluate(variant(model, prune_ratio=ratio), test)
        describe(f"one model for all, at {ratio:.0%}", right, test)
    preset = variant(model, prune_ratio=0.5)
    # Room for longer questions than these, and for clips of hours.
    preset.preprocessor.sequence_length = 64
    preset.preprocessor.time_tokens = 8
    preset.save_to_preset(args.folder / "shapes_tiny")


if __name__ == "__main__":
    main()

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

`--family qwen3_vl` trains `shapes_tiny_qwen3vl`, a model of Qwen3-VL's
architecture with 1.1 million parameters, on 8,000 clips:

    text only                           22.8 ± 0.9
    unpruned                            98.6 ± 0.3
    STTS 50%                            97.9 ± 0.4
    one model for all, at 0%            98.1 ± 0.3
    one model for all, at 30%           98.4 ± 0.3
    one model for all, at 50%           98.5 ± 0.3

Its lessons were run one at a time, each from the weights of the one before.
"unpruned" took 400 steps here, half of those of "STTS 50%".
"""

import argparse
import collections
import pathlib
import time

import keras
import numpy as np
import shapes_models
from keras import ops

import keras_stts
from keras_stts.datasets import shapes
from keras_stts.models import sizes
from keras_stts.models.encoding import frames_of
from keras_stts.ops import neighbor_similarity
from keras_stts.ops import pack_blocks
from keras_stts.ops import select_blocks

FPS = 1.0
OF_VISION = ("vision_token_ids", "vision_mask", "vision_positions")
OF_FRAMES = ("frame_mask", "frame_grids")


def build_model(family, texts):
    """A model of a family, unpruned, with random weights."""
    model = family.model(family.tokenizer(texts))
    # Positions and kernels start louder than at the width of a large model.
    position = model.backbone.vision_encoder.position_embedding
    position.assign(position * 20.0)
    return model


def balance(family, model, features):
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
    made = backbone.connector(ops.convert_to_tensor(features, "float32"))
    made = made if isinstance(made, (tuple, list)) else [made]
    for out, (end, loudness) in zip(made, family.ends(backbone.connector)):
        out = ops.convert_to_numpy(out)
        out = out.reshape(-1, shapes.CELLS**2, out.shape[-1])
        gain = shapes_models.place_gain(out)
        scale = loudness / (out @ gain).std()
        kernel = ops.convert_to_numpy(end.kernel)
        end.kernel.assign(kernel @ gain * scale)


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
            # By way of NumPy, as JAX' train step frees what it is given.
            value = ops.convert_to_numpy(values[variable.path])
            variable.assign(value)


def encode(family, model, data):
    """Preprocess the questions of every clip; arrays (clips, questions, S).

    The questions of a clip share its video.
    """
    rows = []
    for video, prompts, responses in zip(
        data["videos"], data["questions"], data["answers"]
    ):
        video = family.frames(video)
        x, labels, weights = model.preprocessor(
            {
                "videos": [video] * len(prompts),
                "prompts": prompts,
                "responses": responses,
                "fps": FPS,
            }
        )
        rows.append((x["videos"][0], x["token_ids"], labels, weights))
    texts = (np.stack(column) for column in zip(*rows))
    names = ("vision", "token_ids", "next_ids", "weights")
    texts = dict(zip(names, texts))
    # The last token of the prompt is the first whose next one is learnt.
    place = np.arange(texts["weights"].shape[-1])
    last = texts["weights"].argmax(-1)[..., None]
    texts["prompt_mask"] = place <= last
    return {**data, **texts, **of_blocks(data, x), "shared": shared(x)}


def shared(x):
    """The inputs that are the same for all clips, which have the same times."""
    return {name: x[name][:1] for name in OF_VISION + OF_FRAMES if name in x}


def of_blocks(data, x):
    """What is known of the blocks: several frames may lie in each."""
    clips, frames, cells = data["informative"].shape
    together = frames // x["frame_mask"].shape[1]
    split = (clips, -1, together, cells)
    labels = np.moveaxis(data["labels"].reshape(*split, 2), 2, 3)
    informative = data["informative"].reshape(split).any(2)
    return {"informative": informative, "labels": labels}


class Clips(keras.utils.PyDataset):
    """Batches of clips, or of their features, with all their questions."""

    def __init__(self, data, batch_size, vision=None, shuffle=True, seed=0):
        super().__init__()
        self.data = data
        self.vision = data["vision"] if vision is None else vision
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
        x = repeated(self.data["shared"], len(rows))
        x["vision"] = self.vision[rows]
        x["token_ids"] = self.data["token_ids"][rows]
        x["prompt_mask"] = self.data["prompt_mask"][rows]
        if self.rng is not None:
            # Ranks that keep what questions ask about, and a random rest.
            informative = self.data["informative"][rows]
            noise = self.rng.random(informative.shape)
            x["ranks"] = (noise + informative).astype("float32")
        return x, self.data["next_ids"][rows], self.data["weights"][rows]


def repeated(arrays, times):
    return {name: np.repeat(value, times, 0) for name, value in arrays.items()}


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
        frames = frames_of(x)
        if self.keep is None:
            vision = self.model.backbone.encode_video(x["vision"], frames)
        else:
            vision = self.cached_vision(x, frames)
        tokens = x["token_ids"]
        hidden, _ = self.read(x, vision)
        if self.keep is None and self.model.auxiliary_loss is not None:
            hidden = self.model.auxiliary_loss(
                hidden,
                vision["scores"],
                vision["similarity"],
                frames.mask,
                frame_blocks=frames.num_blocks,
                training=training,
            )
        logits = self.model.lm_head(hidden)
        return ops.reshape(logits, (*ops.shape(tokens), logits.shape[-1]))

    def read(self, x, vision):
        """Hidden states of all questions, and the prefix they follow."""
        backbone = self.model.backbone
        tokens, prompt_mask = x["token_ids"], x["prompt_mask"]
        count, length = tokens.shape[1:]
        tokens = ops.reshape(tokens, (-1, length))
        if backbone.language_pruning is None:
            prefix = backbone.encode_prefix(
                x["vision_token_ids"],
                x["vision_mask"],
                vision,
                places=x.get("vision_positions"),
            )
            hidden, _ = backbone.decode(tokens, prefix)
            return hidden, prefix
        # Each question decides for itself what it is shown.
        inputs, vision = keras.tree.map_structure(
            lambda value: ops.repeat(value, count, axis=0),
            ({n: x[n] for n in OF_VISION + OF_FRAMES if n in x}, vision),
        )
        inputs["token_ids"] = tokens
        inputs["prompt_mask"] = ops.reshape(prompt_mask, (-1, length))
        hidden, prefix, _ = backbone.encode(inputs, vision)
        return hidden, prefix

    def cached_vision(self, x, frames):
        features = ops.cast(x["vision"], "float32")
        vision = {"features": features}
        if self.keep < 1.0:
            selection = select_blocks(x["ranks"], 1 - self.keep)
            kept = pack_blocks(features, selection.index)
            vision = {"features": kept, "selection": selection}
        return self.model.backbone.connect(vision, frames)


class Features(keras.Model):
    """Features of all blocks."""

    def __init__(self, backbone):
        super().__init__()
        self.encoder = backbone.vision_encoder

    def call(self, x):
        return self.encoder(x["vision"], frames_of(x))["features"]


class Labels(keras.Model):
    """Colour, shape and place of each block, from its embedding alone."""

    def __init__(self, backbone, frames_together):
        super().__init__()
        self.features = Features(backbone)
        self.connector = backbone.connector
        self.heads = {
            name: keras.layers.Dense(size)
            for name, size in self.sizes(frames_together).items()
        }

    @staticmethod
    def sizes(frames_together):
        """Numbers of colours and shapes in each frame, and of places."""
        sizes = {"cell": shapes.CELLS**2}
        for i in range(frames_together):
            sizes |= {f"color_{i}": 9, f"shape_{i}": 5}
        return sizes

    def call(self, x):
        x = self.connector(self.features(x))
        x = x[0] if isinstance(x, (tuple, list)) else x
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
    clips, pairs, cells, together, _ = data["labels"].shape
    trainer = Labels(model.backbone, together)
    trainer.compile(
        optimizer=keras.optimizers.AdamW(
            cosine(3e-3, steps), weight_decay=0.01, clipnorm=1.0
        ),
        loss={name: cross_entropy() for name in trainer.heads},
        metrics={name: "accuracy" for name in trainer.heads},
    )
    count = steps * batch_size
    index = np.arange(count) % clips
    labels = data["labels"][index].reshape(count, -1, together, 2)
    targets = {"cell": np.tile(np.arange(cells), (count, pairs))}
    for i in range(together):
        targets[f"color_{i}"] = labels[..., i, 0]
        targets[f"shape_{i}"] = labels[..., i, 1]
    trainer.fit(of_frames(data, index), targets, batch_size, verbose=2)


def of_frames(data, index):
    """The inputs of the vision encoder of some clips."""
    frames = {n: v for n, v in data["shared"].items() if n in OF_FRAMES}
    return {"vision": data["vision"][index], **repeated(frames, len(index))}


def cache_features(model, data):
    """Features of all blocks of all clips, float16 (clips, T * P, g, F)."""
    run = Features(model.backbone)
    index = np.arange(len(data["vision"]))
    return np.concatenate(
        [
            run.predict(of_frames(data, some), verbose=0).astype("float16")
            for some in np.split(index, range(256, len(index), 256))
        ]
    )


def train_language(family, model, data, features, steps):
    """Teach the language model on cached features: few blocks, then all."""
    balance(family, model, features[:64])
    model.backbone.vision_encoder.trainable = False
    for i, (keep, seen, rate, share) in enumerate(family.lessons):
        log(f"language model on {keep:.0%} of the blocks")
        clips = Clips(data, 16, features[: int(len(features) * seen)], seed=i)
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
HALF = "STTS 50%"


def variants(more):
    """Settings by name, of half and of another share of the blocks."""
    similarity = {"prune_ratio": more, "pruning": "frame_similarity"}
    return {
        "unpruned": {"prune_ratio": 0.0},
        HALF: {"prune_ratio": 0.5},
        "random 50%": {"prune_ratio": 0.5, "pruning": "random"},
        f"STTS {more:.0%}": {"prune_ratio": more},
        f"frame similarity {more:.0%}": similarity,
        f"random {more:.0%}": {"prune_ratio": more, "pruning": "random"},
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

    def call(self, x):
        encoder, frames = self.encoder, frames_of(x)
        x = encoder.embed(x["vision"], frames)
        shape = (-1, *x.shape[1:])
        x = ops.reshape(x, (-1, *x.shape[2:]))
        attend = encoder.attend_frames(frames, x.shape[1])
        layer = self.method.layer
        early = encoder.blocks[: layer + 1]
        x = encoder.run(x, early, also={layer}, attend=attend)[layer]
        blocks = keras_stts.ops.flat_blocks(
            keras_stts.ops.to_blocks(
                ops.reshape(x, shape), encoder.window, encoder.grid
            )
        )
        scores = self.method(blocks, frames)
        similarity = neighbor_similarity(blocks)
        return self.auxiliary_loss(
            scores, scores, similarity, frame_blocks=frames.num_blocks
        )


def start_scorer(model, data, steps=500, batch_size=12):
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
    index = np.arange(steps * batch_size) % len(data["vision"])
    trainer.fit(of_frames(data, index), batch_size=batch_size, verbose=2)
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


def train_unpruned(family, model, data, folder, vision_steps, language_steps):
    """Teach the model to see and to answer, in two stages."""
    language_steps = language_steps or family.language_steps

    def vision():
        train_vision(model, data, vision_steps)

    def language():
        features = cache_features(model, data)
        train_language(family, model, data, features, language_steps)

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
    families = shapes_models.FAMILIES
    parser.add_argument("--family", default="molmo2", choices=families)
    parser.add_argument("--folder", default="shapes_data", type=pathlib.Path)
    parser.add_argument("--train", type=int, help="clips, by family")
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--vision-steps", type=int, default=700)
    parser.add_argument("--language-steps", type=int, help="by family")
    parser.add_argument("--tune-steps", type=int, help="by family")
    parser.add_argument("--only", nargs="*", help="variants, by name")
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    family = families[args.family]
    num_clips = args.train or family.num_clips
    tune_steps = args.tune_steps or family.tune_steps
    data = shapes.load(args.folder, "train", num_clips)
    test = shapes.load(args.folder, "test", args.test)
    texts = sum(data["questions"] + data["answers"], [])
    model = build_model(family, texts)
    data, test = encode(family, model, data), encode(family, model, test)
    log(f"{model.count_params():,} parameters")
    folder = args.folder / family.preset
    folder.mkdir(exist_ok=True)

    train_unpruned(
        family, model, data, folder, args.vision_steps, args.language_steps
    )

    def scorer():
        start_scorer(model, data)

    stage(model, folder / "scorer.weights.h5", scorer)

    log(
        f"{'right answers, %':34}{'all':^12}",
        *(f"{k:>9}" for k in shapes.KINDS),
    )
    describe("text only", text_only(data, test), test)
    tuned, settings = {}, variants(family.more)
    for name in args.only or settings:
        tuned[name] = variant(model, falling(tune_steps), **settings[name])
        fine_tune(tuned[name], Clips(data, 8), tune_steps)
        describe(name, evaluate(tuned[name], test), test)

    ratios, steps = family.ratios, family.ratio_steps
    model = fine_tune_ratios(tuned[HALF], data, ratios, steps)
    for ratio in sorted(set(ratios)):
        right = evaluate(variant(model, prune_ratio=ratio), test)
        describe(f"one model for all, at {ratio:.0%}", right, test)
    family.widen(model.preprocessor)
    preset = variant(model, prune_ratio=0.5, **family.room)
    preset.save_to_preset(folder / "preset")


if __name__ == "__main__":
    main()

"""Trains `shapes_tiny`, a video language model for a small world of shapes."""

import argparse
import json
import os
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
from keras_stts.models.video_vlm_tokenizer import VISION_TOKENS
from keras_stts.ops import pack_blocks
from keras_stts.ops import select_blocks

QUESTIONS = 8
FPS = 1.0


def build_tokenizer(texts):
    """A byte-level BPE in which every word of the questions is a token."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += list(VISION_TOKENS.values())
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
    for token in special:
        vocabulary[token] = len(vocabulary)
    merges = [" ".join(pair) for pair in data["merges"]]
    return keras_stts.VideoVLMTokenizer(vocabulary, merges)


def build_model(tokenizer, positions, prune_ratio=0.0, **kwargs):
    special = len(VISION_TOKENS)
    backbone = keras_stts.VideoVLMBackbone(
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
        prune_ratio=prune_ratio,
        prune_layer=2,
        positions=positions,
        **kwargs,
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
        prompt_template="{prompt}\n",
    )
    return keras_stts.VideoVLM(backbone, preprocessor)


def wake_up(model, features):
    """Scale weights for a width of 96, where 0.02 is next to nothing.

    Time marks and blocks must speak equally loud, or the language model
    hears neither when nor where.
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
    kernel.assign(kernel * 0.5 / ops.std(out))


class Clips(keras.utils.PyDataset):
    """Batches of clips with all their questions, or of their features."""

    def __init__(self, model, data, batch_size, vision=None, seed=0):
        super().__init__()
        self.vision = vision if vision is not None else data["videos"]
        count = len(self.vision)
        self.batch_size = batch_size
        self.rng = np.random.default_rng(seed)
        flat = model.preprocessor(
            {
                "videos": data["videos"][:1],
                "fps": FPS,
                "prompts": ["x"],
                "responses": ["x"],
            }
        )[0]
        self.fixed = {
            name: flat[name]
            for name in ("frame_mask", "vision_token_ids", "vision_mask")
        }
        prompts = [q for qs in data["questions"][:count] for q in qs]
        answers = [a for qs in data["answers"][:count] for a in qs]
        ids = model.preprocessor._prompt_ids(prompts)
        texts, weights = model.preprocessor._with_responses(ids, answers)
        length = model.preprocessor.sequence_length
        pad = model.preprocessor._pad_id
        tokens = np.full((len(texts), length + 1), pad, "int32")
        weight = np.zeros((len(texts), length + 1), "float32")
        for i, (text, w) in enumerate(zip(texts, weights)):
            tokens[i, : len(text)] = text
            weight[i, : len(w)] = w
        shape = (count, QUESTIONS, length)
        self.tokens = tokens[:, :-1].reshape(shape)
        self.labels = tokens[:, 1:].reshape(shape)
        self.weights = weight[:, 1:].reshape(shape)
        self.informative = data["informative"]
        self.on_epoch_end()

    def __len__(self):
        return len(self.vision) // self.batch_size

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.vision))

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        x = {
            name: np.repeat(value, len(rows), 0)
            for name, value in self.fixed.items()
        }
        x["vision"] = self.vision[rows]
        x["token_ids"] = self.tokens[rows]
        # Ranks that keep what questions ask about and a random rest.
        noise = self.rng.random((len(rows), shapes.NUM_FRAMES, 16))
        x["ranks"] = (noise + self.informative[rows]).astype("float32")
        return x, self.labels[rows], self.weights[rows]


class Questions(keras.Model):
    """A `VideoVLM` on all questions of a clip at once.

    The questions of a clip share its prefix; none sees another.
    """

    def __init__(self, model, cached=False, keep=1.0):
        super().__init__()
        self.model = model
        self.cached = cached
        self.keep = keep

    def call(self, x, training=None):
        backbone = self.model.backbone
        if self.cached:
            vision = self.cached_vision(x)
        else:
            vision = backbone.encode_video(x["vision"], x["frame_mask"])
        prefix = backbone.encode_prefix(
            x["vision_token_ids"], x["vision_mask"], vision
        )
        tokens = x["token_ids"]
        flat = ops.reshape(tokens, (-1, tokens.shape[-1]))
        hidden, _ = backbone.decode(flat, prefix)
        if self.model.auxiliary_loss is not None and not self.cached:
            hidden = self.model.auxiliary_loss(
                hidden,
                vision["scores"],
                vision["similarity"],
                x["frame_mask"],
                training=training,
            )
        logits = self.model.lm_head(hidden)
        return ops.reshape(logits, (*ops.shape(tokens), logits.shape[-1]))

    def cached_vision(self, x):
        backbone = self.model.backbone
        features = ops.cast(x["vision"], "float32")
        if self.keep == 1.0:
            return {"embeddings": backbone.connector(features)}
        selection = select_blocks(x["ranks"], 1 - self.keep)
        kept = pack_blocks(features, selection.index)
        return {
            "embeddings": backbone.connector(kept),
            "selection": selection,
        }


class Dense(keras.Model):
    """Colour and shape of each block from the vision encoder alone."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.color = keras.layers.Dense(9)
        self.shape_ = keras.layers.Dense(5)
        self.cell = keras.layers.Dense(shapes.CELLS**2)

    def call(self, videos):
        x = ops.mean(self.encoder(videos)["features"], axis=-2)
        return {
            "color": self.color(x),
            "shape": self.shape_(x),
            "cell": self.cell(x),
        }


def cosine(peak, steps, warmup=50):
    warmup = min(warmup, steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=peak, warmup_steps=warmup
    )


def adamw(rate):
    return keras.optimizers.AdamW(
        rate, weight_decay=0.01, beta_2=0.95, clipnorm=1.0
    )


def train_vision(model, data, steps, batch_size=8):
    encoder = model.backbone.vision_encoder
    dense = Dense(encoder)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    dense.compile(
        optimizer=adamw(cosine(3e-3, steps)),
        loss={"color": loss, "shape": loss, "cell": loss},
        loss_weights={"color": 1.0, "shape": 1.0, "cell": 0.3},
        metrics={n: "accuracy" for n in ("color", "shape", "cell")},
    )
    count = steps * batch_size
    index = np.arange(count) % len(data["videos"])
    labels = data["labels"].reshape(len(data["labels"]), -1, 2)[index]
    cell = np.tile(np.arange(shapes.CELLS**2), (count, shapes.NUM_FRAMES))
    history = keras.Model.fit(
        dense,
        data["videos"][index],
        {"color": labels[..., 0], "shape": labels[..., 1], "cell": cell},
        batch_size=batch_size,
        verbose=2,
    )
    return history


def cache_features(model, videos):
    encoder = model.backbone.vision_encoder
    inputs = keras.Input(videos.shape[1:], dtype="uint8")
    run = keras.Model(inputs, encoder(inputs)["features"])
    parts = [
        run.predict(videos[i : i + 256], batch_size=32, verbose=0).astype(
            "float16"
        )
        for i in range(0, len(videos), 256)
    ]
    return np.concatenate(parts)


def token_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train(trainer, clips, rate, steps, validation=None):
    trainer.compile(
        optimizer=adamw(rate),
        loss=token_loss(),
        weighted_metrics=["accuracy"],
    )
    epochs = max(1, round(steps / len(clips)))
    trainer.fit(clips, epochs=epochs, verbose=2, validation_data=validation)
    return trainer


def evaluate(model, data, batch_size=16):
    """Share of answers that are right, by kind."""
    clips = Clips(model, data, batch_size)
    clips.order = np.arange(len(clips.vision))
    trainer = Questions(model)
    trainer.compile(loss=token_loss())
    right = []
    for i in range(len(clips)):
        x, labels, weights = clips[i]
        logits = trainer.predict_on_batch(x)
        hit = (logits.argmax(-1) == labels) | (weights == 0)
        right.append(hit.all(-1))
    right = np.concatenate(right)
    kinds = np.array(data["kinds"][: len(right)])
    table = {k: float(right[kinds == k].mean()) for k in shapes.KINDS}
    return {"all": float(right.mean()), **table}


def log(*words):
    print(f"[{time.strftime('%H:%M:%S')}]", *words, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="shapes_data")
    parser.add_argument("--out", default="shapes_tiny")
    parser.add_argument("--positions", default="consecutive")
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--vision-steps", type=int, default=600)
    parser.add_argument("--lm-steps", type=int, default=4000)
    parser.add_argument("--joint-steps", type=int, default=500)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    data = shapes.load(args.data, "train", args.train, progress=False)
    test = shapes.load(args.data, "validation", args.test, progress=False)
    log("data", data["videos"].shape)
    texts = [q for qs in data["questions"] for q in qs]
    texts += [a for qs in data["answers"] for a in qs]
    tokenizer = build_tokenizer(texts)
    model = build_model(tokenizer, args.positions)
    position = model.backbone.vision_encoder.position_embedding
    position.assign(position * 20.0)
    log("parameters", model.count_params(), "vocabulary",
        tokenizer.vocabulary_size())
    start = f"{args.out}_vision.weights.h5"
    if os.path.exists(start):
        model.backbone.vision_encoder.load_weights if False else None
        model.load_weights(start)
    else:
        train_vision(model, data, args.vision_steps)
        model.save_weights(start)
    log("vision trained")
    features = cache_features(model, data["videos"])
    log("features", features.shape, features.dtype, float(features.std()))
    test_features = cache_features(model, test["videos"])
    wake_up(model, features[:16])
    done = 0
    plan = [(0.25, 0.35), (0.5, 0.3), (1.0, 0.35)] if args.lm_steps else []
    for keep, share in plan:
        steps = int(args.lm_steps * share)
        clips = Clips(model, data, 16, vision=features, seed=int(keep * 100))
        validation = Clips(model, test, 16, vision=test_features)
        trainer = Questions(model, cached=True, keep=keep)
        rate = cosine(1e-3, steps, 100)
        log("keep", keep, "steps", steps)
        train(trainer, clips, rate, steps, validation)
        done += steps
    model.save_weights(f"{args.out}_lm.weights.h5")
    log("LM trained", evaluate(model, test))
    clips = Clips(model, data, 8)
    train(Questions(model), clips, cosine(4e-4, args.joint_steps), args.joint_steps)
    model.save_weights(f"{args.out}_joint.weights.h5")
    log("joint", evaluate(model, test))


if __name__ == "__main__":
    main()

"""Compares methods of pruning on `datasets.shapes`, with equal training.

    KERAS_BACKEND=tensorflow python examples/compare_methods.py

trains one model on whole videos (`train_shapes.py` does), and from it, for each
method, ratio and seed, a copy through the pruning, all with the same clips,
steps and rates. Methods that need no training are also tried on a copy that was
trained on whole videos alone. Asked are the questions of `datasets.shapes`
about clips of a still and of a moving camera, and about clips of twice as many
frames. Every result is a line of a file in the folder, so a run that was killed
goes on. It ends with `compare_report.py`, which prints the tables and writes
`compare_methods.json` and `compare_methods.png`. COMPARISON.md has the figures,
and what they took.

`--family qwen3_vl --worlds still` does the same with Qwen3-VL's architecture.
"""

import argparse
import collections
import gc
import json
import os
import pathlib
import shutil
import subprocess
import sys

import compare_report
import keras
import numpy as np
import shapes_models
import train_shapes
from keras import ops
from train_shapes import Clips
from train_shapes import Questions
from train_shapes import log

import keras_stts
from keras_stts import pruning
from keras_stts.datasets import shapes
from keras_stts.models.encoding import frames_of

LONG = 2 * shapes.NUM_FRAMES
# Pruned by half, 9 and 14 frames need no more operations than 8 and 12 whole
# ones.
FRAMES_ASKED = (8, 9, 12, 14, 16)
# Layers of the language model of `shapes_tiny` before which FEATHER prunes;
# FastV prunes before the first of these.
STAGES = (1, 2)
FALLING, KEPT, NONE = "", ", auxiliary loss kept", ", no auxiliary loss"
RANKINGS = {
    "STTS": "stts",
    "STTS" + KEPT: "stts",
    "STTS" + NONE: "stts",
    "frame similarity": "frame_similarity",
    "random": "random",
    "EVS": "evs",
    "VidCom2": "vidcom2",
    "ToMe": "tome",
}
INSIDE = ("FastV", "FastV without RoPE", "FEATHER")
METHODS = (*RANKINGS, *INSIDE)
# What is said of these is tried with more seeds.
KEY = (
    "STTS",
    "STTS" + KEPT,
    "STTS" + NONE,
    "frame similarity",
    "random",
    "ToMe",
)
UNTRAINED = [name for name in METHODS if not name.startswith("STTS")]

Run = collections.namedtuple("Run", "world method ratio tuned frames")


def plan(args):
    """All runs of the worlds asked for and their numbers of seeds, what
    matters most first."""
    for run, seeds in plan_all(args):
        if run.world in args.worlds:
            yield run, seeds


def plan_all(args):
    eight, few, many = shapes.NUM_FRAMES, args.other_seeds, args.seeds
    ratios = args.family.studied
    yield Run("still", "unpruned", 0.0, True, eight), many
    for ratio in ratios[1:]:
        for name in KEY:
            yield Run("still", name, ratio, True, eight), many
    for ratio in ratios:
        for name in UNTRAINED:
            yield Run("still", name, ratio, False, eight), few
    for ratio in ratios[1:]:
        for name in METHODS:
            if name not in KEY:
                yield Run("still", name, ratio, True, eight), few
    for name, ratio in (("unpruned", 0.0), ("STTS", 0.5)):
        for frames in (LONG, eight):
            yield Run("long", name, ratio, True, frames), few
    yield Run("moving", "unpruned", 0.0, True, eight), few
    for ratio in ratios[1:]:
        for name in ("STTS", "frame similarity", "random"):
            yield Run("moving", name, ratio, True, eight), few
    for name in METHODS:
        yield Run("still", name, 0.3, True, eight), 1


def feather(ratio, num_frames=shapes.NUM_FRAMES):
    """FEATHER whose stages on average drop a share of the tokens."""
    tokens, grid = num_frames * shapes.CELLS**2, (shapes.CELLS,) * 2

    def miss(tried):
        _, *kept = pruning.Feather(STAGES, tried).counts(tokens, grid)
        return abs(np.mean(kept) / tokens - (1 - ratio))

    return pruning.Feather(STAGES, min(np.arange(0.05, 0.99, 0.005), key=miss))


def settings(method, ratio, num_frames=shapes.NUM_FRAMES):
    """Arguments of `from_preset`.

    Args:
        num_frames: Int, of the model; Qwen3-VL's are two of a clip.
    """
    if method == "unpruned":
        return {"pruning": None}
    if method == "FEATHER":
        return {"pruning": feather(ratio, num_frames)}
    if method in INSIDE:
        rope = method == "FastV"
        return {"pruning": pruning.FastV(STAGES[0], ratio, rope=rope)}
    return {"pruning": RANKINGS[method], "prune_ratio": ratio}


def open_preset(family, path, world, **kwargs):
    kwargs = family.tight | kwargs
    if world == "long":
        # Seconds of two digits need more tokens.
        kwargs |= {"num_frames": LONG, "time_tokens": 7}
    return keras_stts.VideoVLM.from_preset(str(path), **kwargs)


def load_model(family, preset, run, steps):
    num_frames = shapes.NUM_FRAMES // family.frames_together
    coefficients = {"STTS" + KEPT: 0.5, "STTS" + NONE: 0.0}
    return open_preset(
        family,
        preset,
        run.world,
        aux_coefficient=coefficients.get(
            run.method, train_shapes.falling(steps)
        ),
        stop_gradient_target=True,
        **settings(run.method, run.ratio, num_frames),
    )


class Study:
    """Clips, the models that runs start from, and what they gave."""

    def __init__(self, args):
        self.args = args
        self.folder = args.folder
        self.results = args.folder / "results.jsonl"
        self._worlds = {}

    def data(self, world, split):
        """Clips of a world, and all their questions as tokens."""
        if (world, split) not in self._worlds:
            family = self.args.family
            whole = self.folder / "whole"
            model = open_preset(family, whole, world, pruning=None)
            raw = self.raw(world, split)
            data = train_shapes.encode(family, model, raw)
            self._worlds[world, split] = data
        return self._worlds[world, split]

    def raw(self, world, split):
        folder, options = {
            "still": (self.folder, {}),
            "moving": (self.folder / "moving", {"camera": "moving"}),
            "long": (self.folder / "long", {"num_frames": LONG}),
        }[world]
        count = self.args.test if split == "test" else self.args.train
        if split == "train" and world != "still":
            count //= 2
        return shapes.load(folder, split, count, **options)

    def train_models(self):
        """Make the presets that runs start from, those that are not there."""
        if not (self.folder / "whole").exists():
            self._train_whole()
        for world in set(self.args.worlds) - {"still"}:
            if not (self.folder / world / "whole").exists():
                log(f"whole videos of the world {world!r}")
                run = Run(world, "unpruned", 0.0, True, shapes.NUM_FRAMES)
                whole = self.folder / "whole"
                model = load_model(self.args.family, whole, run, 1)
                clips = self.clips(run, model, seed=100)
                train_shapes.fine_tune(model, clips, self.args.world_steps)
                save(model, self.folder / world / "whole")

    def _train_whole(self):
        args, data = self.args, self.raw("still", "train")
        texts = sum(data["questions"] + data["answers"], [])
        keras.utils.set_random_seed(0)
        model = train_shapes.build_model(args.family, texts)
        data = train_shapes.encode(args.family, model, data)
        train_shapes.train_unpruned(
            args.family,
            model,
            data,
            self.folder,
            args.vision_steps,
            args.language_steps,
        )
        save(model, self.folder / "no_scorer")

        def scorer():
            train_shapes.start_scorer(model, data)

        train_shapes.stage(model, self.folder / "scorer.weights.h5", scorer)
        save(model, self.folder / "whole")

    def clips(self, run, model, seed):
        data = self.data(run.world, "train")
        if run.frames == data["videos"].shape[1]:
            return Clips(data, 8, seed=seed)
        return SomeFrames(data, model, run.frames, seed)

    def start_of(self, run, seed):
        """Preset that a run starts from."""
        if not run.tuned:
            return self.folder / f"tuned_{seed}"
        if run.method == "STTS" + NONE:
            return self.folder / "no_scorer"
        if run.world != "still":
            return self.folder / run.world / "whole"
        return self.folder / "whole"

    def done(self):
        """Runs and their seeds."""
        if not self.results.exists():
            return set()
        lines = self.results.read_text("utf-8").splitlines()
        rows = map(json.loads, lines)
        return {
            (Run(*(row[n] for n in Run._fields)), row["seed"]) for row in rows
        }

    def run(self, run, seeds):
        """Train, if need be, and ask; the seeds share what is compiled."""
        model = self.model_of(run, seeds)
        whole = [ops.convert_to_numpy(v) for v in model.variables]
        trainer = Questions(model)
        train_shapes.prepare(trainer, 4e-4, self.args.steps, train_shapes.RATES)
        frames_asked = FRAMES_ASKED if run.world == "long" else (run.frames,)
        asked = [(run.ratio, n, model) for n in frames_asked]
        if run[:4] == ("still", "STTS", 0.5, True):
            # One set of weights, another ratio.
            less = self.model_of(run._replace(ratio=0.3), seeds)
            asked.append((0.3, run.frames, less))
        asked = [(*case, Asked(case[-1])) for case in asked]
        for seed in seeds:
            keras.utils.set_random_seed(seed)
            if run.tuned:
                for variable, value in zip(model.variables, whole):
                    variable.assign(value)
                self._train(run, trainer, seed)
            else:
                start = self.start_of(run, seed)
                other = open_preset(self.args.family, start, run.world)
                train_shapes.copy_weights(other, model)
            for ratio, frames, other, asking in asked:
                if other is not model:
                    train_shapes.copy_weights(model, other)
                row = {**run._asdict(), "seed": seed, "ratio_asked": ratio}
                self._ask(row | {"frames_asked": frames}, other, asking)
        # Else each model slows the next ones down.
        keras.backend.clear_session()
        gc.collect()

    def model_of(self, run, seeds):
        start = self.start_of(run, seeds[0])
        return load_model(self.args.family, start, run, self.args.steps)

    def _train(self, run, trainer, seed):
        clips = self.clips(run, trainer.model, seed)
        for variable in trainer.optimizer.variables:
            variable.assign(ops.zeros(variable.shape, variable.dtype))
        # A new `fit` would compile anew.
        for step in range(self.args.steps):
            place = step % clips.num_batches
            if step and not place:
                clips.on_epoch_end()
            logs = trainer.train_on_batch(*clips[place])
        log("trained:", " ".join(f"{value:.3f}" for value in logs))
        if (run.world, run.method) == ("still", "unpruned"):
            save(trainer.model, self.folder / f"tuned_{seed}")

    def _ask(self, row, model, asking):
        test = self.data(row["world"], "test")
        test = with_frames(test, model, row["frames_asked"])
        right, kept = ask(asking, test)
        row |= {
            "right": np.packbits(right, axis=1).tobytes().hex(),
            "kept_rows": kept_rows(kept),
        }
        with open(self.results, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        name = f"{row['method']} {row['ratio_asked']:.0%}"
        name += "" if row["tuned"] else ", as it is"
        train_shapes.describe(f"{name} ({row['seed']})", right, test)


def save(model, path):
    """A preset, there whole or not at all."""
    part = path.with_name(path.name + ".part")
    model.save_to_preset(part)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(part, path)


def frame_choice(data, model, index):
    """What the prompts of clips become of which these frames are shown."""
    index = np.asarray(index)
    video = keras_stts.data.SampledVideo(
        data["videos"][0][index], index / train_shapes.FPS
    )
    x = model.preprocessor.generate_preprocess(
        {"videos": [video], "prompts": ["?"]}
    )
    x = model.preprocessor.shorten(x, len(index))
    return train_shapes.shared(x)


def with_frames(data, model, frames):
    """Clips of which so many frames are shown, evenly spaced."""
    length = data["videos"].shape[1]
    if frames == length:
        return data
    index = np.arange(frames) * length // frames
    shared = frame_choice(data, model, index)
    return {**data, "vision": data["vision"][:, index], "shared": shared}


class SomeFrames(Clips):
    """Of the clips of a batch some frames are shown, drawn by lot."""

    def __init__(self, data, model, frames, seed, choices=200):
        super().__init__(data, 8, seed=seed)
        length = data["videos"].shape[1]
        self.choices = []
        for _ in range(choices):
            drawn = self.rng.permutation(length - 1)[: frames - 1] + 1
            index = np.sort(np.append(drawn, 0))
            self.choices.append((index, frame_choice(data, model, index)))

    def __getitem__(self, i):
        x, *rest = super().__getitem__(i)
        index, shared = self.choices[self.rng.integers(len(self.choices))]
        rows = len(x["vision"])
        shared = {n: np.repeat(v, rows, 0) for n, v in shared.items()}
        return {**x, **shared, "vision": x["vision"][:, index]}, *rest


class Asked(Questions):
    """Answers, and which blocks stayed to the end or where their tokens are."""

    def __init__(self, model):
        super().__init__(model)
        self.compile()

    def call(self, x):
        encode = self.model.backbone.encode_video
        vision = encode(x["vision"], frames_of(x))
        hidden, prefix = self.read(x, vision)
        tokens = ops.argmax(self.model.lm_head(hidden), axis=-1)
        tokens = ops.reshape(tokens, ops.shape(x["token_ids"]))
        found = {"tokens": tokens}
        if "places" in prefix:
            found["places"] = prefix["places"]
        if "selection" in vision:
            found["kept"] = vision["selection"].kept
        return found


def ask(asking, data, batch_size=20):
    """Which answers are right, bool (clips, questions), and what was kept."""
    clips = Clips(data, batch_size, shuffle=False)
    right, kept = [], []
    for i in range(clips.num_batches):
        x, labels, weights = clips[i]
        found = asking.predict_on_batch(x)
        hit = (found["tokens"] == labels) | (weights == 0)
        right.append(hit.all(-1))
        kept.append(kept_of(found, data))
    return np.concatenate(right), np.concatenate(kept)


def kept_of(found, data):
    """Which blocks stay to the end, bool (rows, T, P)."""
    rows, frames = len(found["tokens"]), data["shared"]["frame_mask"].shape[1]
    if "kept" in found:
        return found["kept"]
    kept = np.ones((rows, frames * shapes.CELLS**2), bool)
    if "places" in found:
        # Each question decides for itself.
        places = found["places"]
        number = kept.shape[1]
        kept = np.stack([np.isin(np.arange(number), row) for row in places])
    return kept.reshape(len(kept), frames, -1)


def kept_rows(kept):
    """Share of the blocks after frame 0 that stay, by row of the image."""
    kept = kept.reshape(len(kept), -1, shapes.CELLS, shapes.CELLS)
    return kept[:, 1:].mean((0, 1, 3)).tolist()


def work(args):
    """Do what is left of the runs of these places in the plan."""
    study = Study(args)
    runs = left(study)
    for place in json.loads(args.part):
        study.run(*runs[place])


def left(study):
    """By place in the plan, runs that are not done, and their seeds."""
    done = study.done()
    runs = {}
    for place, (run, seeds) in enumerate(plan(study.args)):
        seeds = [seed for seed in range(seeds) if (run, seed) not in done]
        if seeds:
            runs[place] = run, seeds
    return runs


def share_out(study):
    """Work in several processes, a thread each."""
    args, places = study.args, list(left(study))
    environment = {
        **os.environ,
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    parts = [
        [sys.executable, *sys.argv, "--part", str(places[i :: args.processes])]
        for i in range(min(args.processes, len(places)))
    ]
    running = [subprocess.Popen(part, env=environment) for part in parts]
    if any([process.wait() for process in running]):
        sys.exit("A part of the work failed. The same command goes on.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default="shapes_data", type=pathlib.Path)
    parser.add_argument("--output", default=".", type=pathlib.Path)
    families = shapes_models.FAMILIES
    parser.add_argument("--family", default="molmo2", choices=families)
    worlds = ("still", "moving", "long")
    parser.add_argument("--worlds", nargs="+", default=worlds, choices=worlds)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--part", help="places in the plan; of one process")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--other-seeds", type=int, default=2)
    parser.add_argument("--train", type=int, help="clips, by family")
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--vision-steps", type=int, default=700)
    parser.add_argument("--language-steps", type=int, help="by family")
    parser.add_argument("--world-steps", type=int, default=250)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    args.family = families[args.family]
    args.train = args.train or args.family.num_clips
    if args.family.frames_together > 1 and set(args.worlds) != {"still"}:
        parser.error(
            "Worlds of other frames are for models that see frames one by "
            f"one. Received: {args.family.preset}. Pass --worlds still."
        )
    if args.part:
        return work(args)
    study = Study(args)
    study.train_models()
    share_out(study)

    def load(world, method, ratio):
        run = Run(world, method, ratio, False, shapes.NUM_FRAMES)
        return load_model(args.family, args.folder / "whole", run, 1)

    compare_report.main(study, METHODS, UNTRAINED, FRAMES_ASKED, load)


if __name__ == "__main__":
    main()

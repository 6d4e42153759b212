"""Speed-up by pruning, beside what counting operations allows.

    python benchmarks/pruning.py --backend jax

times, in one process and in turns, a transformer block on kept patches, the
vision transformer (forward and train step), the whole prefill and the whole
train step, unpruned and pruned, one ratio after the other. Beside each
speed-up stand the one that the operations of our layout allow, and that of an
ideal ragged kernel. The last line is one JSON object.

On a CPU the sizes are So400m's and Qwen3-4B's with fewer blocks; on a GPU
they are Molmo2-4B's, random weights, bfloat16.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time

import process_memory
from device.sizes import TEXT
from device.sizes import TIME_TOKENS
from device.sizes import grid
from device.sizes import vision_sizes
from molmo2_4b import WHOLE
from molmo2_4b import WIDTHS

# Patches of a block, of a frame, and blocks of a frame.
BLOCK = 9
SIDE, NUM_BLOCKS = grid(WIDTHS)
PATCHES = SIDE**2
PARTS = ("timing", "layout", "overhead", "peaks")
PHASES = ("block", "block_train", "vit", "vit_train", "prefill", "train_step")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16])
    parser.add_argument(
        "--ratios", type=float, nargs="+", default=[0.3, 0.5, 0.8]
    )
    parser.add_argument("--phases", nargs="+", default=list(PHASES))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--overhead-frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--vision-layers",
        type=int,
        help="blocks of the vision transformer on a CPU, of which two run "
        "whole (default: 5, and 3 above 8 frames, where a train step of 5 "
        "needs more than 24 GB)",
    )
    parser.add_argument("--peak", nargs=2, type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


args = parse_arguments()
os.environ["KERAS_BACKEND"] = args.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from device import published_packing  # noqa: E402
from device import vision_layer  # noqa: E402
from device.batches import video_batch  # noqa: E402
from device.programs import total_of  # noqa: E402
from keras import ops  # noqa: E402

import keras_stts  # noqa: E402
from keras_stts.compiling import compiled  # noqa: E402
from keras_stts.compiling import wait  # noqa: E402
from keras_stts.layers import TokenPruning  # noqa: E402
from keras_stts.ops import num_kept_blocks  # noqa: E402


def on_gpu():
    if args.backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if args.backend == "torch":
        import torch

        return torch.cuda.is_available()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def cpu_sizes(num_frames):
    """Molmo2-4B's widths and few layers."""
    layers = args.vision_layers or (5 if num_frames <= 8 else 3)
    return {
        **WIDTHS,
        "vocabulary_size": 1024,
        "vision_num_layers": layers,
        "vision_feature_layers": (layers - 1, layers - 2),
        "prune_layer": 0,
        "num_layers": 2,
    }


def build(num_frames, prune_ratio):
    sizes = WHOLE if on_gpu() else cpu_sizes(num_frames)
    first = sizes["vocabulary_size"]
    backbone = keras_stts.VideoVLMBackbone.from_sizes(
        **sizes,
        num_frames=num_frames,
        prune_ratio=prune_ratio,
        image_patch_id=first + 2,
        vision_token_ids=[first + 2, first + 7, first + 8],
        dtype="bfloat16" if on_gpu() else "float32",
    )
    model = keras_stts.VideoVLM(backbone)
    model.compile(
        optimizer=keras.optimizers.SGD(1e-4), loss=model.loss, sampler="greedy"
    )
    return model


def make_batch(model):
    """One video of noise."""
    frames = model.backbone.num_frames
    return video_batch(model.backbone, frames, 1, TEXT, TIME_TOKENS)


def gradients_of(model, function, variables):
    """Compiled function of tensors: gradients of the sum of its outputs."""
    if args.backend == "jax":
        import jax

        def total(values, rest, inputs):
            mapping = list(zip(variables, values)) + rest
            with keras.StatelessScope(state_mapping=mapping):
                return total_of(function(*inputs))

        run = jax.jit(
            lambda values, inputs: jax.grad(total)(values, [], inputs)
        )
        return lambda *inputs: run([v.value for v in variables], inputs)
    if args.backend == "torch":
        import torch

        def run(*inputs):
            values = [v.value for v in variables]
            return torch.autograd.grad(
                total_of(function(*inputs)), values, allow_unused=True
            )

        return run
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def run(*inputs):
        with tf.GradientTape() as tape:
            value = total_of(function(*inputs))
        return tape.gradient(value, [v.value for v in variables])

    return run


def block_function(model, ratio):
    """A vision block past the pruning, and patches to run it on."""
    encoder = model.backbone.vision_encoder
    block, (width, *_) = encoder.blocks[-1], vision_sizes(WIDTHS)
    shape = (model.backbone.num_frames, PATCHES, width, encoder.compute_dtype)
    if ratio:
        run, inputs = vision_layer.packed(block, ratio, *shape)
    else:
        run, inputs = vision_layer.whole(block, *shape)
    return block, run, *inputs


def phases_of(model, ratio, batch):
    """Functions without arguments, one a phase, that run and wait."""
    x, y, weight = batch
    x = {name: ops.convert_to_tensor(value) for name, value in x.items()}
    encoder = model.backbone.vision_encoder
    block, run, *inputs = block_function(model, ratio)
    videos = (x["videos"], x["frame_mask"])

    def vit(videos, mask):
        return encoder(videos, keras_stts.ops.Frames(mask))["features"]

    functions = {
        "block": (compiled(model, run), inputs),
        "block_train": (
            gradients_of(model, run, block.trainable_variables),
            inputs,
        ),
        "vit": (compiled(model, vit), videos),
        "vit_train": (
            gradients_of(model, vit, encoder.trainable_variables),
            videos,
        ),
        "prefill": (compiled(model, model.prefill), (x,)),
    }

    def make(function, inputs):
        return lambda: wait(function(*inputs))

    runs = {name: make(*pair) for name, pair in functions.items()}
    runs["train_step"] = lambda: keras.Model.train_on_batch(model, x, y, weight)
    return {name: runs[name] for name in args.phases}


def counts(model, ratio, layout):
    """Operations of each phase."""
    flops = model.flops(prune_ratio=ratio, layout=layout, text_length=TEXT)
    frames = model.backbone.num_frames
    block = vision_layer.counted(WIDTHS, frames, ratio, layout)
    vit, total = flops["vision_encoder"], flops["total"]
    return dict(zip(PHASES, (block, block, vit, vit, total, total)))


def measure(num_frames, ratio):
    """Seconds of each phase, of a model that prunes and one that does not.

    No more than two models are there at a time, of 1.3 GB each.
    """
    models = {r: build(num_frames, r) for r in (0.0, ratio)}
    models[ratio].set_weights(models[0.0].get_weights())
    batch = make_batch(models[0.0])
    runs = {r: phases_of(model, r, batch) for r, model in models.items()}
    times = {}
    for phase in args.phases:
        seconds = {r: [] for r in models}
        for turn in range(1 + args.rounds):
            for r in models:
                start = time.perf_counter()
                runs[r][phase]()
                if turn:
                    seconds[r].append(time.perf_counter() - start)
        times[phase] = seconds[0.0], seconds[ratio]
        print(f"  {ratio:.0%}: {phase} timed", file=sys.stderr, flush=True)
        # What is compiled for a phase holds memory.
        del runs[0.0][phase], runs[ratio][phase]
    return times


def report(num_frames):
    times = {ratio: measure(num_frames, ratio) for ratio in args.ratios}
    model = build(num_frames, 0.0)
    operations = {
        layout: {r: counts(model, r, layout) for r in (0.0, *args.ratios)}
        for layout in ("packed", "ideal")
    }
    rows = []
    print(f"\n{num_frames} frames, {args.backend}, median of {args.rounds}")
    print(
        f"{'':12}{'ratio':>6}{'unpruned s':>12}{'spread':>8}{'seconds':>9}"
        f"{'spread':>8}{'speed-up':>10}{'layout allows':>15}{'reached':>9}"
        f"{'ideal kernel':>14}"
    )
    for phase in args.phases:
        for ratio in args.ratios:
            base, pruned = times[ratio][phase]
            seconds = np.median(pruned)
            allowed, ideal = (
                found[0.0][phase] / found[ratio][phase]
                for found in operations.values()
            )
            speedup = np.median(base) / seconds
            print(
                f"{phase:12}{ratio:6}{np.median(base):12.2f}{np.ptp(base):8.2f}"
                f"{seconds:9.2f}{np.ptp(pruned):8.2f}{speedup:10.2f}"
                f"{allowed:15.2f}{speedup / allowed:9.2f}{ideal:14.2f}"
            )
            rows.append(
                {
                    "frames": num_frames,
                    "phase": phase,
                    "ratio": ratio,
                    "seconds": float(seconds),
                    "unpruned_seconds": float(np.median(base)),
                    "speedup": float(speedup),
                    "layout_allows": allowed,
                    "ideal_allows": ideal,
                }
            )
    return rows


def report_overhead(num_frames, ratio=0.5):
    """Scorer, bias, selection and packing, beside the blocks of Molmo2.

    They run once a step, so their share is of 25 unpruned vision blocks; the
    language model, which would make it smaller, is left out.
    """
    model = build(num_frames, ratio)
    encoder = model.backbone.vision_encoder
    block, run, x = block_function(model, 0.0)

    method = model.backbone.pruning
    select = keras_stts.layers.TokenPruning(ratio)
    packing = keras_stts.layers.RaggedPacking(encoder.window, encoder.grid)

    def overhead(x):
        x = ops.reshape(x, (1, *x.shape))
        blocks = keras_stts.ops.to_blocks(x, encoder.window, encoder.grid)
        flat = keras_stts.ops.flat_blocks(blocks)
        scores = method(flat)
        similarity = keras_stts.ops.neighbor_similarity(flat)
        selection = select(scores)
        packed = packing(x, selection)
        layout = keras.tree.flatten(packing.layout(selection))
        return method.attention_bias(scores), similarity, packed, layout

    # Gradients go on to the blocks before.
    hidden = keras.Variable(x, dtype=encoder.compute_dtype)

    def whole(x):
        return block(hidden.value)

    def learned(x):
        return overhead(hidden.value)[:3]

    runs = {
        "forward": (compiled(model, run), compiled(model, overhead)),
        "train": (
            gradients_of(model, whole, [*block.trainable_variables, hidden]),
            gradients_of(
                model,
                learned,
                [*method.trainable_variables, hidden],
            ),
        ),
    }
    print(f"\n{num_frames} frames, scorer + bias + selection + packing")
    rows = {}
    for name, functions in runs.items():
        times = [[], []]
        for _ in range(1 + args.rounds):
            for function, seconds in zip(functions, times):
                start = time.perf_counter()
                wait(function(x))
                seconds.append(time.perf_counter() - start)
        base, extra = (np.median(seconds[1:]) for seconds in times)
        rows[name] = extra / (WHOLE["vision_num_layers"] * base)
        print(
            f"  {name}: {extra:.2f} s, one unpruned block {base:.2f} s, "
            f"share of {WHOLE['vision_num_layers']} blocks {rows[name]:.2%}"
        )
    return rows


def report_layout(num_frames=32):
    """The layout's count beside the ideal's, and the published packer's."""
    print(f"\n{num_frames} frames, blocks after pruning, counted")
    rows = []
    for ratio in args.ratios:
        whole, ours, ideal = (
            vision_layer.counted(WIDTHS, num_frames, *how)
            for how in ((), (ratio,), (ratio, "ideal"))
        )
        ours, ideal = whole / ours, whole / ideal
        tokens = BLOCK * num_kept_blocks(NUM_BLOCKS, num_frames, ratio)
        scores = vision_layer.scores_of(num_frames, NUM_BLOCKS)
        kept = ops.convert_to_numpy(TokenPruning(ratio)(scores).kept)[0]
        counts = (BLOCK * kept.sum(-1)).tolist()
        first_fit = len(published_packing.rows(counts, PATCHES))
        print(
            f"  ratio {ratio}: ours {ours:.2f}, ideal {ideal:.2f}, share "
            f"{ours / ideal:.3f}; tokens a block: ours {tokens}, "
            f"first fit {first_fit * PATCHES} ({first_fit} rows), "
            f"unpruned {num_frames * PATCHES}"
        )
        rows.append(
            {
                "frames": num_frames,
                "ratio": ratio,
                "ours": ours,
                "ideal": ideal,
                "tokens": tokens,
                "first_fit_tokens": first_fit * PATCHES,
            }
        )
    return rows


def peak(num_frames, ratio):
    """Train one step and print the highest memory of this process, in MiB."""
    model = build(int(num_frames), ratio)
    before = process_memory.resident() / 1024
    keras.Model.train_on_batch(model, *make_batch(model))
    after = process_memory.peak() / 1024
    if on_gpu() and args.backend == "torch":
        import torch

        after, before = torch.cuda.max_memory_allocated() / 1024, 0
    if on_gpu() and args.backend == "jax":
        import jax

        stats = jax.devices()[0].memory_stats()
        after, before = stats["peak_bytes_in_use"] / 1024, 0
    print(json.dumps({"peak_mib": (after - before) / 1024}))


def report_peaks(num_frames):
    """One process a ratio, so that none inherits another's peak."""
    print(f"\n{num_frames} frames, peak memory of the train step")
    rows = {}
    for ratio in [0.0] + args.ratios:
        command = [sys.executable, __file__, "--backend", args.backend]
        if args.vision_layers:
            command += ["--vision-layers", str(args.vision_layers)]
        command += ["--peak", str(num_frames), str(ratio)]
        out = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout
        rows[ratio] = json.loads(out.strip().split("\n")[-1])["peak_mib"]
        print(f"  ratio {ratio}: {rows[ratio]:.0f} MiB")
    return rows


def main():
    if args.peak:
        peak(*args.peak)
        return
    rows, layout, overhead, peaks = [], [], {}, {}
    if "timing" in args.only:
        for num_frames in args.frames:
            rows += report(num_frames)
    if "layout" in args.only:
        layout = report_layout()
    if "overhead" in args.only:
        overhead = report_overhead(args.overhead_frames)
    if "peaks" in args.only:
        peaks = report_peaks(args.frames[-1])
    result = {
        "benchmark": "pruning",
        "backend": args.backend,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "keras_stts": keras_stts.__version__,
        "rows": rows,
        "layout": layout,
        "overhead": overhead,
        "peak_mib": peaks,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

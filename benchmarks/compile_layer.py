"""One layer of a vision encoder, whole and packed, on chips that are not here.

    python benchmarks/compile_layer.py --target v5p

compiles a layer of Molmo2-4B's vision encoder on 64 whole frames, and on what
stays of them at several ratios, and prints the compiler's estimate of time
(TPUs), the bytes it moves and its temporaries, and each as a share of those
of the whole layer. The last line is one JSON object.
"""

import argparse
import json
import os
import sys
import time

from aot import targets
from molmo2_4b import WHOLE

MIB = 1024**2
WINDOW = 3


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--target", default="v5p", help=", ".join(targets.TARGETS))
    add("--frames", type=int, default=64)
    add("--ratios", type=float, nargs="+", default=[0.3, 0.5, 0.8])
    add("--gradient", action="store_true", help="forward and backward")
    return parser.parse_args(argv)


def whole(frames):
    """A layer's function and the shapes of its inputs, nothing pruned."""
    width = WHOLE["vision_hidden_dim"]
    return lambda block, x: block(x), [((frames, _patches(), width), None)]


def packed(frames, ratio):
    """The same of what stays at a ratio."""
    from keras_stts.layers import RaggedPacking
    from keras_stts.ops import Selection
    from keras_stts.ops import num_kept_blocks

    window, width = WINDOW, WHOLE["vision_hidden_dim"]
    blocks = _patches() // window**2
    kept = num_kept_blocks(blocks, frames, ratio)
    packing = RaggedPacking(window=window, dtype="bfloat16")
    packing.build((None, frames, _patches(), width))

    def run(block, x, *selection):
        layout = packing.layout(Selection(*selection))
        return block(
            x, attend=lambda q, k, v: packing.attention(q, k, v, layout)
        )

    return run, [
        ((1, kept * window**2, width), None),
        ((1, kept), "int32"),
        ((1, kept), "bool"),
        ((1, frames, blocks), "bool"),
    ]


def _patches():
    return (WHOLE["image_size"] // WHOLE["patch_size"]) ** 2


def make_block():
    from aot.abstract import abstract_variables

    from keras_stts.towers.vision_block import VisionBlock

    with abstract_variables():
        block = VisionBlock(
            WHOLE["vision_num_heads"],
            WHOLE["vision_head_dim"],
            WHOLE["vision_intermediate_dim"],
            dtype="bfloat16",
        )
        block.build((None, None, WHOLE["vision_hidden_dim"]))
    return block


def compiled(target, run, shapes, gradient):
    """Dict of what the compiler says of a layer."""
    import jax
    import keras
    from aot.report import costs
    from aot.report import memory_of

    block = make_block()
    device = targets.devices(target, 1)[0]
    place = jax.sharding.SingleDeviceSharding(device)

    def step(weights, x, *rest):
        def forward(weights, x):
            pairs = list(zip(block.variables, weights))
            with keras.StatelessScope(state_mapping=pairs):
                return run(block, x, *rest)

        if not gradient:
            return forward(weights, x)
        out, pull = jax.vjp(forward, weights, x)
        return pull(out)

    def abstract(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype or "bfloat16", sharding=place)

    weights = [abstract(v.shape, v.dtype) for v in block.variables]
    start = time.perf_counter()
    with targets.force_kernels(target):
        lowered = jax.jit(step).lower(weights, *(abstract(*s) for s in shapes))
    options = targets.compiler_options(target)
    program = lowered.compile(compiler_options=options or None)
    return {
        **costs(program, target),
        "temporaries": memory_of(program)["temporaries"],
        "compile_seconds": round(time.perf_counter() - start, 1),
    }


def show(name, row, base):
    def share(key):
        return f"({(row[key] or 0) / (base[key] or 1):.2f})"

    seconds = "no estimate"
    if row["seconds"] and base["seconds"]:
        seconds = f"{row['seconds'] * 1e3:6.2f} ms {share('seconds')}"
    moved = (row["bytes_accessed"] or 0) / 1e9
    print(
        f"{name:6} {seconds}  {moved:6.2f} GB moved "
        f"{share('bytes_accessed')}  {row['temporaries'] / MIB:6.0f} MiB "
        f"{share('temporaries')}",
        flush=True,
    )


def main():
    args = parse()
    try:
        target = targets.get(args.target)
        run, shapes = whole(args.frames)
        rows = {"whole": compiled(target, run, shapes, args.gradient)}
        show("whole", rows["whole"], rows["whole"])
        for ratio in args.ratios:
            run, shapes = packed(args.frames, ratio)
            row = rows[f"{ratio:.0%}"] = compiled(
                target, run, shapes, args.gradient
            )
            show(f"{ratio:.0%}", row, rows["whole"])
    except (ValueError, targets.MissingCompiler) as error:
        sys.exit(str(error))
    print(
        json.dumps(
            {
                "benchmark": "compile_layer",
                **vars(args),
                "versions": targets.versions(),
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()

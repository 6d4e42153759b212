"""What each method of pruning saves of a prefill by Molmo2-4B, counted.

    python benchmarks/methods.py --frames 128 --prune-ratio 0.5

prints how many times fewer operations each value of `pruning` needs than no
pruning. Nothing is run. The last line is one JSON object.
"""

import argparse
import json

from molmo2_4b import WHOLE

import keras_stts
from keras_stts.layers.initializers import weights_to_be_loaded
from keras_stts.pruning import METHODS
from keras_stts.pruning import language

TEXT = 64


def operations(num_frames, pruning, prune_ratio):
    first = WHOLE["vocabulary_size"]
    with weights_to_be_loaded(True):  # They are never written, nor read.
        backbone = keras_stts.VideoVLMBackbone.from_sizes(
            **WHOLE,
            num_frames=num_frames,
            image_patch_id=first,
            vision_token_ids=[first],
            prune_ratio=prune_ratio,
            pruning=pruning,
            dtype="bfloat16",
        )
        model = keras_stts.VideoVLM(backbone)
    return model.flops(text_length=TEXT)["total"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--prune-ratio", type=float, default=0.5)
    args = parser.parse_args()
    whole = operations(args.frames, None, 0.0)
    rows = {}
    for pruning in (*METHODS, *language.METHODS, ("stts", "feather")):
        name = pruning if isinstance(pruning, str) else " + ".join(pruning)
        needed = operations(args.frames, pruning, args.prune_ratio)
        rows[name] = whole / needed
        print(f"{name:16} {rows[name]:5.2f} x fewer", flush=True)
    print(json.dumps({"benchmark": "methods", **vars(args), "fewer": rows}))


if __name__ == "__main__":
    main()

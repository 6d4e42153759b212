"""Writes what transformers 5.23.0 makes of `qwen3_vl_cases`.

`python -m tests.preprocessing.make_qwen3_vl`, with torch and torchvision. A
torchvision that was built for another torch is made to load: what is missing
then are its detection operators, which nothing here calls.
"""

import hashlib
import importlib.util
import json
import pathlib
import re

import numpy as np
import tokenizers
import torch

from tests.preprocessing import qwen3_vl_cases as cases


def declare_operators():
    """Give torch the names of torchvision's operators."""
    found = importlib.util.find_spec("torchvision")
    path = pathlib.Path(found.origin).with_name("_meta_registrations.py")
    pattern = r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"'
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(re.findall(pattern, path.read_text()))):
        library.define(f"{name}(Tensor x) -> Tensor")
    return library


def make_tokenizer():
    """Bytes, a few merges and the special tokens."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = [("s", "e"), ("o", "n"), ("se", "c"), ("Ġ", "se"), ("0", ".")]
    vocabulary = alphabet + ["".join(pair) for pair in merges]
    model = tokenizers.models.BPE(
        {token: i for i, token in enumerate(vocabulary)}, merges
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(list(cases.SPECIAL))
    return tokenizer


def make_processor(tokenizer, padding_side):
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=cases.SPECIAL[0],
        padding_side=padding_side,
    )
    images = transformers.Qwen2VLImageProcessor(
        size=dict(zip(("shortest_edge", "longest_edge"), cases.IMAGE_LIMITS)),
        patch_size=16,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    videos = transformers.Qwen3VLVideoProcessor(
        size=dict(zip(("shortest_edge", "longest_edge"), cases.VIDEO_LIMITS)),
        cap_pixels_per_frame=False,
    )
    return transformers.Qwen3VLProcessor(
        image_processor=images, tokenizer=wrapped, video_processor=videos
    )


def run_processor(processor, texts, images, videos):
    """What a processor makes of a batch, as tensors."""
    given = {}
    if images:
        given["images"] = [cases.picture(*size) for size in images]
    if videos:
        given["videos"] = [cases.clip(*video[:3]) for video in videos]
        given["video_metadata"] = [
            {"total_num_frames": video[0], "fps": video[3]} for video in videos
        ]
    return processor(
        text=list(texts), return_tensors="pt", padding=True, **given
    )


def small_model(processor):
    """A `Qwen3VLModel` without weights, for its `get_rope_index`."""
    config = transformers.Qwen3VLConfig(
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
    )
    config.text_config.num_hidden_layers = config.vision_config.depth = 1
    with torch.device("meta"):
        return transformers.Qwen3VLModel(config)


def pixels(values):
    """Some patches as uint8, to be read, and a hash of the floats of all."""
    values = values.numpy()
    some = values[:: cases.PIXELS_STEP] * 0.5 + 0.5
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    return np.rint(some * 255).astype("uint8"), digest


def write_batches():
    tokenizer, arrays, hashes = make_tokenizer(), {}, {}
    tokenizer.save(str(cases.GOLDEN / "tokenizer.json"), pretty=False)
    for name, (texts, images, videos, side) in cases.BATCHES.items():
        processor = make_processor(tokenizer, side)
        made = run_processor(processor, texts, images, videos)
        positions, deltas = small_model(processor).get_rope_index(
            made["input_ids"],
            made["mm_token_type_ids"],
            made.get("image_grid_thw"),
            made.get("video_grid_thw"),
            made["attention_mask"],
        )
        arrays[f"{name}/ids"] = made["input_ids"].numpy().astype("int16")
        arrays[f"{name}/mask"] = made["attention_mask"].numpy().astype(bool)
        arrays[f"{name}/positions"] = positions.numpy().astype("int16")
        arrays[f"{name}/deltas"] = deltas.numpy().astype("int16")
        for kind, key in (("image", ""), ("video", "_videos")):
            if f"pixel_values{key}" in made:
                grids = made[f"{kind}_grid_thw"].numpy().astype("int16")
                arrays[f"{name}/{kind}_grids"] = grids
                some, digest = pixels(made[f"pixel_values{key}"])
                arrays[f"{name}/{kind}_pixels"] = some
                hashes[f"{name}/{kind}_pixels"] = digest
    np.savez_compressed(cases.GOLDEN / "batches.npz", **arrays)
    return hashes


def write_tables():
    """Sizes and frames, of transformers' own functions."""
    from transformers.models.qwen2_vl import image_processing_qwen2_vl
    from transformers.models.qwen3_vl import video_processing_qwen3_vl

    limits = dict(factor=32, min_pixels=65536, max_pixels=16777216)
    processor = transformers.Qwen3VLVideoProcessor()
    arrays = {"images": [], "videos": [], "capped_patches": []}
    for frames, height, width in cases.sizes().tolist():
        size = image_processing_qwen2_vl.smart_resize(height, width, **limits)
        arrays["images"].append(size)
        given = limits | dict(min_pixels=4096, max_pixels=25165824)
        size = video_processing_qwen3_vl.smart_resize(
            frames, height, width, **given
        )
        arrays["videos"].append(size)
        patches = processor.get_num_of_video_patches(
            frames, height, width, {"cap_pixels_per_frame": True}
        )
        arrays["capped_patches"].append(patches)
    chosen = []
    for total, fps in cases.lengths():
        metadata = transformers.video_utils.VideoMetadata(total, fps)
        chosen.append(processor.sample_frames(metadata))
    arrays["num_chosen"] = [len(each) for each in chosen]
    arrays["chosen"] = np.concatenate(chosen)
    arrays = {name: np.asarray(x, "int32") for name, x in arrays.items()}
    arrays |= grid_tables()
    np.savez_compressed(cases.GOLDEN / "tables.npz", **arrays)


def grid_tables():
    """Where patches are in a frame, and in a table of positions of side 7."""
    from transformers import vision_utils

    arrays = {}
    for number, size in enumerate(cases.GRIDS):
        grid = torch.tensor([[1, *size]])
        indices, weights = (
            vision_utils.get_vision_interpolation_indices_and_weights(
                grid, 7, align_corners=True, spatial_merge_size=2
            )
        )
        places = vision_utils.get_vision_position_ids(grid, 2)
        arrays[f"grid{number}/places"] = places.numpy().astype("int16")
        arrays[f"grid{number}/indices"] = indices.numpy().astype("int16")
        arrays[f"grid{number}/weights"] = weights.numpy()
    return arrays


def main():
    cases.GOLDEN.mkdir(parents=True, exist_ok=True)
    write_tables()
    hashes = json.dumps(write_batches(), indent=1)
    (cases.GOLDEN / "hashes.json").write_text(hashes + "\n")


if __name__ == "__main__":
    library = declare_operators()
    import transformers
    import transformers.video_utils

    main()

"""transformers' Molmo2 with the same weights, beside ours. PyTorch alone."""

import functools

import keras
import numpy as np
import torch
from keras import ops

from device import programs
from device import whole_model
from keras_stts.formats.molmo2 import weights as molmo2_weights
from keras_stts.formats.molmo2.export import transformers_config
from tests.models.hugging_face import molmo2

# Of logits, as a share of their norm: in bfloat16 61 blocks differ by the
# order of their sums.
BOUNDS = {"float32": 1e-4, "bfloat16": 1e-1}
NEW_TOKENS = 16


def build(model):
    """transformers' model with copies of the weights of ours."""
    config = transformers_config(model.backbone)
    config = molmo2.Molmo2Config.from_dict(config)
    with torch.device(model.weights[0].value.device):
        theirs = molmo2.Molmo2ForConditionalGeneration._from_config(
            config, dtype=getattr(torch, model.backbone.compute_dtype)
        )
    theirs.load_state_dict(weights_of(model))
    theirs.generation_config.eos_token_id = None
    return theirs.eval()


def weights_of(model):
    """Names of transformers to tensors of ours, in its layout."""
    table = {
        **molmo2_weights.backbone_table(model.backbone),
        **molmo2_weights.head_table(model),
    }
    found = {}
    for names, variables in table.items():
        names = molmo2_weights.transformers_names(names)
        if names[0].startswith(molmo2_weights.SCORER):
            continue
        for name, variable in zip(names, variables, strict=True):
            value = variable.value.detach()
            found[name] = value.T if variable.name == "kernel" else value
    return found


def inputs_of(x, backbone):
    """Inputs of transformers' model, of those of ours."""
    ids = torch.cat([x["vision_token_ids"], x["token_ids"]], dim=1).long()
    vision = torch.tensor(backbone.vision_token_ids, device=ids.device)
    frames, size = x["videos"].shape[1:3]
    patch = backbone.patch_size
    side = size // patch
    pixels = x["videos"].reshape(-1, side, patch, side, patch, 3)
    pixels = pixels.transpose(2, 3).reshape(-1, side**2, patch**2 * 3)
    places = torch.arange(frames * side**2, device=ids.device)
    places = places.reshape(frames, side // 3, 3, side // 3, 3)
    grid = [[frames, side // 3, side // 3]]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": torch.isin(ids, vision).long(),
        "pixel_values_videos": (pixels / 255.0 * 2 - 1).to(
            getattr(torch, backbone.compute_dtype)
        ),
        "video_token_pooling": places.transpose(2, 3).reshape(-1, 9),
        "video_grids": torch.tensor(grid, device=ids.device),
    }


def rows(models, num_frames, rounds):
    """Logits that agree, and times of a prefill and of an answer."""
    whole = models[0.0]
    x, *_ = whole_model.batches(whole, num_frames, 1)
    theirs = build(whole)
    given = inputs_of(x, whole.backbone)
    text = x["token_ids"].shape[1]

    def prefill():
        with torch.no_grad():
            return theirs(**given, use_cache=True, logits_to_keep=text).logits

    yield _agreement(whole, x, prefill())
    backend = programs.backend()
    names = {"transformers": None} | {
        whole_model.name_of(ratio): model for ratio, model in models.items()
    }
    made = {
        name: backend.Program(prefill)
        if model is None
        else backend.forward(model, _with_logits(model), x)
        for name, model in names.items()
    }
    yield from _timed("prefill and logits", made, num_frames, rounds)
    padded = _with_room(x)

    def generate():
        return theirs.generate(
            **given,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
        )

    def answer(model):
        with torch.no_grad():
            return model.generate_step(padded)

    made = {
        name: backend.Program(generate)
        if model is None
        else backend.Program(functools.partial(answer, model))
        for name, model in names.items()
    }
    phase = f"answer of {NEW_TOKENS} tokens"
    yield from _timed(phase, made, num_frames, rounds)


def _with_logits(model):
    return lambda x: model.lm_head(model.prefill(x)[0])


def _with_room(x):
    """Inputs with room for an answer."""
    room = ((0, 0), (0, NEW_TOKENS))
    names = ("token_ids", "padding_mask")
    return x | {name: ops.pad(x[name], room) for name in names}


def _agreement(model, x, wanted):
    found = programs.backend().forward(model, _with_logits(model), x).run()
    found, wanted = (
        np.array(keras.ops.convert_to_numpy(ops.cast(y, "float32")))
        for y in (found, wanted)
    )
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    bound = BOUNDS[model.backbone.compute_dtype]
    same = np.mean(found.argmax(-1) == wanted.argmax(-1))
    return {
        "case": "logits of transformers' Molmo2",
        "error": float(error),
        "bound": bound,
        "likeliest_token_shared": float(same),
        "right": bool(error <= bound),
    }


def _timed(phase, made, num_frames, rounds):
    for name, found in programs.measure(made, rounds).items():
        yield {
            "phase": phase,
            "frames": num_frames,
            "batch": 1,
            "variant": name,
            **found,
        }

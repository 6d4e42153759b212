"""How much memory a model takes, counted from its sizes."""

import math

from keras_stts.memory import sizes
from keras_stts.memory import weights as model_weights
from keras_stts.memory.activations import Program
from keras_stts.memory.checks import check_arguments
from keras_stts.memory.checks import check_changes
from keras_stts.memory.checks import check_config
from keras_stts.memory.report import Memory
from keras_stts.memory.stages import peak
from keras_stts.models import sizes as flat_sizes
from keras_stts.models.backbone_bounds import check_backbone
from keras_stts.models.backbone_checks import check_language_pruning

# Moments of each trained weight that the default optimizer keeps.
SLOTS = 2


def count_memory(
    config,
    weights=None,
    num_frames=None,
    *,
    batch_size=1,
    prune_ratio=None,
    text_length=64,
    phase="fit",
    trainable=None,
    optimizer_slots=SLOTS,
    dtype=None,
    quantization=None,
    rematerialize=None,
    chips=1,
    distribution="data",
    lora_rank=8,
    target_layer_names=("query", "value"),
    time_tokens=8,
    device="gpu",
    in_chunks=True,
):
    """Bytes that a `VideoVLM` takes on each chip, without making it.

    Args:
        config: Dict of the arguments of `VideoVLMBackbone`.
        weights: Optional list of `keras_stts.memory.weights.Weight`, what a
            model has. Defaults to those of a new one.
        in_chunks: Bool. Whether loss and metrics are the default ones, which
            need no logits of whole texts.
        **kwargs: See `VideoVLM.memory`.

    Returns:
        A `Memory`.
    """
    config = _whole_config(
        config,
        num_frames=num_frames,
        prune_ratio=prune_ratio,
        rematerialize=rematerialize,
    )
    check_arguments(
        batch_size=batch_size,
        text_length=text_length,
        phase=phase,
        optimizer_slots=optimizer_slots,
        quantization=quantization,
        chips=chips,
        distribution=distribution,
        lora_rank=lora_rank,
        device=device,
    )
    stored, computed, mode = model_weights.policy_of(dtype)
    if weights is None:
        weights = model_weights.weights_of_config(
            config, stored, quantization or mode
        )
        trainable = "all" if trainable is None else trainable
    runs_scorer = bool(config["prune_ratio"] and config["num_frames"])
    runs_scorer = runs_scorer and model_weights.have_scorer(weights)
    trains = phase == "fit"
    if trains or trainable == "lora":
        weights = model_weights.set_trainable(
            weights, trainable, runs_scorer, lora_rank, target_layer_names
        )
    split = chips if distribution == "model" else 1
    rows = batch_size if distribution == "model" else -(-batch_size // chips)
    tokens = sizes.count_tokens(config, rows, text_length, time_tokens)
    shared = chips if distribution != "data" else 1
    program = Program(
        config,
        tokens,
        weights,
        computed,
        device,
        phase=phase,
        split=split,
        shared=shared,
        in_chunks=in_chunks,
    )
    table = _fixed(weights, trains, optimizer_slots, shared)
    _add_inputs(table, config, tokens)
    _add_run(table, program, runs_scorer)
    facts = {
        "phase": phase,
        "num_frames": config["num_frames"],
        "batch_size": batch_size,
        "prune_ratio": config["prune_ratio"],
        "chips": chips,
    }
    return Memory(table, facts)


def _whole_config(config, **changes):
    """A config with defaults, changes and methods of pruning, checked."""
    check_changes(**changes)
    changes = {name: x for name, x in changes.items() if x is not None}
    if flat_sizes.is_counted(config):  # Of a model, of any parts.
        changed = flat_sizes.changed(config, changes)
        config = {**config, **flat_sizes.of_config(changed)}
    else:
        config = {**flat_sizes.defaults(), **config}
        check_config(config, flat_sizes.needed())
        config = flat_sizes.of_config(flat_sizes.changed(config, changes))
        check_backbone(config)
    if config["language_pruning"] is not None:
        names = ("language_pruning", "num_layers", "num_frames", "num_segments")
        check_language_pruning(*(config[name] for name in names))
    return config


def _fixed(weights, trains, slots, shared):
    """Table of weights, their gradients and what the optimizer keeps."""
    table = {}
    for weight in weights:
        part = model_weights.part_of_weight(weight)
        size = model_weights.num_bytes(weight)
        row = table.setdefault(part, {})
        size = math.ceil(size / (shared if len(weight.shape) > 1 else 1))
        row["weights"] = row.get("weights", 0) + size
        if trains and weight.trainable:
            row["gradients"] = row.get("gradients", 0) + size
            row["optimizer"] = row.get("optimizer", 0) + slots * size
    return table


def _add(table, kind, sizes_by_part):
    for part, size in sizes_by_part.items():
        row = table.setdefault(part, {})
        row[kind] = row.get(kind, 0) + int(size)


def _add_inputs(table, config, tokens):
    """Frames as uint8, ids as int32 and masks as bool."""
    pixels = flat_sizes.counted(config)["pixels"]
    whole = max(tokens.prefix[0], tokens.blocks)
    _add(
        table,
        "inputs",
        {
            "vision_encoder": tokens.whole * pixels,
            "language_model": 5 * whole + 13 * tokens.text,
        },
    )


def _add_run(table, program, runs_scorer):
    """Activations, caches and logits of the program of a phase."""
    tokens, phase = program.tokens, program.phase
    stages, caches = [], 0
    if phase != "decode":
        stages = program.stages(runs_scorer)
    if phase in ("prefill", "decode", "generate"):
        caches = program.cache_bytes()
        logits = program.logit_bytes(tokens.batch)
    else:
        logits = program.logit_bytes()
    _add(table, "caches", {"language_model": caches})
    _add(table, "logits", {"head": logits})
    _add(table, "activations", _beside(table, peak(stages), logits))
    _add(table, "activations", program.gathered_bytes())


def _beside(table, worst, logits):
    """What the worst moment takes beside gradients and logits, by part.

    Not all of these may be there then; their room is used by others.
    """
    known = {part: row.get("gradients", 0) for part, row in table.items()}
    rest = {p: max(0, n - known.get(p, 0)) for p, n in worst.items()}
    size = sum(worst.values()) - sum(known.values()) - logits
    share = max(0, size) / (sum(rest.values()) or 1)
    return {part: share * n for part, n in rest.items()}

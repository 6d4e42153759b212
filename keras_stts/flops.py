"""The floating point operations of a model, counted from its sizes."""

from keras_stts.models import sizes
from keras_stts.ops import merge_schedule
from keras_stts.ops import num_kept_blocks
from keras_stts.ops import plan_groups

__all__ = [
    "count_flops",
]

LAYOUTS = ("packed", "padded", "ideal")


def count_flops(
    backbone,
    num_frames=None,
    prune_ratio=None,
    text_length=64,
    *,
    num_blocks=None,
    time_tokens=8,
    layout="packed",
    padding=None,
):
    """Floating point operations of the prefill of one row, such as a video.

    A multiplication and an addition are two operations. Norms, activations and
    softmax are left out. A train step takes three times as many.

    Args:
        backbone: A `VideoVLMBackbone`.
        num_frames: Int. Frames of the row. Defaults to the backbone's.
        prune_ratio: Float. Defaults to the backbone's.
        text_length: Int. Tokens of the text.
        num_blocks: Optional int. Blocks of a frame, of a model whose frames
            differ in size. Defaults to the most.
        time_tokens: Int. Tokens of the time before each frame.
        layout: Str. `"packed"` counts what this package runs, with the padding
            of attention groups; `"padded"` adds `padding`; `"ideal"` counts a
            kernel without padding, on frames that keep equally many patches.
        padding: Dict of a part's name to operations that its kernels spend on
            padding.

    Returns:
        Dict of operations of `"vision_encoder"`, `"connector"`,
        `"language_model"` and `"total"`. The vision encoder includes
        `"scorer"`, which is the method of pruning; the language model includes
        its output head and a method that prunes inside of it.
    """
    if layout not in LAYOUTS:
        raise ValueError(
            f"`layout` must be one of {', '.join(LAYOUTS)}. Received: layout="
            f"{layout!r}."
        )
    method, backbone = backbone.pruning, _sized(backbone, num_blocks)
    num_frames = num_frames or backbone.num_frames
    if prune_ratio is None:
        prune_ratio = backbone.prune_ratio
    inside = prune_ratio if prunes_inside(method) else 0.0
    num_kept, num_shown = count_blocks(backbone, num_frames, prune_ratio)
    vision_length = num_frames * (2 + time_tokens) + num_shown
    vision_length += backbone.num_segments
    if not method.prunes_blocks:
        vision = _merging_encoder(backbone, num_frames, prune_ratio)
    else:
        # With refill all layers run on whole frames.
        run = 0.0 if backbone.refill else inside
        vision = _vision_encoder(backbone, num_frames, run, layout)
    scorer = _ranking(backbone, method, num_frames, prune_ratio)
    connector = backbone.connector_costs.flops * num_kept
    lengths = prefix_lengths(backbone, vision_length, num_shown)
    text = _language_model(backbone, lengths, text_length)
    text += _ranking_inside(backbone, lengths, num_frames)
    if layout == "padded":
        vision += padding.get("vision_encoder", 0)
        text += padding.get("language_model", 0)
    return {
        "vision_encoder": vision + scorer,
        "scorer": scorer,
        "connector": connector,
        "language_model": text,
        "total": vision + scorer + connector + text,
    }


def _sized(backbone, num_blocks):
    """Sizes of a backbone on frames of so many blocks."""
    found = sizes.named(backbone)
    if num_blocks in (None, found.num_blocks):
        return found
    if backbone.input_layout.num_blocks_of_frames is not None:
        raise ValueError(
            "`num_blocks` is of models whose frames differ in size. Received: "
            f"num_blocks={num_blocks}, and frames of this one have "
            f"{found.num_blocks}. Leave it out."
        )
    found.num_blocks, found.grid = num_blocks, (num_blocks, 1)
    found.frame_patches = num_blocks * found.window**2
    return found


def _ranking(backbone, method, num_frames, prune_ratio):
    """Operations of the method of pruning itself."""
    if not prune_ratio:
        return 0
    width = backbone.hidden_dim
    if method.place == "vision_encoder":
        width = backbone.window**2 * backbone.vision_hidden_dim
    return method.flops(num_frames, backbone.num_blocks, width)


def _ranking_inside(backbone, lengths, num_frames):
    """Operations that rank the tokens of the prefix in the language model.

    Each stage projects one query and compares it with all keys. A method that
    ranks without rotary embedding projects the keys once more.
    """
    method = backbone.language_pruning
    if method is None:
        return 0
    width = backbone.hidden_dim
    queries = backbone.num_query_heads * backbone.head_dim
    keys = backbone.num_key_value_heads * backbone.head_dim
    for_token = queries if method.rope else queries + width * keys
    seen = [lengths[stage.layer - 1] for stage in method.stages]
    total = sum(2 * (width * queries + n * for_token) for n in seen)
    return total + method.flops(num_frames, backbone.num_blocks, width)


def prunes_inside(method):
    """Whether blocks are dropped inside the vision encoder."""
    return method.prunes_blocks and method.place == "vision_encoder"


def count_blocks(backbone, num_frames, prune_ratio):
    """Tuple of the blocks of a row after the vision encoder, and of those that
    the language model gets."""
    method = backbone.pruning
    shown = prune_ratio if method.prunes_blocks else 0.0
    inside = shown if prunes_inside(method) else 0.0
    sizes = backbone.num_blocks, num_frames
    return tuple(
        num_kept_blocks(*sizes, ratio, backbone.num_segments)
        if num_frames
        else 0
        for ratio in (inside, shown)
    )


def block_flops(width, inner, intermediate, num_tokens, pairs):
    """Operations of a vision layer: linear on `num_tokens` tokens, attention
    on `pairs` of query and key."""
    linear = 4 * width * inner + 2 * width * intermediate
    return 2 * (linear * num_tokens + 2 * inner * pairs)


def _vision_sizes(backbone):
    inner = backbone.vision_num_heads * backbone.vision_head_dim
    return (
        backbone.vision_hidden_dim,
        inner,
        backbone.vision_intermediate_dim,
    )


def packed_pairs(num_frames, num_blocks, num_kept, patches, layout="packed"):
    """Pairs of query and key in one layer of packed attention."""
    if layout == "ideal":
        return num_frames * (num_kept * patches / num_frames) ** 2
    groups = plan_groups(num_frames, num_blocks, num_kept)
    return sum(frames * (cap * patches) ** 2 for frames, cap in groups)


def _vision_encoder(backbone, num_frames, prune_ratio, layout):
    sizes = _vision_sizes(backbone)
    patches = backbone.frame_patches
    whole = num_frames * patches
    whole_block = block_flops(
        *sizes, num_tokens=whole, pairs=num_frames * patches**2
    )
    embedding = 2 * backbone.pixels * backbone.vision_hidden_dim * whole
    num_layers = backbone.vision_num_layers
    if not prune_ratio:
        return embedding + num_layers * whole_block
    before = backbone.prune_layer + 2
    num_blocks, patches = backbone.num_blocks, backbone.window**2
    num_kept = num_kept_blocks(
        num_blocks, num_frames, prune_ratio, backbone.num_segments
    )
    pairs = packed_pairs(num_frames, num_blocks, num_kept, patches, layout)
    packed_block = block_flops(
        *sizes, num_tokens=num_kept * patches, pairs=pairs
    )
    after = num_layers - before
    return embedding + before * whole_block + after * packed_block


def _merging_encoder(backbone, num_frames, prune_ratio):
    """Operations where layers merge tokens between attention and MLP."""
    width, inner, hidden = _vision_sizes(backbone)
    tokens = backbone.frame_patches
    total = 2 * backbone.pixels * width * tokens
    counts = merge_schedule(tokens, backbone.vision_num_layers, prune_ratio)
    for count in counts:
        total += block_flops(width, inner, 0, tokens, tokens**2)
        if count:
            pairs = (tokens // 2) * (tokens - tokens // 2)
            total += 2 * pairs * backbone.vision_head_dim
        tokens -= count
        total += block_flops(width, 0, hidden, tokens, 0)
    return num_frames * total


def prefix_lengths(backbone, vision_length, num_shown):
    """Length of the prefix in each layer of the language model, a list.

    Args:
        backbone: A `VideoVLMBackbone`.
        vision_length: Int. Tokens of the prefix in the first layer.
        num_shown: Int. How many of them are blocks of frames.
    """
    lengths = [vision_length] * backbone.num_layers
    pruning = backbone.language_pruning
    if pruning is not None:
        counts = pruning.counts(num_shown, backbone.grid)
        for stage, count in zip(pruning.stages, counts[1:]):
            rest = backbone.num_layers - stage.layer
            lengths[stage.layer :] = [vision_length - num_shown + count] * rest
    return lengths


def _language_model(backbone, vision_lengths, text_length):
    width = backbone.hidden_dim
    queries = backbone.num_query_heads * backbone.head_dim
    keys = backbone.num_key_value_heads * backbone.head_dim
    token = 2 * width * (2 * queries + 2 * keys + 3 * backbone.intermediate_dim)
    pairs = 4 * queries
    # Causal attention throughout sees half of the pairs.
    seen = 1 if backbone.vision_token_ids else 0.5
    # Of the prefix the last layer computes only keys and values.
    vision = sum(n * (token + pairs * seen * n) for n in vision_lengths[:-1])
    vision += vision_lengths[-1] * 2 * width * 2 * keys
    text = sum(
        text_length * (token + pairs * (n + text_length))
        for n in vision_lengths
    )
    head = 2 * text_length * width * backbone.vocabulary_size
    return vision + text + head

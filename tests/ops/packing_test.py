"""Packing by hand, its laws, and what it costs."""

import itertools

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops as K

from keras_stts import ops
from tests.harness import compiled
from tests.harness import few_examples
from tests.harness import gradient
from tests.harness import to_numpy

B, T, HEADS, HEAD_DIM = 2, 6, 2, 4
RATIO = 0.5
# Name: grid of patches, window. The blocks of the last are padded.
GRIDS = {
    "window1": ((2, 3), 1),
    "window3": ((6, 9), 3),
    "window3_padded": ((5, 7), 3),
}
P = 6  # All of these grids have as many blocks.


def select(scores, ratio=RATIO, frame_mask=None):
    return ops.select_blocks(scores, ratio, frame_mask)


def groups_of(selection):
    _, num_frames, num_blocks = selection.kept.shape
    return ops.plan_groups(num_frames, num_blocks, selection.index.shape[1])


# Selections that are hard in one way or another, as scores (T, P).


def scores_of_counts(*counts):
    """Frame t + 1 has counts[t] blocks that are worth keeping."""
    scores = np.zeros((T, P), "float32")
    for t, count in enumerate(counts, 1):
        scores[t, :count] = 1
    return scores


HARD = {
    "one_frame_keeps_all": scores_of_counts(0, 0, 6, 6, 0),
    "uniform": scores_of_counts(2, 3, 2, 3, 2),
    "just_over_half": scores_of_counts(4, 4, 4, 0, 0),
    "all_tied": np.zeros((T, P), "float32"),
    "last_frames": scores_of_counts(0, 0, 0, 6, 6),
    "falling": scores_of_counts(6, 3, 2, 1, 0),
    "random": np.random.default_rng(5).uniform(size=(T, P)),
}


@st.composite
def batches(draw):
    """Scores of a batch and how many of each video's frames are real."""
    rows = []
    for _ in range(B):
        name = draw(st.sampled_from(["drawn", *HARD]))
        if name == "drawn":
            counts = draw(
                st.lists(st.integers(0, P), min_size=T - 1, max_size=T - 1)
            )
            rows.append(scores_of_counts(*counts))
        else:
            rows.append(HARD[name])
    lengths = draw(st.lists(st.integers(1, T), min_size=B, max_size=B))
    mask = np.arange(T) < np.array(lengths)[:, None]
    return np.stack(rows).astype("float32"), mask


# --- Layout ---


def test_rank_caps_by_hand():
    # Six blocks for frames 1 to 4: the largest may have all four of its
    # own, the second 3, the third 2, the fourth 1.
    assert ops.rank_caps(5, 4, 10) == [4, 4, 3, 2, 1]


def test_groups_by_hand():
    # Costs 16 + 9 + 4 + 1; two groups: 4 4, 2 2 is 40, 4 | 3 3 3 is 43.
    assert ops.plan_groups(5, 4, 10) == ((1, 4), (1, 4), (1, 3), (1, 2), (1, 1))
    assert ops.plan_groups(5, 4, 10, num_groups=2) == ((1, 4), (2, 4), (2, 2))
    assert ops.plan_groups(5, 4, 10, num_groups=1) == ((1, 4), (4, 4))


def test_groups_where_little_is_kept():
    assert ops.plan_groups(5, 4, 4) == ((1, 4),)  # Frame 0 alone.
    assert ops.plan_groups(5, 4, 5) == ((1, 4), (1, 1))
    assert ops.plan_groups(1, 4, 4) == ((1, 4),)


@pytest.mark.parametrize("num_kept", [9, 13, 20, 27, 36])
@pytest.mark.parametrize("num_groups", [1, 2, 3, 6])
def test_groups_cost_least(num_kept, num_groups):
    num_frames, num_blocks = 8, 9
    caps = ops.rank_caps(num_frames, num_blocks, num_kept)[1:]
    caps = [cap for cap in caps if cap]
    least = min(
        (
            sum(
                (end - start) * caps[start] ** 2
                for start, end in zip((0, *cuts), (*cuts, len(caps)))
            )
            for count in range(min(num_groups, len(caps)))
            for cuts in itertools.combinations(range(1, len(caps)), count)
        ),
        default=0,
    )
    first, *rest = ops.plan_groups(num_frames, num_blocks, num_kept, num_groups)
    assert first == (1, num_blocks)
    assert len(rest) <= num_groups
    assert sum(frames for frames, _ in rest) == len(caps)
    assert sum(frames * cap**2 for frames, cap in rest) == (
        least if caps else 0
    )


@pytest.mark.once
def test_groups_of_many_frames():
    frames = (1, 1093, 114, 141, 178, 195, 278)
    caps = (81, 81, 73, 66, 59, 52, 46)
    assert ops.plan_groups(2000, 81, 81_000) == tuple(zip(frames, caps))


def test_too_few_groups():
    with pytest.raises(ValueError, match="at least one.*num_groups=0"):
        ops.plan_groups(4, 4, 8, num_groups=0)


def test_layout_by_hand():
    # Kept: 2 of frame 0, 1 of frame 2, 2 of frame 3; flat 0 1 | 2 | 3 4.
    scores = np.array([[[0, 0], [0, 0], [0.5, 0], [0.5, 0.5]]], "float32")
    selection = select(scores, 0.375)
    groups = ((1, 2), (1, 2), (2, 1))
    layout = to_numpy(ops.frame_layout(selection, groups))
    # By rank: frame 0 | frame 3 | frame 2, frame 1. The last would begin at
    # flat place 2 as well.
    assert layout.rows.tolist() == [[0, 1, 3, 4, 2, 2]]
    assert layout.counts[0] is None
    assert layout.counts[1].tolist() == [[2]]
    # Frame 1 has nothing, and still one key.
    assert layout.counts[2].tolist() == [[1, 1]]
    assert layout.slots.tolist() == [[0, 1, 4, 2, 3]]
    assert layout.start.tolist() == [[0, 0, 2, 3, 3]]
    assert layout.stop.tolist() == [[2, 2, 3, 5, 5]]


def test_counts_tell_the_padding_of_a_group():
    scores = np.array([[[0, 0], [0, 0], [0.5, 0], [0.5, 0.5]]], "float32")
    selection = select(scores, 0.375)
    layout = to_numpy(ops.frame_layout(selection, ((1, 2), (3, 2))))
    assert layout.counts[1].tolist() == [[2, 1, 1]]
    assert layout.slots.tolist() == [[0, 1, 4, 2, 3]]


def layout_of(scores, mask):
    selection = select(scores, RATIO, mask)
    layout = ops.frame_layout(selection, groups_of(selection))
    counts = layout.counts[1:]  # The first is None.
    return selection, layout.rows, counts, layout.slots


LAYOUT = compiled(layout_of)


@few_examples
@hypothesis.given(batch=batches())
def test_caps_hold_and_each_block_has_a_place_of_its_own(batch):
    selection, rows, lengths, slots = LAYOUT(*batch)
    num_kept = selection.index.shape[1]
    counts = -np.sort(-selection.kept.sum(axis=-1), axis=1)
    caps = ops.rank_caps(T, P, num_kept)
    assert (counts[:, 1:] <= caps[1:]).all()
    groups = ops.plan_groups(T, P, num_kept)
    padded = [cap for frames, cap in groups for _ in range(frames)]
    assert (counts[:, : len(padded)] <= padded).all()
    assert (counts[:, len(padded) :] == 0).all()
    for b in range(B):
        real = selection.mask[b]
        taken = slots[b][real]
        assert len(set(taken)) == len(taken)
        np.testing.assert_array_equal(rows[b][taken], np.arange(num_kept)[real])
        assert all((length[b] > 0).all() for length in lengths)


# --- Packing ---


def test_pack_takes_whole_blocks():
    x = np.arange(12).reshape(1, 6, 2)
    packed = to_numpy(ops.pack_blocks(x, np.array([[0, 1, 5]], "int32")))
    assert packed.tolist() == [[[0, 1], [2, 3], [10, 11]]]


def test_round_trip():
    mask = np.array([[True] * T, [True] * 4 + [False] * 2])
    scores = np.random.default_rng(0).uniform(size=(B, T, P))
    selection = select(scores.astype("float32"), RATIO, mask)
    x = np.random.default_rng(1).normal(size=(B, T, P, 3)).astype("float32")
    packed = ops.pack_blocks(x.reshape(B, T * P, 3), selection.index)
    back = to_numpy(ops.unpack_blocks(packed, selection))
    kept = to_numpy(selection.kept)
    np.testing.assert_array_equal(back, x * kept[..., None])
    again = ops.pack_blocks(back.reshape(B, T * P, 3), selection.index)
    real = to_numpy(selection.mask)
    np.testing.assert_array_equal(to_numpy(again)[real], to_numpy(packed)[real])


# --- Attention ---


def patch_mask_of(selection, name):
    mask = ops.block_mask(*GRIDS[name])
    if mask.all():
        return None
    return K.take(K.convert_to_tensor(mask), selection.index % P, axis=0)


def ragged(name, scores, mask, qkv, ratio=RATIO):
    """Packed, attended and put back: (B, T, P, g, heads, d)."""
    g = GRIDS[name][1] ** 2
    selection = select(scores, ratio, mask)
    groups = groups_of(selection)
    flat = (B, T * P, g * HEADS * HEAD_DIM)
    rows = (B, -1, HEADS, HEAD_DIM)
    out = ops.ragged_attention(
        *(
            K.reshape(
                ops.pack_blocks(K.reshape(x, flat), selection.index), rows
            )
            for x in (qkv[0], qkv[1], qkv[2])
        ),
        ops.frame_layout(selection, groups),
        groups,
        window=GRIDS[name][1],
        patch_mask=patch_mask_of(selection, name),
    )
    out = K.reshape(out, (B, -1, g, HEADS, HEAD_DIM))
    return ops.unpack_blocks(out, selection)


def dense(name, scores, mask, qkv, ratio=RATIO):
    """Attention of whole frames, the logits of what is pruned masked."""
    g = GRIDS[name][1] ** 2
    kept = select(scores, ratio, mask).kept
    shape = (B, T, P * g, HEADS, HEAD_DIM)
    query, key, value = (K.reshape(x, shape) for x in (qkv[0], qkv[1], qkv[2]))
    logits = K.einsum("btqhd,btkhd->bthqk", query, key) * HEAD_DIM**-0.5
    seen = kept[..., None] & K.convert_to_tensor(ops.block_mask(*GRIDS[name]))
    seen = K.reshape(seen, (B, T, 1, 1, P * g))
    weights = K.softmax(K.where(seen, logits, -1e30), axis=-1)
    out = K.einsum("bthqk,btkhd->btqhd", weights, value)
    out = K.reshape(out, (B, T, P, g, HEADS, HEAD_DIM))
    return K.where(kept[..., None, None, None], out, 0.0)


def random_qkv(name, seed=0):
    g = GRIDS[name][1] ** 2
    rng = np.random.default_rng(seed)
    shape = (3, B, T, P, g, HEADS, HEAD_DIM)
    return 2 * rng.normal(size=shape).astype("float32")


BOTH = {
    name: compiled(
        lambda *args, name=name: (ragged(name, *args), dense(name, *args))
    )
    for name in GRIDS
}


def blocks_that_are_patches(out, name):
    return out[..., ops.block_mask(*GRIDS[name]), :, :]


@pytest.mark.parametrize("name", GRIDS)
@few_examples
@hypothesis.given(batch=batches())
def test_ragged_attention_is_dense_masked_attention(name, batch):
    packed, masked = BOTH[name](*batch, random_qkv(name))
    # What comes out at places of a block that hold no patch is never read.
    inside = ops.block_mask(*GRIDS[name])[..., None, None]
    np.testing.assert_allclose(packed * inside, masked * inside, atol=1e-5)


def test_gradients_are_those_of_masked_attention(name="window3_padded"):
    inside = ops.block_mask(*GRIDS[name])[..., None, None].astype("float32")

    def loss(form):
        def total(qkv, scores, mask, weights):
            return K.sum(form(name, scores, mask, qkv) * weights)

        return gradient(total)

    of_ragged, of_dense = loss(ragged), loss(dense)
    qkv = random_qkv(name)
    weights = random_qkv(name, seed=1)[0] * inside
    mask = np.array([[True] * T, [True] * 4 + [False] * 2])
    for hard in HARD:
        scores = np.stack([HARD[hard], HARD["random"]]).astype("float32")
        got = of_ragged(qkv, scores, mask, weights)
        wanted = of_dense(qkv, scores, mask, weights)
        np.testing.assert_allclose(
            got, wanted, rtol=1e-5, atol=1e-5, err_msg=hard
        )
        # What is pruned gets none, what is kept gets some.
        kept = to_numpy(select(scores, RATIO, mask).kept)
        assert (got[:, ~kept] == 0).all()
        assert (abs(got[2][kept]).sum(axis=(1, 2, 3)) > 0).all()


@pytest.mark.skipif(
    keras.config.backend() != "jax", reason="elsewhere they add rows up"
)
def test_gradients_of_attention_take_rows(name="window3"):
    """XLA makes the zeros that a scatter begins with for all layers at once."""
    import jax

    scores = np.stack([HARD["random"]] * B).astype("float32")
    selection = select(scores)
    groups = groups_of(selection)
    layout = ops.frame_layout(selection, groups)
    num_patches = selection.index.shape[1] * 9
    qkv = np.ones((3, B, num_patches, HEADS, HEAD_DIM), "float32")

    def total(qkv):
        return K.sum(ops.ragged_attention(*qkv, layout, groups, window=3))

    def scatters(function):
        return "= scatter" in str(jax.make_jaxpr(function)(qkv))

    assert not scatters(jax.grad(total))
    assert scatters(
        jax.grad(lambda x: K.sum(ops.pack_blocks(x[0], layout.slots)))
    )


@pytest.mark.parametrize("name", ["window3", "window3_padded"])
def test_keeping_all_is_no_pruning(name):
    qkv = random_qkv(name)
    scores = np.zeros((B, T, P), "float32")
    mask = np.ones((B, T), bool)
    run = compiled(lambda *arrays: ragged(name, *arrays, ratio=0.0))
    out = run(scores, mask, qkv)
    inside = ops.block_mask(*GRIDS[name])
    shape = (B * T, inside.sum(), HEADS, HEAD_DIM)
    query, key, value = (x[:, :, inside].reshape(shape) for x in qkv)
    plain = to_numpy(ops.attention(query, key, value))
    np.testing.assert_allclose(
        out[:, :, inside].reshape(shape), plain, atol=1e-5
    )


# --- Costs ---

WIDTH, INNER, MLP = 1152, 16 * 72, 4304  # SigLIP So400m.
COST_FRAMES, COST_BLOCKS, PATCHES = 32, 81, 9


def block_cost(tokens, squares):
    """Multiplications of a ViT block: linear layers, query-key and value."""
    linear = 4 * WIDTH * INNER + 2 * WIDTH * MLP
    return tokens * linear + 2 * squares * PATCHES**2 * INNER


@pytest.mark.parametrize(
    "ratio, least", [(0.3, 0.94), (0.5, 0.90), (0.8, 0.85)]
)
def test_cost_is_near_that_of_an_ideal_kernel(ratio, least):
    num_kept = ops.num_kept_blocks(COST_BLOCKS, COST_FRAMES, ratio)
    groups = ops.plan_groups(COST_FRAMES, COST_BLOCKS, num_kept)
    tokens = num_kept * PATCHES
    ours = block_cost(tokens, sum(n * cap**2 for n, cap in groups))
    ideal = block_cost(tokens, num_kept**2 / COST_FRAMES)
    whole = block_cost(
        COST_FRAMES * COST_BLOCKS * PATCHES, COST_FRAMES * COST_BLOCKS**2
    )
    print(
        f"pruned {ratio}: {whole / ours:.2f}x of {whole / ideal:.2f}x, "
        f"{ideal / ours:.3f}, {len(groups)} groups"
    )
    assert ideal / ours >= least

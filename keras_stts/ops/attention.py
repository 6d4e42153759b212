"""Softmax attention, the one place where it is called."""

import functools

import keras
from keras import ops


def _allow_flash(query, mask):
    """None: where Keras finds it fit.

    On a TPU it takes a given mask from the first element of the batch only,
    so not there. On an NVIDIA GPU JAX wants a mask of each query by itself;
    Keras would try, and log that it failed. Asking breaks the graph of
    `torch.compile`, and torch finds a kernel by itself.
    """
    if keras.config.backend() == "jax":
        import jax

        if jax.default_backend() == "tpu":
            return False
        if mask is not None and mask.shape[-2] != query.shape[1]:
            return False
    if keras.config.backend() == "torch":
        import torch

        if torch.compiler.is_compiling():
            return False
    return None


def attention(query, key, value, mask=None, bias=None):
    """Scaled dot-product attention.

    Args:
        query: Tensor (B, S, heads, head_dim).
        key: Tensor (B, S2, key_heads, head_dim); `key_heads` divides `heads`
            (grouped-query attention).
        value: Tensor of the shape of `key`.
        mask: Optional bool tensor broadcast to (B, heads, S, S2), True where
            a query may see a key; each query sees at least one.
        bias: Optional tensor broadcast to (B, heads, S, S2), added to the
            logits. Not together with `mask`.

    Returns:
        Tensor (B, S, heads, head_dim).
    """
    repeats = query.shape[2] // key.shape[2]
    if repeats > 1:
        key = _repeat_heads(key, repeats)
        value = _repeat_heads(value, repeats)
    if bias is not None:
        bias = ops.cast(bias, query.dtype)
    flash = _allow_flash(query, mask)
    if flash is None and _has_no_training_kernel(query, key):
        return _flash_unless_trained()(query, key, value, mask, bias)
    return _run(query, key, value, mask, bias, flash)


def _run(query, key, value, mask, bias, flash):
    return ops.dot_product_attention(
        query, key, value, bias=bias, mask=mask, flash_attention=flash
    )


def _has_no_training_kernel(query, key):
    """Whether cuDNN, if it is there, can run this but not its gradient."""
    if keras.config.backend() != "jax":
        return False
    dtype = keras.backend.standardize_dtype(query.dtype)
    odd = query.shape[1] % 2 or key.shape[1] % 2
    return bool(odd) and dtype in ("bfloat16", "float16")


@functools.cache
def _flash_unless_trained():
    """Attention that leaves cuDNN alone where a gradient is asked for.

    Keras asks JAX about inference only, and inside `jax.checkpoint` the
    refusal to differentiate comes too late for it to take another kernel.
    """
    import jax

    run = jax.custom_vjp(functools.partial(_run, flash=None))

    def forward(*args):
        return jax.vjp(functools.partial(_run, flash=False), *args)

    run.defvjp(forward, lambda pullback, gradient: pullback(gradient))
    return run


def _repeat_heads(x, repeats):
    """(B, S, k, d) -> (B, S, k * repeats, d); `ops.repeat` would not trace
    on torch's meta device."""
    batch, length, heads, head_dim = ops.shape(x)
    x = ops.expand_dims(x, 3)
    x = ops.broadcast_to(x, (batch, length, heads, repeats, head_dim))
    return ops.reshape(x, (batch, length, heads * repeats, head_dim))


def prefix_attention(query, prefix, key, value, prefix_mask, mask):
    """Attention to a shared prefix and to a sequence of one's own.

    One softmax over both, without joining their keys and values: the prefix
    of a video is long, and decoding would copy it at every step.

    Args:
        query: Tensor (B * R, S, heads, head_dim), R sequences a prefix, those
            of one prefix side by side.
        prefix: Tuple (key, value) of tensors (B, S1, key_heads, head_dim).
        key: Tensor (B * R, S2, key_heads, head_dim).
        value: Tensor of the shape of `key`.
        prefix_mask: Bool tensor (B, S1), True where the prefix is real; or
            (B, R * S, S1), which of it each query may see.
        mask: Bool tensor broadcast to (B * R, 1, S, S2).

    Returns:
        Tensor (B * R, S, heads, head_dim).
    """
    heads, head_dim = query.shape[2:]
    length, key_heads = query.shape[1], key.shape[2]
    grouped = (length, key_heads, heads // key_heads, head_dim)
    query = query * ops.cast(head_dim**-0.5, query.dtype)
    own = _logits(ops.reshape(query, (-1, *grouped)), key)
    own = _hide(own, mask[:, :, None])
    # All sequences of a prefix as one long row of queries.
    batch = ops.shape(prefix[0])[0]
    shared_shape = (batch, -1, *grouped[1:])
    shared = _logits(ops.reshape(query, shared_shape), prefix[0])
    if len(prefix_mask.shape) == 2:
        prefix_mask = prefix_mask[:, None]
    shared = _hide(shared, prefix_mask[:, None, None])
    shared = _split_rows(shared, batch, length)
    size = shared.shape[-1]
    weights = ops.softmax(ops.concatenate([shared, own], axis=-1), axis=-1)
    weights = ops.cast(weights, value.dtype)
    out = ops.einsum("bkgqs,bskd->bqkgd", weights[..., size:], value)
    weights = _join_rows(weights[..., :size], batch)
    seen = ops.einsum("bkgqs,bskd->bqkgd", weights, prefix[1])
    out = out + ops.reshape(seen, (-1, *grouped))
    return ops.reshape(out, (-1, length, heads, head_dim))


def _logits(query, key):
    """(B, S, key_heads, G, d), (B, S2, key_heads, d) -> float32 logits."""
    logits = ops.einsum("bqkgd,bskd->bkgqs", query, key)
    return ops.cast(logits, "float32")


def _hide(logits, mask):
    return ops.where(mask, logits, ops.cast(-1e30, logits.dtype))


def _split_rows(x, batch, length):
    """(B, k, g, R * S, n) -> (B * R, k, g, S, n)."""
    if x.shape[3] == length:
        return x
    _, k, g, _, n = x.shape
    x = ops.reshape(x, (batch, k, g, -1, length, n))
    x = ops.transpose(x, (0, 3, 1, 2, 4, 5))
    return ops.reshape(x, (-1, k, g, length, n))


def _join_rows(x, batch):
    """Undo `_split_rows`: (B * R, k, g, S, n) -> (B, k, g, R * S, n)."""
    _, k, g, length, n = x.shape
    x = ops.reshape(x, (batch, -1, k, g, length, n))
    x = ops.transpose(x, (0, 2, 3, 1, 4, 5))
    return ops.reshape(x, (batch, k, g, -1, n))

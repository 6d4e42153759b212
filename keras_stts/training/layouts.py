"""How the weights of a `VideoVLM` are cut over the devices of a mesh."""

import contextlib
import contextvars
import re

import keras

# What a dimension is cut over: the axis of the mesh for parts of the model,
# or the one for examples.
MODEL, DATA = "model", "data"

_sizes = contextvars.ContextVar("sizes", default=None)


def _dense(layer, width, units, roles, *, bias=True):
    """Rows for a kernel (width, units), and its bias."""
    rows = {f"{layer}/kernel": (roles, (width, units))}
    if bias:
        roles = (MODEL if roles[1] == MODEL else None,)
        rows[f"{layer}/bias"] = (roles, (units,))
    return rows


def _table():
    """Dict of a pattern of paths to what each dimension is cut over, and how
    many pieces it is made of: heads, where it consists of such.

    As Megatron has it, the first kernel of each pair gives every device some
    heads or units, and the second adds up what these say: devices meet once
    an attention and once an MLP.
    """
    first, second, alone = (DATA, MODEL), (MODEL, DATA), (None, DATA)
    encoder, pooler = "vision_encoder", "pruning/scorer/pooler"
    mlp = "pruning/scorer/mlp"
    block, decoder = rf"{encoder}/block_\d+", "language_model"
    layer = rf"{decoder}/transformer_layer_\d+"
    patches, wide = "vision_patches", "vision_hidden_dim"
    heads, units = "vision_num_heads", "vision_intermediate_dim"
    table = {f"{encoder}/position_embedding": (alone, (patches, wide))}
    table |= _dense(f"{encoder}/patch_embedding", "pixels", wide, alone)
    table |= _dense(f"{block}/(?:query|key|value)", wide, heads, first)
    table |= _dense(f"{block}/attention_output", heads, wide, second)
    table |= _dense(f"{block}/mlp_up", wide, units, first)
    table |= _dense(f"{block}/mlp_down", units, wide, second)
    table[rf"{block}/(?:attention|mlp)_norm/(?:gamma|beta)"] = ((None,), (1,))

    table |= _dense(f"{pooler}/(?:query|key|value)", wide, heads, first)
    table |= _dense(f"{pooler}/output_dense", heads, wide, second)
    table |= _dense(f"{mlp}/hidden_1", "pairs", units, first)
    table |= _dense(f"{mlp}/hidden_2", units, units, second)
    table |= _dense(f"{mlp}/score", units, 1, (None, None))

    heads, inner = "connector_num_heads", "connector_intermediate_dim"
    pooler, pooled = "connector/pooler", "connector_hidden_dim"
    table |= _dense(f"{pooler}/(?:query|key|value)", "features", heads, first)
    table |= _dense(f"{pooler}/output_dense", heads, pooled, second)
    table |= _dense("connector/(?:gate|up)", pooled, inner, first, bias=False)
    table |= _dense("connector/down", inner, "hidden_dim", second, bias=False)
    joined, merger = "joined", r"connector/(?:merger|addition_\d+)"
    table |= _dense(f"{merger}/up", joined, joined, first)
    table |= _dense(f"{merger}/down", joined, "hidden_dim", second)
    table[f"{merger}/norm/(?:gamma|beta)"] = ((None,), (1,))

    wide, units = "hidden_dim", "intermediate_dim"
    heads, shared = "num_query_heads", "num_key_value_heads"
    table[f"{decoder}/token_embedding/embeddings"] = (
        second,
        ("input_ids", wide),
    )
    table |= _dense(f"{layer}/query", wide, heads, first, bias=False)
    table |= _dense(f"{layer}/(?:key|value)", wide, shared, first, bias=False)
    table |= _dense(
        f"{layer}/attention_output", heads, wide, second, bias=False
    )
    table |= _dense(f"{layer}/mlp_(?:gate|up)", wide, units, first, bias=False)
    table |= _dense(f"{layer}/mlp_down", units, wide, second, bias=False)
    names = "attention_norm|mlp_norm|query_norm|key_norm"
    table[f"{layer}/(?:{names})/scale"] = ((None,), (1,))
    table[f"{decoder}/layer_norm/scale"] = ((None,), (1,))
    table |= _dense("lm_head", wide, "vocabulary_size", first, bias=False)
    return table


# Dimensions of what layers say, where they are not (rows, tokens, units).
RANKS = {
    "vision_encoder/patch_embedding": 4,
    "pruning/scorer/pooler/(?:query|output_dense)": 4,
    "pruning/scorer/pooler/(?:key|value)": 5,
    r"pruning/scorer/mlp/\w+": 4,
    "connector/pooler/(?:key|value)": 4,
}
OUTPUT = "/output"


def _rank(layer):
    found = [n for path, n in RANKS.items() if re.fullmatch(path, layer)]
    return found[0] if found else 3


class VideoVLMLayoutMap(keras.distribution.LayoutMap):
    """Layouts of the weights of a `VideoVLM`, whatever its sizes are.

    A dimension that an axis does not divide is not cut over it, but another
    one of that weight is, if there is one. While a model is made its sizes
    are known; without one the layouts are those of sizes that all divide.

    What a layer says of a batch stays where its rows are, and is cut as its
    units are: left to itself, XLA would rather gather all rows than weights.
    A user's own layout of `"{path of a layer}/output"` goes before.

    Args:
        device_mesh: A `keras.distribution.DeviceMesh`.
        axes: Dict of `MODEL` and `DATA` to the axis of the mesh.
    """

    def __init__(self, device_mesh, axes):
        super().__init__(device_mesh)
        self._axes = axes
        counts = dict(zip(device_mesh.axis_names, device_mesh.shape))
        self._counts = {role: counts[name] for role, name in axes.items()}
        self._model_sizes = None
        self._own = []  # A user may put others in their place.
        for pattern, row in _table().items():
            self[pattern] = self._named(row[0])
            self._own.append((super().__getitem__(pattern), *row))

    def _named(self, roles):
        return tuple(self._axes.get(role) for role in roles)

    def __getitem__(self, key):
        self._model_sizes = _sizes.get() or self._model_sizes
        layout = super().__getitem__(key)
        if layout is None and key.endswith(OUTPUT):
            return self._of_output(key.removesuffix(OUTPUT))
        if self._model_sizes is None or layout is None:
            return layout
        for own, roles, names in self._own:
            if own is layout:
                axes = self._named(self._fitting(roles, names))
                return keras.distribution.TensorLayout(axes, self.device_mesh)
        return layout

    def _fitting(self, roles, names):
        if self._model_sizes is None:
            return roles
        dims = [self._model_sizes.get(name, name) for name in names]
        return fitting(roles, dims, self._counts)

    def _of_output(self, layer):
        """The layout of what a layer says, or `None`.

        Rows that devices do not divide are no matter in what is compiled;
        elsewhere they are, and nothing is cut there.
        """
        if not _is_traced():
            return None
        for path, (roles, names) in _table().items():
            path, _, weight = path.rpartition("/")
            if weight not in ("kernel", "embeddings"):
                continue
            if re.fullmatch(f"(?:.*/)?{path}", layer):
                last = self._fitting(roles, names)[1]
                last = MODEL if last == MODEL and weight == "kernel" else None
                axes = [DATA, *[None] * (_rank(path) - 2), last]
                axes = self._named(axes)
                return keras.distribution.TensorLayout(axes, self.device_mesh)
        return None


def _is_traced():
    import jax

    return isinstance(jax.numpy.zeros(()), jax.core.Tracer)


def fitting(roles, sizes, counts):
    """What the dimensions of a weight can be cut over.

    Args:
        roles: Tuple of `MODEL`, `DATA` and `None`, what they should be.
        sizes: Ints, pieces of each dimension.
        counts: Dict of the role to the size of the axis.

    Returns:
        List as `roles`.
    """
    result = [None] * len(roles)
    for role in (MODEL, DATA):
        if role not in roles or counts[role] == 1:
            continue
        wanted = roles.index(role)
        order = sorted(range(len(roles)), key=lambda i: i != wanted)
        for i in order:
            if result[i] is None and sizes[i] % counts[role] == 0:
                result[i] = role
                break
    return result


@contextlib.contextmanager
def sizes_known(config):
    """Weights made in here are those of a model of these sizes.

    Args:
        config: Dict of the arguments of a `VideoVLMBackbone`, and of
            `VisionTower.sizes`.
    """
    wide = config["vision_hidden_dim"]
    ids = config["vocabulary_size"] + config["additional_vocabulary_size"]
    sizes = {
        **config,
        "pairs": 2 * wide,
        "features": wide * len(config["vision_feature_layers"]),
        "joined": wide * config["window"] ** 2,
        "input_ids": ids,
    }
    token = _sizes.set(sizes)
    try:
        yield
    finally:
        _sizes.reset(token)


def layout_map(device_mesh, model_parallel_dim_name, data_parallel_dim_name):
    """See `VideoVLMBackbone.get_layout_map`."""
    if not isinstance(device_mesh, keras.distribution.DeviceMesh):
        raise ValueError(
            "`device_mesh` must be a `keras.distribution.DeviceMesh`. "
            f"Received: {device_mesh!r} of type {type(device_mesh).__name__}."
        )
    axes = {MODEL: model_parallel_dim_name, DATA: data_parallel_dim_name}
    names = list(device_mesh.axis_names)
    if len(set(axes.values())) < 2 or not set(axes.values()) <= set(names):
        raise ValueError(
            "`model_parallel_dim_name` and `data_parallel_dim_name` must be "
            "two axes of the mesh. Received: model_parallel_dim_name="
            f"{model_parallel_dim_name!r}, data_parallel_dim_name="
            f"{data_parallel_dim_name!r} and a mesh of shape "
            f"{tuple(device_mesh.shape)} with axes {names}. An axis can be of "
            "size 1: DeviceMesh((8, 1), ['batch', 'model'], devices)."
        )
    return VideoVLMLayoutMap(device_mesh, axes)

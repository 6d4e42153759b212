"""The weights files of a checkpoint."""

import collections
import concurrent.futures
import math
import os
import re

import numpy as np

from keras_stts.layers.initializers import assign
from keras_stts.layers.initializers import host_array
from keras_stts.presets import files as preset_files
from keras_stts.presets.keras_format import names_of_index
from keras_stts.presets.keras_format import two_sets
from keras_stts.presets.parsing import parse_json

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.pt",
    "consolidated.00.pth",
)
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
NUM_READERS = 2
TILE = 128

Stored = collections.namedtuple("Stored", ["path", "place", "shape", "dtype"])
Rows = collections.namedtuple("Rows", ["key", "start", "stop"])


class Checkpoint:
    """The tensors of a checkpoint's safetensors file or files.

    Only a few tensors at a time are in memory beside the model.

    Args:
        preset: Str. Handle or directory.
        family: Str, what errors call such a checkpoint.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, pickled or of another dtype.
    """

    def __init__(self, preset, *, family="Molmo2"):
        self.family = family
        self.preset = preset
        self.tensors = {}
        places = None
        if preset_files.has(preset, WEIGHTS_INDEX):
            index = preset_files.read_json(preset, WEIGHTS_INDEX)
            names = names_of_index(index, f"{WEIGHTS_INDEX} of {preset}")
            places = index["weight_map"]
        names = [WEIGHTS] if places is None else names
        paths = {name: self._find(name) for name in names}
        if WEIGHTS not in paths and preset_files.has(preset, WEIGHTS):
            raise two_sets(preset, WEIGHTS, WEIGHTS_INDEX)
        for name, path in paths.items():
            self._add(name, self._index(path), places)

    def _find(self, name):
        pickled = [] if name.endswith(".safetensors") else [name]
        if not pickled:
            if preset_files.has(self.preset, name):
                return preset_files.find(self.preset, name)
            pickled = [p for p in PICKLED if self._has_file(p)]
        if pickled:
            raise ValueError(
                f"A {self.family} checkpoint's weights must be safetensors "
                "files: pickled ones can run code when they are read. "
                f"Received: {self.preset} with {pickled[0]}. Convert it with "
                "transformers' `save_pretrained`."
            )
        raise FileNotFoundError(
            f"A {self.family} checkpoint must hold all files of its weights. "
            "Received: "
            f"{self.preset} without {name}. Download it again."
        )

    def _has_file(self, name):
        return preset_files.has(self.preset, name)

    @property
    def num_bytes(self):
        """Size of the files."""
        paths = {stored.path for stored in self.tensors.values()}
        return sum(os.path.getsize(path) for path in paths)

    def _add(self, name, found, places):
        """Add the tensors of a file, after comparing them with the index."""
        given = set(found)
        wanted = given
        if places is not None:
            wanted = {key for key, file in places.items() if file == name}
        twice = given & set(self.tensors)
        different = sorted((given ^ wanted) | twice)
        if different:
            raise ValueError(
                "A file of weights must hold what the index says, and no "
                f"weight that another file holds. Received: {name} of "
                f"{self.preset}, which differs in {different[:5]} "
                f"({len(different)}). Download it again."
            )
        self.tensors |= found

    def _index(self, path):
        """Dict of the names in a file to `Stored`."""
        tensors = {}
        with _open(path) as file:
            places = _places(path)
            for key in file.keys():
                part = file.get_slice(key)
                if part.get_dtype() not in DTYPES:
                    raise ValueError(
                        "A checkpoint's weights must be of dtype "
                        f"{', '.join(DTYPES.values())}. Received: {key} in "
                        f"{path} of dtype {part.get_dtype()}."
                    )
                tensors[key] = Stored(
                    path,
                    places[key],
                    _as_matrix(part.get_shape()),
                    DTYPES[part.get_dtype()],
                )
        return tensors

    def has(self, prefix):
        return bool(self.names_of(prefix))

    def names_of(self, prefix):
        """Names of the weights that begin so."""
        return [key for key in self.tensors if key.startswith(prefix)]

    def assign(self, table, *, also=(), partial=False):
        """Fill the variables of a table.

        Args:
            table: Dict as `molmo2_weights.backbone_table` makes it.
            also: Further names that may be in the files.
            partial: Bool. Whether the files may hold any other name.

        Raises:
            ValueError: If a name is missing, a shape does not fit, or the
                files hold another name. Then no variable has changed.
        """
        self._check_names(table, also, partial)
        jobs = []
        for keys, variables in table.items():
            self._check_shapes(keys, variables)
            jobs += self._jobs(keys, variables)
        with concurrent.futures.ThreadPoolExecutor(NUM_READERS) as pool:
            arrays = _map_ahead(pool, self._read, jobs)
            for variable, _ in jobs:
                # The next is read as soon as this one is asked for, so that
                # no third is in memory.
                assign(variable, next(arrays))

    def _jobs(self, keys, variables):
        """Pairs of a variable and the list of `Rows` it is made of."""
        ends, jobs = [0], []
        for key in keys:
            ends.append(ends[-1] + self.tensors[key].shape[0])
        start = 0
        for variable in variables:
            stop = start + _stored_shape(variable)[0]
            rows = [
                Rows(key, max(first, start) - first, min(last, stop) - first)
                for key, first, last in zip(keys, ends, ends[1:])
                if first < stop and last > start
            ]
            jobs.append((variable, rows))
            start = stop
        return jobs

    def _read(self, variable, parts):
        """A variable's value as an array."""
        dtype = self.tensors[parts[0].key].dtype
        result = host_array(variable.shape, dtype)
        # NumPy copies elements of unknown dtypes one by one.
        left = result.view(f"u{result.dtype.itemsize}")
        left = left.T if variable.name == "kernel" else left
        for key, start, stop in parts:
            path, place, _, _ = self.tensors[key]
            row = left[0].nbytes
            with open(path, "rb") as file:
                file.seek(place + start * row)
                _fill(left[: stop - start], file)
            left = left[stop - start :]
        return result

    def _check_names(self, table, also, partial):
        wanted = {key for keys in table for key in keys}
        missing = sorted(wanted - set(self.tensors))
        unknown = set() if partial else set(self.tensors) - wanted - set(also)
        unknown = sorted(key for key in unknown if not _is_unused(key, wanted))
        if missing or unknown:
            raise ValueError(
                f"A {self.family} checkpoint must hold exactly the weights "
                f"of its config. Received: {self.preset} with missing "
                f"{missing[:5]} ({len(missing)}) and unknown {unknown[:5]} "
                f"({len(unknown)})."
            )

    def _check_shapes(self, keys, variables):
        shapes = [_stored_shape(variable) for variable in variables]
        wanted = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        given = [self.tensors[key].shape for key in keys]
        total = (sum(shape[0] for shape in given), *given[0][1:])
        dtypes = {self.tensors[key].dtype for key in keys}
        whole = len({shape[1:] for shape in given}) == 1 == len(dtypes)
        if total != wanted or not whole:
            raise ValueError(
                "The weights of a checkpoint must have the shapes of its "
                f"config. Received: {', '.join(keys)} in "
                f"{self.tensors[keys[0]].path} of shape "
                f"{', '.join(map(str, given))}, expected {wanted}."
            )


def _open(path):
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            "A checkpoint's weights are read with safetensors. "
            "Install it with `pip install safetensors`."
        ) from error
    try:
        return safe_open(path, framework="np")
    except Exception as error:
        raise ValueError(
            "A checkpoint's weights must be whole safetensors files. "
            f"Received: {path}, which cannot be read ({error}). Download "
            "it again."
        ) from error


def _places(path):
    """Where in a safetensors file the bytes of each tensor begin."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(size).decode(), path)
    header.pop("__metadata__", None)
    return {k: 8 + size + header[k]["data_offsets"][0] for k in header}


def _as_matrix(shape):
    """Kernels of convolutions have more axes, which are read as one."""
    rows, *rest = shape or (1,)
    return (rows, math.prod(rest)) if len(rest) > 1 else tuple(shape)


def _stored_shape(variable):
    shape = tuple(variable.shape)
    return shape[::-1] if variable.name == "kernel" else shape


def _map_ahead(pool, function, jobs):
    """`pool.map` with at most as many waiting results as threads."""
    futures = collections.deque()
    for job in jobs:
        futures.append(pool.submit(function, *job))
        if len(futures) == NUM_READERS:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _fill(target, file):
    """Read an array; a transposed one in tiles.

    Tiles are several times as fast, and again if a tile is not written from
    rows that are far apart.
    """
    if target.flags.c_contiguous:
        _read_whole(target, file)
        return
    rows = np.empty((TILE, target.shape[1]), target.dtype)
    for i in range(0, len(target), TILE):
        rows = rows[: len(target) - i]
        _read_whole(rows, file)
        for j in range(0, rows.shape[1], TILE):
            tile = rows[:, j : j + TILE].copy()
            target[i : i + TILE, j : j + TILE] = tile


def _read_whole(array, file):
    if file.readinto(array) < array.nbytes:
        raise ValueError(
            "A checkpoint's files must stay as they are while they are read. "
            f"Received: {file.name}, which has become shorter. Load it again."
        )


def _is_unused(key, wanted):
    """Whether a key belongs to a vision layer above the last feature."""
    match = re.match(r"(.*(resblocks|vision_tower\.layers)\.\d+\.)", key)
    if match is None:
        return False
    return not any(other.startswith(match[1]) for other in wanted)

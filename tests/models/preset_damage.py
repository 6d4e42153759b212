"""Ways to damage a preset, or to make it hostile; each takes a folder.

A function returns the name of the file that the error should say, or `None`
where any will do.
"""

import json
import pathlib
import struct

import h5py
import numpy as np

SECRET = "secret words of another file"
WILD = (
    10**12,
    -1,
    10**400,
    float("nan"),
    float("inf"),
    True,
    "x",
    "a" * 10**5,
    None,
    [],
    {},
    [10**12],
    {"class_name": "system", "module": "os", "config": "id"},
)
OUTSIDE = (
    "../secret.h5",
    "/etc/hostname",
    "a/../../secret.h5",
    "..\\secret.h5",
    "C:\\secret.h5",
    "x\0.h5",
    ".",
    "",
    7,
)
# Other people's checkpoints may lack these, and then mean their family's own.
OPTIONAL = (
    "chat_template.jinja",
    "generation_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
)
# Configs that a class or function makes something of.
CALLS = (
    {"module": "os", "class_name": "system", "config": {"command": "id"}},
    {"module": "subprocess", "class_name": "Popen", "config": {"args": "id"}},
    {"module": "builtins", "class_name": "eval", "config": {"x": "1"}},
    {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": "print"},
        "registered_name": None,
    },
    {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
    {"module": "os", "class_name": "function", "config": "system"},
    {
        "module": "antigravity",
        "class_name": "fly",
        "config": {},
        "registered_name": "fly",
    },
)


def files(folder):
    """Names of a preset's files but for its card and manifest, sorted."""
    folder = pathlib.Path(folder)
    paths = (p for p in folder.rglob("*") if p.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return [n for n in names if n not in ("README.md", "preset_manifest.json")]


def edit(path, function):
    """Change what a JSON file holds."""
    content = json.loads(path.read_text("utf-8"))
    content = function(content) or content
    path.write_text(json.dumps(content), "utf-8")


def any_file(folder, rng):
    names = files(folder)
    return names[rng.integers(len(names))]


def flip(folder, rng):
    name = any_file(folder, rng)
    data = bytearray((folder / name).read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    (folder / name).write_bytes(data)
    return name


def cut(folder, rng):
    name = any_file(folder, rng)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: rng.integers(len(data))])
    return name


def zero(folder, rng):
    name = any_file(folder, rng)
    data = bytearray((folder / name).read_bytes())
    start = rng.integers(len(data))
    length = min(int(rng.integers(1, 4096)), len(data) - start)
    data[start : start + length] = bytes(length)
    (folder / name).write_bytes(data)
    return name


def grow(folder, rng):
    name = any_file(folder, rng)
    with open(folder / name, "ab") as file:
        file.write(rng.bytes(100))
    return name


def drop(folder, rng):
    names = files(folder)
    if not (folder / "preset_manifest.json").exists():
        names = [name for name in names if name not in OPTIONAL]
    name = names[rng.integers(len(names))]
    (folder / name).unlink()
    return name


def drop_several(folder, rng):
    names = files(folder)
    for name in rng.choice(names, 3, replace=False):
        (folder / name).unlink()


def damage_manifest(folder, rng):
    path = folder / "preset_manifest.json"
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(7)
    path.write_bytes(data)


def leave_old_weights(folder, rng):
    """Of another layout of files, beside the preset's."""
    for name in ("model.weights.h5", "model.safetensors"):
        if (folder / name).exists():
            index = name.replace(".h5", ".json")
            index = index.replace("safetensors", "safetensors.index.json")
            (folder / index).write_text('{"weight_map": {"/vars": "x.h5"}}')
            return index
    for index in ("model.weights.json", "model.safetensors.index.json"):
        if (folder / index).exists():
            name = index.replace("safetensors.index.json", "safetensors")
            name = name.replace(".json", ".h5")
            (folder / name).write_bytes(b"old")
            return name


def json_file(folder, rng, names=None):
    names = names or [n for n in files(folder) if n.endswith(".json")]
    return names[rng.integers(len(names))]


def places(value, path=()):
    """Paths of all that is in nested dicts and lists."""
    items = []
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = list(enumerate(value))[:3]
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def put(content, path, value):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


def wild_value(folder, rng):
    """An impossible value somewhere in a config."""
    configs = [
        name
        for name in files(folder)
        if name.endswith(".json") and not name.startswith("assets/")
    ]
    name = json_file(folder, rng, configs)

    def change(content):
        paths = [p for p in places(content) if "vocab" not in map(str, p)]
        value = WILD[rng.integers(len(WILD))]
        put(content, paths[rng.integers(len(paths))], value)

    edit(folder / name, change)


def wild_size(folder, rng):
    """An enormous, negative or otherwise impossible size of a part."""
    names = ("config.json", "preprocessor.json", "processor_config.json")
    names = [name for name in names if (folder / name).exists()]

    def change(content):
        config = content.get("config", content)
        paths = [p for p in places(config) if is_size(config, p)]
        values = (10**6, 10**9, 10**12, -1, 2.5, True, "9", float("nan"))
        value = values[rng.integers(len(values))]
        put(config, paths[rng.integers(len(paths))], value)

    edit(folder / json_file(folder, rng, names), change)


def is_size(content, path):
    for key in path:
        content = content[key]
    return type(content) is int and content > 1


def wild_text(folder, rng):
    """What is no JSON of one object."""
    texts = (
        b"",
        b"[]",
        b"null",
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf{}",
        b"{" * 10**6,
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b'{"a": 1, "a": 2}',
        b"{} {}",
        b'{"a": ' + b"9" * 10**5 + b"}",
    )
    name = json_file(folder, rng)
    (folder / name).write_bytes(texts[rng.integers(len(texts))])
    return name


def enormous_text(folder, rng):
    name = json_file(folder, rng)
    with open(folder / name, "wb") as file:
        file.truncate(2**35)
    return name


def link_out(folder, rng):
    name = any_file(folder, rng)
    (folder / name).unlink()
    (folder / name).symlink_to("/etc/hostname")
    return name


def link_of_a_folder(folder, rng):
    inside = [p for p in folder.iterdir() if p.is_dir()]
    if not inside:
        return link_out(folder, rng)
    target = folder.parent / "elsewhere"
    inside[0].rename(target)
    inside[0].symlink_to(target)
    return inside[0].name


def pipe(folder, rng):
    import os

    name = any_file(folder, rng)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    return name


def index_leads_out(folder, rng):
    """Shards in another place."""
    for name in ("model.weights.json", "model.safetensors.index.json"):
        if (folder / name).exists():
            value = OUTSIDE[rng.integers(len(OUTSIDE))]

            def change(content, value=value):
                places = content["weight_map"]
                places[list(places)[rng.integers(len(places))]] = value

            edit(folder / name, change)
            return name
    return link_out(folder, rng)


def names_of_files(folder, rng):
    """A tokenizer's files in another place."""
    configs = ("preprocessor.json", "tokenizer.json")
    if not (folder / configs[0]).exists():
        return link_out(folder, rng)
    changes = (
        {"vocabulary": "/etc/hostname", "merges": "/etc/hostname"},
        {"config_file": "/etc/hostname"},
        {"config_file": "../../secret.json"},
    )
    name = configs[0]

    def change(content):
        config = content["config"]
        config = config.get("tokenizer", {}).get("config", config)
        config.update(changes[rng.integers(len(changes))])

    edit(folder / name, change)
    return name


def calls(folder, rng):
    """Configs that import or run something else."""
    call = CALLS[rng.integers(len(CALLS))]
    names = [
        name
        for name in ("config.json", "preprocessor.json", "task.json")
        if (folder / name).exists()
    ]
    name = json_file(folder, rng, names)

    def change(content):
        inner = content.get("config", content)
        way = rng.integers(4)
        if way == 0 and "config" in content:
            return {**content, **call}
        if way == 1 and "pruning" in inner:
            inner["pruning"] = call
        elif way == 2 and "dtype" in inner:
            inner["dtype"] = call
        elif "keras_stts" in content:
            content["keras_stts"]["backbone"]["pruning"] = call
        else:
            inner["activation"] = call

    edit(folder / name, change)
    return name


def hostile_hdf5(folder, rng):
    """Weights in other files, or larger than the file."""
    names = [name for name in files(folder) if name.endswith(".h5")]
    if not names:
        return hostile_safetensors(folder, rng)
    name = names[rng.integers(len(names))]
    with h5py.File(folder.parent / "secret.h5", "w") as other:
        other["x"] = np.ones(3)
    with h5py.File(folder / name, "a") as file:
        arrays = []
        file.visititems(
            lambda n, v: (
                arrays.append(n) if isinstance(v, h5py.Dataset) else None
            )
        )
        key = arrays[rng.integers(len(arrays))]
        shape = file[key].shape
        del file[key]
        HOSTILE[rng.integers(len(HOSTILE))](file, key, shape)
    return name


def external_link(file, key, shape):
    file[key] = h5py.ExternalLink("../secret.h5", "/x")


def soft_link(file, key, shape):
    file[key] = h5py.SoftLink("/")


def external_data(file, key, shape):
    size = 4 * int(np.prod(shape, dtype=int))
    file.create_dataset(
        key, shape, "float32", external=[("/etc/hostname", 0, size)]
    )


def virtual_data(file, key, shape):
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource("../secret.h5", "x", shape)
    file.create_virtual_dataset(key, layout)


def shape_bomb(file, key, shape):
    file.create_dataset(
        key, (2**20, 2**20), "float32", chunks=(2**10, 2**10), compression=9
    )


def no_data(file, key, shape):
    file.create_dataset(key, shape, "float32")


def words(file, key, shape):
    file[key] = SECRET


def nothing(file, key, shape):
    pass


HOSTILE = (
    external_link,
    soft_link,
    external_data,
    virtual_data,
    shape_bomb,
    no_data,
    words,
    nothing,
)


def hostile_safetensors(folder, rng):
    """Headers that lie."""
    names = [n for n in files(folder) if n.endswith(".safetensors")]
    if not names:
        return hostile_hdf5(folder, rng)
    name = names[rng.integers(len(names))]
    data = (folder / name).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    keys = [key for key in header if key != "__metadata__"]
    entry = header[keys[rng.integers(len(keys))]]
    way = rng.integers(7)
    if way == 0:
        entry["data_offsets"] = [0, 10**12]
    elif way == 1:
        entry["data_offsets"] = entry["data_offsets"][::-1]
    elif way == 2:
        entry["data_offsets"] = list(header[keys[0]]["data_offsets"])
        entry["data_offsets"][1] += 4
    elif way == 3:
        entry["shape"] = [10**6, 10**6]
    elif way == 4:
        entry["dtype"] = "F64"
    text = json.dumps(header).encode()
    if way == 5:
        text = text[:-1] + b"," + text[1:]  # Each name twice.
    length = 2**60 if way == 6 else len(text)
    (folder / name).write_bytes(struct.pack("<Q", length) + text + rest)
    return name


# With a manifest all of these are seen, without it those of the second list.
OF_SAVED = (flip, cut, zero, grow, drop, drop_several, damage_manifest)
OF_ANY = (
    calls,
    drop,
    enormous_text,
    hostile_hdf5,
    hostile_safetensors,
    index_leads_out,
    leave_old_weights,
    link_of_a_folder,
    link_out,
    names_of_files,
    pipe,
    wild_size,
    wild_text,
    wild_value,
)

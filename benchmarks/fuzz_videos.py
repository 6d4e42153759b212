"""Damaged videos: does reading crash, hang, or pass them off as whole?

    python benchmarks/fuzz_videos.py

writes small videos of many formats with FFmpeg, damages copies of each (cut,
zeroed, flipped, swapped, removed, repeated, followed by junk; all from one
seed), and reads every frame in a `DecodePool`, which limits time and memory.
A file is

- refused, with an error that names it, or read with a warning;
- equal: all frames and times are those of the whole file;
- unnoticeable: some pixels or times differ, but all frames are there, the last
  within a second of its time, and FFmpeg's own program with its strictest
  checks has no word of it either: no checksum covers them;
- silent: any other, read without a word. There must be none, and no crash, no
  hang, and no file of which `read_video` and `sampled_times` disagree with
  `on_error="warn"`.

The last line is one JSON object; the exit status is 1 if any of this fails.
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import imageio_ffmpeg
import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

X264 = "-c:v libx264 -preset fast -bf 2 -g 12"
SEEDS = {
    "h264.mp4": X264,
    "first.mp4": f"{X264} -movflags faststart",
    "parts.mp4": f"{X264} -movflags frag_keyframe+empty_moov",
    "hevc.mp4": "-c:v libx265 -preset ultrafast -x265-params "
    "log-level=none:keyint=12",
    "mjpeg.mov": "-c:v mjpeg",
    "h264.mkv": X264,
    "ffv1.mkv": "-c:v ffv1 -pix_fmt rgb24 -level 3 -slicecrc 1",
    "live.mkv": f"{X264} -live 1 -f matroska",
    "vp9.webm": "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -g 12",
    "vp8.webm": "-c:v libvpx -deadline realtime -g 12",
    "mpeg4.avi": "-c:v mpeg4 -g 12",
    "mjpeg.avi": "-c:v mjpeg",
    "h264.ts": X264,
    "mpeg2.ts": "-c:v mpeg2video -bf 2 -g 12",
    "mpeg1.mpg": "-c:v mpeg1video -bf 2 -g 12",
    "h264.flv": X264,
    "wmv2.wmv": "-c:v wmv2 -g 12",
    "theora.ogv": "-c:v libtheora -g 12",
    "a.gif": "-vf noise=alls=30:allf=t",
    "a.webp": "-c:v libwebp_anim -lossless 1",
    "a.png": "-f apng -plays 0",
}
KINDS = (
    "cut", "zeroed", "flipped", "swapped", "removed", "repeated", "junk",
)  # fmt: skip
COLUMNS = (
    "inputs", "refused", "warned", "equal", "unnoticeable", "silent",
    "crashed", "hung", "disagree",
)  # fmt: skip
ALL = {"num_frames": 10**6, "max_fps": 10**6}
TIME_LIMIT, MEMORY_LIMIT = 30.0, 2**32


def write(folder):
    """The whole files, as dict of name to path."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    paths = {}
    for name, options in SEEDS.items():
        paths[name] = folder / name
        pictures = "testsrc2=size=64x48:rate=25:duration=2"
        command = [program, "-loglevel", "error", "-y", "-f", "lavfi"]
        command += ["-i", pictures, *options.split(), str(paths[name])]
        subprocess.run(command, check=True)
    return paths


def damage(data, kind, rng):
    """A copy of bytes that is damaged in one way."""
    data, size = bytearray(data), len(data)
    length = int(rng.integers(16, max(size // 8, 32)))
    start, other = (int(x) for x in rng.integers(0, size - length, 2))
    zone, target = (slice(x, x + length) for x in (start, other))
    if kind == "cut":
        del data[int(rng.integers(1, size)) :]
    elif kind == "zeroed":
        data[zone] = bytes(length)
    elif kind == "flipped":
        for place in rng.integers(0, size, int(rng.integers(1, 20))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == "swapped":
        data[zone], data[target] = data[target], data[zone]
    elif kind == "removed":
        del data[zone]
    elif kind == "repeated":
        data[start:start] = data[zone]
    elif kind == "junk":
        data += rng.bytes(length)
    return bytes(data)


def inputs(paths, count, seed):
    """Tuples (name of the whole file, kind of damage, bytes)."""
    for number, (name, path) in enumerate(paths.items()):
        whole = path.read_bytes()
        for i in range(count):
            rng = np.random.default_rng([seed, number, i])
            kind = KINDS[i % len(KINDS)]
            yield name, kind, damage(whole, kind, rng)


def complaint(path):
    """What FFmpeg's program says, with its strictest checks."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    strict = "crccheck+bitstream+buffer+explode+careful"
    command = [program, "-v", "warning", "-err_detect", strict]
    command += ["-i", str(path), "-map", "0:v:0", "-f", "null", "-"]
    try:
        run = subprocess.run(command, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return ["takes long"]
    lines = run.stderr.decode(errors="replace").split("\n")
    # What it says of its own writing concerns whole files, too.
    said = [line for line in lines if line and "[null @" not in line]
    return [line for line in said if "Last message repeated" not in line]


def judge(path, whole, future, notes):
    """The column that a file counts in."""
    from keras_stts.data import DecodeError

    try:
        frames, times = future.result()
    except (DecodeError, FileNotFoundError) as error:
        text = str(error)
        if "reader crash" in text:
            return "crashed"
        if "time_limit" in text:
            return "hung"
        return "refused" if path.name in text else "silent"
    if notes(path):
        return "warned"
    alike = frames.shape == whole[0].shape
    if alike and np.allclose(times, whole[1]):
        if np.array_equal(frames, whole[0]):
            return "equal"
    if alike and abs(times[-1] - whole[1][-1]) < 1 and not complaint(path):
        return "unnoticeable"
    return "silent"


def agree(path, frames, times):
    """Whether both ways to read what is left find the same."""
    from keras_stts.data import DecodeError

    found = []
    for future, take in ((frames, lambda r: r[1]), (times, lambda r: r)):
        try:
            found.append(take(future.result()))
        except (DecodeError, FileNotFoundError) as error:
            text = str(error)
            if "reader crash" in text or "time_limit" in text:
                return False
            found.append(None)
    if any(one is None for one in found):
        return True
    return np.array_equal(*found) and found[0][-1] < 3600


def run(count, seed, folder, show=print, num_workers=2):
    """Read damaged files; Counters of `COLUMNS` by whole file."""
    from keras_stts.data import DecodePool
    from keras_stts.data import read_video

    paths = write(folder)
    whole = {name: read_video(path, **ALL) for name, path in paths.items()}
    rows = collections.defaultdict(collections.Counter)
    with (
        warnings.catch_warnings(record=True) as caught,
        DecodePool(num_workers, TIME_LIMIT, MEMORY_LIMIT) as pool,
    ):
        warnings.simplefilter("always")

        def notes(path):
            return any(path.name in str(note.message) for note in caught)

        damaged = enumerate(inputs(paths, count, seed))
        for name, group in itertools.groupby(damaged, lambda x: x[1][0]):
            verdicts = {}
            for number, (_, kind, data) in group:
                path = folder / f"{kind}{number}_{name}"
                path.write_bytes(data)
                verdicts[path] = pool.submit(path, **ALL)
            for path, future in verdicts.items():
                verdicts[path] = judge(path, whole[name], future, notes)
            # What the tolerant ones say must not count for the strict ones.
            pairs = {
                path: (
                    pool.submit(path, on_error="warn", **ALL),
                    pool.submit_times(path, on_error="warn", **ALL),
                )
                for path in verdicts
            }
            for path, verdict in verdicts.items():
                verdicts[path] = (verdict, agree(path, *pairs[path]))
            del caught[:]
            _count(rows[name], verdicts, show)
    return rows


def _count(row, verdicts, show):
    for path, (verdict, agrees) in verdicts.items():
        row["inputs"] += 1
        row[verdict] += 1
        row["disagree"] += not agrees
        if verdict in ("silent", "crashed", "hung") or not agrees:
            show(f"{path.name}: {verdict}{'' if agrees else ', disagrees'}")
        else:
            path.unlink()


def table(rows):
    lines = [f"{'':12}" + "".join(f"{name:>13}" for name in COLUMNS)]
    total = sum(rows.values(), collections.Counter())
    for name, row in [*rows.items(), ("all", total)]:
        lines.append(f"{name:12}" + "".join(f"{row[c]:13}" for c in COLUMNS))
    return "\n".join(lines), {name: total[name] for name in COLUMNS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=42, help="of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a file's name")
    parser.add_argument("--keep", help="folder where bad ones are left")
    args = parser.parse_args()
    for name in [name for name in SEEDS if args.only not in name]:
        del SEEDS[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(args.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = run(args.count, args.seed, folder)
    text, total = table(rows)
    print(text)
    print(json.dumps({"benchmark": "fuzz_videos", **total}))
    bad = ("silent", "crashed", "hung", "disagree")
    sys.exit(any(total[name] for name in bad))


if __name__ == "__main__":
    main()

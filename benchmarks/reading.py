"""Reading sampled frames, beside other readers and decoding everything.

    python benchmarks/reading.py

writes videos with FFmpeg, then reads frames of each, spread over all of it, in
processes of their own: with `keras_stts.data.read_video`, with PyAV decoding
everything, and with decord and torchcodec where they are installed. Seconds are
medians; memory is the peak of the process less what it had after its imports.
The last line is one JSON object.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import process_memory

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KERAS_BACKEND", "jax")

READERS = ("keras_stts", "everything", "decord", "torchcodec")


def write(path, seconds, size):
    import imageio_ffmpeg

    source = f"testsrc2=size={size}:rate=25:duration={seconds}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"]
    command += ["-f", "lavfi", "-i", source, "-c:v", "libx264"]
    command += ["-preset", "ultrafast", "-bf", "2", "-g", "250", str(path)]
    subprocess.run(command, check=True)


def with_keras_stts(path, count):
    from keras_stts.data import read_video

    def run():
        sampling = "uniform_last_frame"
        return read_video(path, count, 1000.0, sampling)[0]

    return run


def with_everything(path, count):
    import av

    def run():
        kept, total = [], 0
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            wanted = _wanted(stream.frames, count)
            for total, frame in enumerate(container.decode(stream)):
                if total in wanted:
                    kept.append(frame.to_ndarray(format="rgb24"))
        return kept

    return run


def with_decord(path, count):
    import decord

    def run():
        reader = decord.VideoReader(path)
        wanted = sorted(_wanted(len(reader), count))
        return reader.get_batch(wanted).asnumpy()

    return run


def with_torchcodec(path, count):
    from torchcodec.decoders import VideoDecoder

    def run():
        reader = VideoDecoder(path, seek_mode="exact")
        wanted = sorted(_wanted(len(reader), count))
        return reader.get_frames_at(wanted).data.numpy()

    return run


def _wanted(total, count):
    return {round(i * (total - 1) / (count - 1)) for i in range(count)}


def measure(reader, path, count, rounds):
    """One reader in this process; prints JSON."""
    run = globals()[f"with_{reader}"](path, count)
    before, times = process_memory.resident(), []
    for _ in range(rounds):
        start = time.perf_counter()
        frames = run()
        times.append(time.perf_counter() - start)
    peak = process_memory.peak()
    result = {
        "seconds": statistics.median(times),
        "memory_mb": (peak - before) / 1e6,
        "frames": len(frames),
        "frames_mb": sum(frame.nbytes for frame in frames) / 1e6,
    }
    print(json.dumps(result))


def compare(name, path, count, rounds):
    print(f"\n{name}, {count} frames of it", flush=True)
    rows = {}
    for reader in READERS:
        command = [sys.executable, __file__, "--reader", reader]
        command += ["--path", str(path), "--count", str(count)]
        command += ["--rounds", str(rounds)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            reason = run.stderr.strip().split("\n")[-1][:70]
            print(f"  {reader:12} does not run here: {reason}")
            continue
        row = rows[reader] = json.loads(run.stdout.strip().split("\n")[-1])
        whole = rows.get("everything", row)["seconds"]
        print(
            f"  {reader:12} {row['seconds']:8.2f} s, "
            f"{row['frames'] / row['seconds']:7.1f} frames/s, "
            f"{row['memory_mb']:6.0f} MB for {row['frames_mb']:.0f} MB",
            flush=True,
        )
    if "everything" in rows:
        whole = rows["everything"]["seconds"]
        print(
            "  keras_stts takes "
            f"{rows['keras_stts']['seconds'] / whole:.1%} of decoding it all"
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reader:
        measure(args.reader, args.path, args.count, args.rounds)
        return
    cases = {
        "30 s of 640x360": (30, "640x360", 16, args.rounds),
        "5 min of 1280x720": (300, "1280x720", 64, 1),
        f"{args.hours:g} h of 640x360": (3600 * args.hours, "640x360", 64, 1),
    }
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, case) in enumerate(cases.items()):
            seconds, size, count, rounds = case
            path = pathlib.Path(folder) / f"{i}.mp4"
            write(path, seconds, size)
            rows[name] = compare(name, path, count, rounds)
            path.unlink()
    print(json.dumps({"benchmark": "reading", "rows": rows}))


if __name__ == "__main__":
    main()

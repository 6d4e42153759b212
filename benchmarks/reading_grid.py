"""Hundreds of small videos as people have them, read and compared.

    python benchmarks/reading_grid.py

writes files with FFmpeg: containers, codecs, rates, orientations, start times,
lengths of 1, 2 and 3 frames, sound, subtitles, odd sizes, and what recorders
and editors make of them. Each is read with `read_video` in whole and in part,
and compared frame by frame with PyAV decoding everything, its number of frames
with that of FFmpeg's own program, its times with `sampled_times`, and, turned
or mirrored, its pixels with those of FFmpeg's program. The last line is one
JSON object; the exit status is 1 if a file is refused or differs.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import av
import imageio_ffmpeg
import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

H264 = "-c:v libx264 -preset ultrafast"
X264 = "-c:v libx264 -preset fast"
# Container and codec: suffix, options.
FORMATS = {
    "mp4 H.264": ("mp4", f"{X264} -bf 2 -g 12"),
    "mp4 H.264, moov first": ("mp4", f"{X264} -g 12 -movflags faststart"),
    "mp4 H.264, fragments": (
        "mp4", f"{X264} -g 12 -movflags frag_keyframe+empty_moov"),
    "mp4 H.264, open GOP": (
        "mp4", "-c:v libx264 -x264-params open-gop=1:keyint=10:bframes=3"),
    "mp4 H.264, intra refresh": (
        "mp4", "-c:v libx264 -x264-params intra-refresh=1:keyint=12"),
    "mp4 H.264, interlaced": ("mp4", f"{X264} -flags +ilme+ildct -g 12"),
    "mp4 H.264, 10 bits": ("mp4", f"{X264} -pix_fmt yuv420p10le"),
    "mp4 H.264, grey": ("mp4", f"{X264} -pix_fmt gray"),
    "mp4 H.264, 4:4:4": ("mp4", f"{X264} -pix_fmt yuv444p"),
    "mp4 HEVC": (
        "mp4", "-c:v libx265 -preset ultrafast -x265-params "
        "log-level=none:keyint=12 -tag:v hvc1"),
    "mp4 HEVC, 10 bits, HDR": (
        "mp4", "-c:v libx265 -preset ultrafast -x265-params "
        "log-level=none:keyint=12 -pix_fmt yuv420p10le -color_trc smpte2084 "
        "-color_primaries bt2020 -colorspace bt2020nc"),
    "mp4 AV1": ("mp4", "-c:v libaom-av1 -cpu-used 8 -g 12 -usage realtime"),
    "mp4 VP9": ("mp4", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 12"),
    "mp4 MPEG-4": ("mp4", "-c:v mpeg4 -bf 2 -g 12"),
    "mov ProRes": ("mov", "-c:v prores"),
    "mov ProRes, alpha": ("mov", "-c:v prores_ks -pix_fmt yuva444p10le"),
    "mov MJPEG": ("mov", "-c:v mjpeg"),
    "mov animation": ("mov", "-c:v qtrle"),
    "mov PNG": ("mov", "-c:v png"),
    "mov H.264": ("mov", f"{X264} -g 12"),
    "3gp H.263": ("3gp", "-c:v h263 -s 176x144"),
    "mkv H.264": ("mkv", f"{X264} -bf 2 -g 12"),
    "mkv HEVC": (
        "mkv", "-c:v libx265 -preset ultrafast -x265-params "
        "log-level=none:keyint=12"),
    "mkv FFV1": ("mkv", "-c:v ffv1 -pix_fmt rgb24"),
    "mkv VP8": ("mkv", "-c:v libvpx -deadline realtime -g 12"),
    "mkv MPEG-2": ("mkv", "-c:v mpeg2video -bf 2 -g 12"),
    "mkv, live": ("mkv", f"{X264} -g 12 -live 1 -f matroska"),
    "webm VP8": ("webm", "-c:v libvpx -g 15 -auto-alt-ref 1 -lag-in-frames 8"),
    "webm VP9": ("webm", "-c:v libvpx-vp9 -cpu-used 5 -g 12"),
    "webm VP9, alpha": ("webm", "-c:v libvpx-vp9 -pix_fmt yuva420p -g 12"),
    "webm AV1": ("webm", "-c:v libaom-av1 -cpu-used 8 -g 12 -usage realtime"),
    "webm VP9, live": (
        "webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -live 1"),
    "avi MPEG-4": ("avi", "-c:v mpeg4 -g 12"),
    "avi MPEG-4, B-frames": ("avi", "-c:v mpeg4 -bf 2 -g 12"),
    "avi MPEG-4, packed": ("avi", "-c:v libxvid -bf 2 -g 12"),
    "avi MJPEG": ("avi", "-c:v mjpeg"),
    "avi H.264": ("avi", f"{X264} -bf 2 -g 12"),
    "avi HuffYUV": ("avi", "-c:v huffyuv"),
    "avi, raw": ("avi", "-c:v rawvideo -pix_fmt bgr24"),
    "avi MS-MPEG-4": ("avi", "-c:v msmpeg4v2"),
    "avi DV": ("avi", "-c:v dvvideo -s 720x480 -r 30000/1001 -pix_fmt yuv411p"),
    "ts H.264": ("ts", f"{X264} -bf 2 -g 12"),
    "ts MPEG-2, interlaced": (
        "ts", "-c:v mpeg2video -flags +ilme+ildct -bf 2 -g 12"),
    "ts HEVC": (
        "ts", "-c:v libx265 -preset ultrafast -x265-params "
        "log-level=none:keyint=12"),
    "m2ts H.264": ("m2ts", f"{X264} -g 12"),
    "mpg MPEG-1": ("mpg", "-c:v mpeg1video -bf 2 -g 12"),
    "vob MPEG-2": ("vob", "-c:v mpeg2video -bf 2 -g 12 -f vob"),
    "flv H.264": ("flv", f"{X264} -bf 2 -g 12"),
    "flv Sorenson": ("flv", "-c:v flv -g 12"),
    "wmv WMV2": ("wmv", "-c:v wmv2 -g 12"),
    "asf MS-MPEG-4": ("asf", "-c:v msmpeg4 -g 12"),
    "ogv Theora": ("ogv", "-c:v libtheora -g 12"),
    "mxf MPEG-2": ("mxf", "-c:v mpeg2video -g 12"),
    "nut H.264": ("nut", f"{X264} -g 12"),
    "ivf VP8": ("ivf", "-c:v libvpx -deadline realtime -g 12"),
    "y4m": ("y4m", "-pix_fmt yuv420p"),
    "raw H.264": ("h264", f"{X264} -bf 2 -g 12"),
    "raw HEVC": (
        "hevc", "-c:v libx265 -preset ultrafast -x265-params "
        "log-level=none:keyint=12"),
    "raw MJPEG": ("mjpeg", "-c:v mjpeg"),
    "gif": ("gif", ""),
}  # fmt: skip
SOUND = {
    "webm": "libvorbis", "ogv": "libvorbis", "flv": "libmp3lame",
    "avi": "libmp3lame", "mpg": "mp2", "vob": "mp2", "wmv": "wmav2",
    "asf": "wmav2", "mxf": "pcm_s16le", "3gp": "aac",
}  # fmt: skip
SILENT = ("ivf", "y4m", "h264", "hevc", "mjpeg", "gif")
SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "mkv": "srt"}
TURNED = ("mp4 H.264", "mov H.264", "mkv H.264", "mp4 HEVC", "mov MJPEG")
# By their standards of one size and a few rates.
FIXED = ("avi DV", "mxf MPEG-2", "3gp H.263")
# Those that all variations are made of; of others, one of two.
COMMON = (
    "mp4 H.264", "mp4 H.264, fragments", "mkv H.264", "webm VP9", "avi MPEG-4",
    "ts H.264", "mov H.264", "flv H.264", "mp4 HEVC",
)  # fmt: skip
VARIATIONS = (
    "plain", "1 frame", "2 frames", "3 frames", "10 fps", "23.976 fps",
    "60 fps", "variable rate", "held last", "starts at 5 s", "sound",
    "longer sound", "late pictures", "subtitles", "odd size", "trimmed",
    "trimmed end", "as mkv", "as mp4", "as ts",
)  # fmt: skip


def ffmpeg(*arguments):
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-loglevel", "error", "-y", "-threads", "2"]
    run = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True
    )
    return run.returncode == 0


def cases():
    """Tuples (format, variation) of all files."""
    for number, name in enumerate(FORMATS):
        for turn, variation in enumerate(VARIATIONS):
            if name in COMMON or variation == "plain" or (number + turn) % 3:
                yield name, variation
        for rotation in (0, 90, 180, 270) if name in TURNED else ():
            for flip in ("", "-display_hflip"):
                yield name, f"rotation {rotation} {flip}".strip()


def write(folder, name, variation):
    """Write a file; `None` if its format has no such thing."""
    suffix, codec = FORMATS[name]
    path = folder / f"video.{suffix}"
    rate, size, count, before, after = "25", "64x48", 30, [], codec.split()
    inputs, filters = [], []
    if variation.endswith("fps"):
        rate = variation.split()[0].replace("23.976", "24000/1001")
    if variation[0] in "123" and "frame" in variation:
        count = int(variation[0])
    if variation == "odd size":
        size = "47x33"
        if "-pix_fmt" not in after and name.startswith(("mp4", "mov", "mkv")):
            after += ["-pix_fmt", "yuv444p"]
    if name == "raw MJPEG" and count == 1:
        return None  # It is a photo, which Pillow reads.
    if name in FIXED and (variation == "odd size" or rate not in ("25",)):
        return None
    if variation == "variable rate":
        filters = ["select=lt(n\\,10)+not(mod(n\\,7))"]
        after += ["-fps_mode", "vfr"]
    if variation == "held last":
        filters = [f"setpts=if(eq(N\\,{count - 1})\\,N+200\\,N)/25/TB"]
        after += ["-fps_mode", "vfr"]
        if suffix == "gif":
            filters, after = [], [*codec.split(), "-final_delay", "500"]
    if variation == "starts at 5 s":
        after += ["-output_ts_offset", "5"]
    sound = variation in ("sound", "longer sound", "late pictures")
    if sound and suffix in SILENT:
        return None
    if sound:
        seconds = 3 if variation == "longer sound" else 1
        inputs = ["-f", "lavfi", "-i", f"sine=duration={seconds}:r=48000"]
        after += ["-c:a", SOUND.get(suffix, "aac")]
        after += ["-ar", "8000", "-ac", "1"] if suffix == "3gp" else []
    if variation == "late pictures":
        before = ["-itsoffset", "0.4"]
    if variation == "subtitles":
        if suffix not in SUBTITLES:
            return None
        text = "1\n00:00:00,100 --> 00:00:00,900\nHello\n"
        (folder / "text.srt").write_text(text)
        inputs = ["-i", folder / "text.srt"]
        after += ["-c:s", SUBTITLES[suffix]]
    pictures = f"testsrc2=size={size}:rate={rate}"
    if filters:
        after += ["-vf", ",".join(filters)]
    if variation not in ("variable rate",):
        after += ["-frames:v", count]
    else:
        pictures += ":duration=1.5"
    source = ["-f", "lavfi", *before, "-i", pictures]
    if not ffmpeg(*source, *inputs, *after, path):
        return None
    return _edited(folder, path, variation)


def _edited(folder, path, variation):
    """What an editor makes of a file, without encoding it again."""
    first, _, rest = variation.partition(" ")
    if first == "rotation":
        target = folder / f"turned{path.suffix}"
        options = ["-display_rotation", *rest.split()]
        return target if _copy(path, target, options) else None
    if first == "trimmed":
        target = folder / f"trimmed{path.suffix}"
        options = ["-t", "0.7"] if rest else ["-ss", "0.5"]
        return target if _copy(path, target, options) else None
    if first == "as":
        if path.suffix == f".{rest}":
            return None
        target = folder / f"other.{rest}"
        return target if _copy(path, target, []) else None
    return path


def _copy(path, target, options):
    written = ffmpeg(*options, "-i", path, "-c", "copy", target)
    return written and target.stat().st_size > 0


def everything(path):
    """Frames as PyAV decodes them."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container:
        for packet in container.demux(container.streams.video[0]):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue
            frames += [frame.to_ndarray(format="rgb24") for frame in decoded]
    return frames


def of_the_program(path):
    """Number of frames, and bytes of their pixels, of FFmpeg's program."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-nostats", "-i", str(path), "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-pix_fmt", "rgb24"]
    count = subprocess.run(
        [*command, "-progress", "-", "-f", "null", os.devnull],
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    frames = re.findall(r"frame=\s*(\d+)", count)
    run = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True)
    return int(frames[-1]) if frames else 0, run.stdout


def compare(path, count, pixels):
    """Dict of what was found of a file."""
    from keras_stts.data import read_video
    from keras_stts.data import sampled_times

    result = {"refused": "", "differs": [], "warned": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frames, times = read_video(path, 10**6, 10**6)
            some, few = read_video(path, 4, 10**6, "uniform_last_frame")
            asked = sampled_times(path, 10**6, 10**6)
        except ValueError as error:
            return result | {"refused": str(error)}
    result["warned"] = sorted({str(w.message) for w in caught})
    differs = result["differs"]
    if not np.array_equal(asked, times):
        differs.append("sampled_times")
    if times[0] or (np.diff(times) <= 0).any() or times[-1] > 20:
        differs.append("times")
    chosen = np.searchsorted(times, few - 1e-9)
    if not np.array_equal(some, frames[chosen]):
        differs.append("part")
    if count != len(frames):
        differs.append(f"FFmpeg counts {count}, not {len(frames)}")
    all_frames = everything(path)
    if len(all_frames) != len(frames):
        differs.append(f"PyAV has {len(all_frames)}, not {len(frames)}")
    elif all_frames[0].shape == frames[0].shape:
        if "turned" not in str(path) and not np.array_equal(all_frames, frames):
            differs.append("pixels")
    if len(pixels) != frames.nbytes:
        differs.append("size")
    elif "turned" in str(path):
        wanted = np.frombuffer(pixels, "uint8").reshape(frames.shape)
        if np.abs(wanted.astype(int) - frames).mean() > 0.5:
            differs.append("orientation")
    return result


def run(chosen, folder, show=print):
    """Read files of (format, variation); rows by format, and all faults."""
    rows = collections.defaultdict(collections.Counter)
    faults = []
    for name, variation in chosen:
        path = write(folder, name, variation)
        if path is None:
            continue
        count, pixels = of_the_program(path)
        if not count:  # FFmpeg writes, but does not read that codec there.
            continue
        result = compare(path, count, pixels)
        row = rows[name]
        row["files"] += 1
        row["equal"] += not result["refused"] and not result["differs"]
        row["refused"] += bool(result["refused"])
        row["differ"] += bool(result["differs"])
        row["warned"] += bool(result["warned"])
        if result["refused"] or result["differs"]:
            faults.append((name, variation, result))
            show(f"{name}, {variation}: {result}")
    return rows, faults


def table(rows):
    names = ("files", "equal", "refused", "differ", "warned")
    lines = [f"{'':28}" + "".join(f"{name:>9}" for name in names)]
    total = sum(rows.values(), collections.Counter())
    for name, row in [*rows.items(), ("all", total)]:
        lines.append(f"{name:28}" + "".join(f"{row[n]:9}" for n in names))
    return "\n".join(lines), {name: total[name] for name in names}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="one of so many")
    parser.add_argument("--only", default="", help="part of a format's name")
    args = parser.parse_args()
    chosen = [case for case in cases() if args.only in case[0]]
    with tempfile.TemporaryDirectory() as folder:
        rows, faults = run(chosen[:: args.every], pathlib.Path(folder))
    text, total = table(rows)
    print(text)
    print(json.dumps({"benchmark": "reading_grid", **total}))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

"""Video files opened with FFmpeg, which opens no other file on its own."""

import contextlib
import os

import av

from keras_stts.data.containers import find_damage
from keras_stts.data.containers import names_other_files
from keras_stts.data.source import opened

# FFmpeg draws text files as pictures.
TEXT = ("ansi", "bintext", "idf", "xbin")
MAX_PIXELS = 2**26
# With these, files name others: playlists, scripts, descriptions of streams.
NAMING = (
    b"#EXTM3U", b"#EXT-X-", b"ffconcat", b"<MPD", b"[playlist]", b"[reference]",
    b"<smil", b"<asx", b"<playlist", b"<SmoothStreaming", b"# VobSub",
    b"<CompositionPlaylist", b"rtsp://", b"rtsptext", b"file '", b'FILE "',
)  # fmt: skip
OTHERS = (
    "names other media files instead of holding frames. These are not opened; "
    "pass the media file itself."
)
START = 2**12  # Bytes of a file in which a name would stand.
BUFFER = 2**17  # Bytes that FFmpeg reads at once.
TOO_LARGE = "needs more memory than is available. Scale it down."
# FFmpeg's are `av.FFmpegError`, too. The second: no room for a thread.
SHORTAGE = (MemoryError, BlockingIOError)


class _File:
    """The file object for FFmpeg, which sees only the ending of its name."""

    def __init__(self, file, name):
        self.name = "video" + os.path.splitext(name)[1][:8]
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextlib.contextmanager
def open_video(source, damage, *, is_strict=True):
    """Open a video file.

    Args:
        source: `Source`.
        damage: `Damage`, which reports damage.
        is_strict: Bool. Whether decoding stops at damage.

    Yields:
        Tuple of the container and its video stream.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video.
    """
    check_path(source, damage)
    if _names_others(source):
        damage.fail(OTHERS)
    asked = []

    def refuse(url, *_):
        asked.append(url)
        raise PermissionError("A media file must not open other files.")

    with opened(source) as file:
        try:
            container = av.open(
                _File(file, source.name),
                metadata_errors="ignore",
                io_open=refuse,
                container_options={"protocol_whitelist": "none"},
                options={"max_pixels": str(MAX_PIXELS)},
                buffer_size=BUFFER,
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            _explain(source, damage, asked, error)
        with container:
            if asked:
                damage.fail(OTHERS)
            try:
                yield container, _find_stream(container, damage, is_strict)
            except SHORTAGE as error:
                damage.fail(TOO_LARGE, error)


def decoded(packet):
    """Frames of a packet.

    Raises:
        MemoryError: If memory is short; an `av.FFmpegError` means damage.
        av.FFmpegError: If the packet is damaged.
    """
    try:
        return packet.decode()
    except SHORTAGE as error:
        raise MemoryError(str(error)) from error


def _names_others(source):
    """Whether a file is text that names media files."""
    with opened(source) as file:
        start = file.read(START)
    is_text = b"\0" not in start
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t")
    marks = any(mark in start for mark in NAMING) or text.startswith(b"v=0")
    return is_text and marks


def _explain(source, damage, asked, error):
    """Raise with the reason why a file cannot be opened."""
    with opened(source) as file:
        if asked or names_other_files(file):
            damage.fail(OTHERS)
        found = find_damage(file)
    what = "is not a video, or is damaged. Convert it or copy it again."
    if isinstance(error, SHORTAGE):
        what = TOO_LARGE
    damage.fail(f"{found} Copy or download it again." if found else what, error)


def _find_stream(container, damage, is_strict):
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        damage.fail("has no video stream (only sound?). Pass another file.")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        damage.fail("has a codec that FFmpeg does not know. Convert it.")
    if context.name in TEXT:
        damage.fail("is text, not a video. Pass another file.")
    if context.width * context.height > MAX_PIXELS:
        what = f"claims to have frames of {context.width}x{context.height}"
        damage.fail(f"{what}, more than {MAX_PIXELS} pixels. Scale it down.")
    stream.thread_type = "AUTO"
    options = {"max_pixels": str(MAX_PIXELS)}
    if is_strict:
        options["err_detect"] = "crccheck+bitstream+buffer+explode"
    context.options = options
    return stream


def check_path(source, damage, *, may_be_folder=False):
    """Raise if there is no file, an empty one, or a pipe or a device."""
    if source.is_path:
        if not os.path.exists(source.file):
            raise FileNotFoundError(
                f"`source` must be a video. Received: {source.name!r}, which "
                "does not exist. Check the path."
            )
        if may_be_folder and os.path.isdir(source.file):
            return
        if not os.path.isfile(source.file):
            damage.fail("is neither a file nor a folder.")
    with opened(source) as file:
        if not file.read(1):
            damage.fail("is empty (0 bytes). Copy or download it again.")

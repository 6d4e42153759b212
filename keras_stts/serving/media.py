"""Videos and images of requests: fetched, checked, decoded apart."""

import asyncio
import base64
import binascii
import os
import urllib.parse

from keras_stts.data.addresses import is_local
from keras_stts.data.addresses import local_path
from keras_stts.data.records import parse as parse_record
from keras_stts.data.sampled import ResizedVideo
from keras_stts.data.workers import DecodePool
from keras_stts.serving.fetching import Fetcher
from keras_stts.serving.refusals import Refused

SHOWN = 80  # Characters of an address in messages.


class Media:
    """Reads what requests show.

    Args:
        converter: The video converter of the model's preprocessor.
        limits: `Limits`.
        folders: Paths. Files in them may be named by `file://` addresses.
        hosts: Str, hosts that need not be public.
    """

    def __init__(self, converter, limits, folders=(), hosts=()):
        self._converter = converter
        self._folders = [_folder(path) for path in folders]
        self._pool = DecodePool(limits.decode_workers, limits.decode_seconds)
        self._fetcher = Fetcher(limits.max_download, hosts)

    async def read(self, kind, url):
        """A video or an image.

        Args:
            kind: `"video"` or `"image"`.
            url: Str.

        Returns:
            A `ResizedVideo`, or uint8 (H, W, 3).

        Raises:
            Refused: If it cannot be read, or may not be.
        """
        name = url if len(url) <= SHOWN else f"{url[:SHOWN]}..."
        source = await self._source(url, name)
        read = self._image if kind == "image" else self._video
        try:
            return await read(source)
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            if isinstance(source, str):  # The path is not the client's.
                text = text.replace(source, name)
            raise Refused(text, param="messages") from error

    async def _image(self, source):
        return await asyncio.wrap_future(self._pool.submit_image(source))

    async def _video(self, source):
        size = self._converter.image_size
        future = self._pool.submit(
            source,
            self._converter.num_frames,
            max_fps=self._converter.max_fps,
            sampling=self._converter.sampling,
            size=size,
        )
        frames, times = await asyncio.wrap_future(future)
        return ResizedVideo(frames, times, size)

    async def _source(self, url, name):
        """A path, or a dict of bytes, that processes read."""
        if url[:5].lower() == "data:":
            return {"path": name, "bytes": _data(url, name)}
        if is_local(url):
            return self._path(url)
        return {"path": name, "bytes": await self._fetcher.fetch(url)}

    def _path(self, url):
        """The file that an address names, if it is in a served folder.

        Links are followed before, and a missing file is refused with the same
        words: nothing tells what is outside.
        """
        try:
            path = os.path.realpath(local_path(url))
        except ValueError:  # On another machine, or with zeros.
            path = ""
        inside = any(_is_below(path, folder) for folder in self._folders)
        readable = inside and os.path.isfile(path)
        if not readable or parse_record(path) is not None:
            raise Refused(
                "A file must be in a folder that is served. Received: "
                f"{url!r:.200}, which is not, or does not exist.",
                param="messages",
            )
        return path

    async def close(self):
        await self._fetcher.close()
        await asyncio.to_thread(self._pool.close)


def _folder(path):
    if not os.path.isdir(path):
        raise ValueError(
            f"A served folder must exist. Received: {str(path)!r}, which does "
            "not. Check --allow-folder."
        )
    return os.path.realpath(path)


def _is_below(path, folder):
    return bool(path) and os.path.commonpath([path, folder]) == folder


def _data(url, name):
    """Bytes of a data URL."""
    head, comma, content = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise Refused(
            f"A data URL must be data:TYPE;base64,CONTENT. Received: {name!r}.",
            param="messages",
        )
    try:
        content = urllib.parse.unquote(content) if "%" in content else content
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(
            f"A data URL must hold base64. Received: {name!r} ({error}).",
            param="messages",
        ) from error

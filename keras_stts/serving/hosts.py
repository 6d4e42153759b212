"""Connections to public addresses alone."""

import asyncio
import ipaddress
import socket

import httpcore2

from keras_stts.serving.refusals import Refused

# In these an address of another network is written, perhaps a private one.
WRAPPING = tuple(
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


def is_public(address):
    """Whether an IP address, as str, is one of the public internet.

    Example:

    >>> is_public("127.0.0.1"), is_public("8.8.8.8")
    (False, True)
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    wraps = found.version == 6 and any(found in each for each in WRAPPING)
    local = getattr(found, "is_site_local", False) or found.is_multicast
    return found.is_global and not (wraps or local or found.is_reserved)


class PublicBackend(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, checks all it found, and connects to that.

    Checking a name and then connecting to it by name would look it up twice,
    with perhaps another answer.

    Args:
        allowed: Str, hosts that are connected to wherever they are.
    """

    def __init__(self, allowed=()):
        self._allowed = {name.lower() for name in allowed}
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host, port, timeout=None, *args, **kwargs):
        address = await self._address(host, port)
        return await self._backend.connect_tcp(
            address, port, timeout, *args, **kwargs
        )

    async def connect_unix_socket(self, path, *args, **kwargs):
        raise Refused("Sockets of this machine are not connected to.")

    async def sleep(self, seconds):
        await self._backend.sleep(seconds)

    async def _address(self, host, port):
        """The IP address to connect to."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Refused(
                "The host of a video or image must be known. Received: "
                f"{host!r:.200}, which is not. Check the address."
            ) from error
        addresses = [facts[-1][0] for facts in found]
        if host.lower() in self._allowed:
            return addresses[0]
        if not all(map(is_public, addresses)):
            raise Refused(
                "A video or image must be at a public address. Received: "
                f"{host!r:.200}, which is not. Send it as a data URL, or ask "
                "who runs the server to allow this host."
            )
        return addresses[0]

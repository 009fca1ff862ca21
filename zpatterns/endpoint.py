"""Endpoints: read one, refuse what libzmq would take wrongly or too late, and guard plaintext beyond loopback.

Pure: names are resolved by the caller's function, files are looked at in ``drive``. What libzmq 4.3.5 does with a
wrong endpoint was tried: port 70000 binds 4464, text after a NUL is cut off, a bad host is retried for ever, silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import PurePosixPath
from typing import Literal, NoReturn, TypeAlias, cast, get_args

from .errors import ConfigurationError, InsecureEndpointError

Transport: TypeAlias = Literal["inproc", "ipc", "tcp", "pgm", "epgm"]

MAX_IPC_PATH = 107
"""Bytes: ``sun_path`` of unix(7) holds 108, the last one is NUL. Where it is less (macOS), libzmq says so at once."""

MAX_INPROC_NAME = 255
"""Bytes: zmq_inproc(7) allows 256 characters. From 246 on pyzmq cannot read LAST_ENDPOINT (tried); keep the text."""

_TRANSPORTS: tuple[str, ...] = get_args(Transport)
_SAFE_EXAMPLE = "tcp://127.0.0.1:5555"
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")  # as a whole: libzmq's atoi takes 80x for 80 and -1 for 65535
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what libzmq's connect lets through (socket_base.cpp)
_ZONE = re.compile(r"[A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Insecure:
    """Plaintext beyond loopback, said aloud: whoever reaches the network can read and forge every message."""


Security: TypeAlias = Insecure


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked endpoint; made by `parse`. ``str()`` is the exact text for libzmq."""

    transport: Transport
    address: str
    """The text after ``://``."""
    host: str = ""
    """tcp: address without brackets, name, interface or ``*``. pgm, epgm: the multicast group. Else empty."""
    port: int | None = None
    """tcp: None stands for ``*``; both ``*`` and 0 let the system choose. None for inproc and ipc."""
    source: str = ""
    """The local address before the ``;``: the interface (pgm, epgm), ``address:port`` to connect from (tcp)."""

    def __str__(self) -> str:
        return f"{self.transport}://{self.address}"

    @property
    def ipv6(self) -> bool:
        """Whether the socket needs ZMQ_IPV6. For names it stays off: libzmq would try their first address only."""
        return self.transport == "tcp" and "[" in self.address

    @property
    def path(self) -> PurePosixPath | None:
        """The socket file of an ipc endpoint; None where no file is named: ``*``, and Linux's abstract ``@name``."""
        named = self.transport == "ipc" and self.address != "*" and not self.address.startswith("@")
        return PurePosixPath(self.address) if named else None


def parse(text: str, *, bind: bool | None = None) -> Endpoint:
    """Read an endpoint and check it; ``bind=True`` or ``False`` also checks what only that side may write.

    Raises `ConfigurationError`, which quotes the text and says what to write instead.
    """
    transport, separator, address = text.partition("://")
    if not separator:
        _refuse(text, f"has no transport; write transport://address, for example {_SAFE_EXAMPLE}")
    if transport not in _TRANSPORTS:
        close = get_close_matches(transport.strip().lower(), _TRANSPORTS, n=1)
        advice = f"did you mean {close[0]}://?" if close else f"the transports are {', '.join(_TRANSPORTS)}"
        _refuse(text, f"has the unknown transport {_quote(transport)}; {advice}")
    if not address:
        _refuse(text, f"has nothing after ://; write a name, a path or an address, for example {_SAFE_EXAMPLE}")
    if "\0" in address:
        _refuse(text, "contains a NUL character, where libzmq would stop reading; remove it")
    match transport:
        case "tcp":
            return _tcp(text, address, bind)
        case "ipc":
            return _ipc(text, address, bind)
        case "inproc":
            _check_bytes(text, address, MAX_INPROC_NAME, "choose a shorter name")
            return Endpoint("inproc", address)
        case _:
            return _multicast(text, cast("Literal['pgm', 'epgm']", transport), address)


def guard(
    endpoint: Endpoint, *, secured: bool, insecure: bool, bind: bool, resolve: Callable[[str], Iterable[str]]
) -> None:
    """Let an endpoint pass if its messages stay on this host, are encrypted (``secured``) or are meant to be readable.

    ``resolve`` gives every address of a name, as text, and may raise OSError or ValueError: then the name is not
    loopback. It is asked about all but strict address literals, so ``127.1``, ``0x7f.1`` and ``2130706433`` mean
    what the system says they mean. Raises `InsecureEndpointError`, which names the ways out.
    """
    if insecure or endpoint.transport in ("inproc", "ipc"):
        return
    if endpoint.transport == "tcp":
        why = None if secured else _beyond_loopback(endpoint.host, resolve)
        if why is None:
            return
    else:
        # No handshake, so CURVE cannot secure it. An interface of 127.0.0.1 confines nothing either: a socket receives
        # groups that others joined on other interfaces (IP_MULTICAST_ALL, ip(7)).
        why = "is multicast, which has no encryption and which others on the network can send to"
    port = "*" if endpoint.port is None else endpoint.port
    verb = "bind" if bind else "connect"
    raise InsecureEndpointError(
        f"endpoint {_quote(str(endpoint))} {why}: plaintext beyond loopback is refused. Either {verb} to "
        f"tcp://127.0.0.1:{port} or to an ipc:// path, or pass security=Insecure() to say that plaintext is meant"
    )


def _beyond_loopback(host: str, resolve: Callable[[str], Iterable[str]]) -> str | None:
    """Why a host is not surely this one, as the end of a sentence; None if it is."""
    if host == "*":
        return "is open to every network of this host"
    if _literal(host) is not None:
        return None if _is_loopback(host) else "is not loopback"
    # On bind libzmq tries interfaces by name before names (tried with lo): here an interface does not resolve.
    try:
        addresses = list(resolve(host))
    except (OSError, ValueError) as error:  # ValueError: the idna codec refuses long labels with UnicodeError
        return f"names a host that did not resolve ({error}), so it may be anywhere"
    if not addresses:
        return "names a host that did not resolve, so it may be anywhere"
    others = [address for address in addresses if not _is_loopback(address)]
    return f"resolves to {others[0]}, which is not loopback" if others else None


def _is_loopback(address: str) -> bool:
    """127/8 and ::1 alone; is_loopback says yes to ::ffff:127.0.0.1 in some Pythons and no in others."""
    match _literal(address):
        case IPv4Address() as ip:
            return ip.is_loopback
        case ip:
            return ip == IPv6Address("::1")


def _tcp(text: str, address: str, bind: bool | None) -> Endpoint:
    source, semicolon, target = address.rpartition(";")
    if semicolon:
        if bind:
            _refuse(text, f"has a source address, which is for connect; bind to tcp://{target}")
        # The source needs its port too; without, libzmq retries for ever in silence. An asterisk it refuses.
        if _host_and_port(text, source, "source:port;host:port, for example tcp://10.0.0.1:0;10.0.0.2:5555")[0] == "*":
            _refuse(text, "has * as its source address; write an address or interface of this host")
    host, port = _host_and_port(text, target, f"host:port, for example {_SAFE_EXAMPLE}")
    if bind is False:
        if host == "*":
            _refuse(text, "names no host to connect to; * is for bind, write an address or a name")
        if not port:
            _refuse(text, "names no port to connect to; * and 0 are for bind, write the number the other side bound")
    return Endpoint("tcp", address, host, port, source)


def _host_and_port(text: str, part: str, form: str) -> tuple[str, int | None]:
    host, colon, port = part.rpartition(":")
    if not colon or port.endswith("]"):
        _refuse(text, f"has no port in {_quote(part)}; write {form}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(_literal(host), IPv6Address):
            _refuse(text, f"has {_quote(host)} in brackets; only an IPv6 address stands there, as in tcp://[::1]:5555")
    elif ":" in host and ";" not in host:
        _refuse(text, "has an IPv6 address without brackets; write it as in tcp://[::1]:5555")
    elif host != "*" and not _HOST.fullmatch(host):
        _refuse(text, f"has {_quote(host)} for a host; write {form}")
    if port == "*":
        return host, None
    return host, _number(text, port, lowest=0)


def _number(text: str, port: str, *, lowest: int) -> int:
    if not _PORT.fullmatch(port) or not lowest <= int(port) <= 65535:
        _refuse(text, f"has {_quote(port)} for a port; write a number from {lowest} to 65535")
    return int(port)


def _ipc(text: str, address: str, bind: bool | None) -> Endpoint:
    _check_bytes(text, address, MAX_IPC_PATH, "choose a shorter path, for example below /run or /tmp")
    if address == "@":
        _refuse(text, "has an abstract name without characters; write ipc://@name")
    if address == "*" and bind is False:
        _refuse(text, "names no path to connect to; * is for bind, write the path the other side bound")
    if not address.startswith("@") and address.rpartition("/")[2] in ("", ".", ".."):
        _refuse(text, "names a folder; write the path of the socket file itself")
    return Endpoint("ipc", address)


def _multicast(text: str, transport: Literal["pgm", "epgm"], address: str) -> Endpoint:
    """Interface and group are both addresses. Without an interface the process may abort, in OpenPGM 5.3.128."""
    form = f"write {transport}://interface;group:port, for example {transport}://10.0.0.1;239.192.1.1:5555"
    interface, semicolon, rest = address.partition(";")
    group, colon, port = rest.rpartition(":")
    if not semicolon or not interface:
        _refuse(text, f"has no interface; {form}")
    if not colon or port.endswith("]"):
        _refuse(text, f"has no port; {form}")
    local, remote = _unbracketed(interface), _unbracketed(group)
    if local is None or local.is_unspecified or local.is_multicast:
        _refuse(text, f"has {_quote(interface)} for an interface, by its IP address on this host only; {form}")
    if remote is None or not remote.is_multicast or remote.version != local.version:
        _refuse(text, f"has {_quote(group)} for a group, an IPv{local.version} multicast address only; {form}")
    return Endpoint(transport, address, str(remote), _number(text, port, lowest=1), interface)


def _literal(address: str) -> IPv4Address | IPv6Address | None:
    """An address spelled strictly: four decimal numbers without leading zeros, or IPv6 (with a zone)."""
    try:
        return ip_address(address) if _ZONE.fullmatch(address.partition("%")[2]) else None
    except ValueError:
        return None


def _unbracketed(address: str) -> IPv4Address | IPv6Address | None:
    bracketed = address.startswith("[") and address.endswith("]")
    ip = _literal(address[1:-1] if bracketed else address)
    return ip if isinstance(ip, IPv6Address) == bracketed else None


def _check_bytes(text: str, address: str, most: int, advice: str) -> None:
    try:
        size = len(address.encode())  # as pyzmq encodes it
    except UnicodeEncodeError:
        _refuse(text, "has characters that UTF-8 cannot carry; write it without lone surrogates")
    if size > most:
        _refuse(text, f"is {size} bytes long after ://, at most {most} fit; {advice}")


def _quote(text: str) -> str:
    return repr(text) if len(text) <= 400 else f"{text[:400]!r}..."


def _refuse(text: str, what: str) -> NoReturn:
    raise ConfigurationError(f"endpoint {_quote(text)} {what}")

"""A libzmq socket as the drivers use it: made with our options, never blocking, errors translated here and nowhere else.

``recv`` with a known number of frames is several times cheaper than ``recv_multipart``; here each frame's own MORE
flag is read instead of asking the socket, and a flood of frames is read off and dropped.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import zmq
from zmq.backend import Socket as BackendSocket, zmq_poll

from ..core.machine import Frame, Frames, Sent
from ..errors import AddressInUse, Closed, ConfigurationError, TransportUnavailable, ZPatternsError
from ..policy import Limits, SocketOptions

_ZERO_COPY = 65_536
"""From this size libzmq takes and gives buffers without copying; below, a copy is cheaper."""
_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)
_EVENTS = int(zmq.EVENTS)
_FD = int(zmq.FD)
_ENVELOPE = 8
"""Frames allowed beyond the limit, for the address stack."""
_FEW = 8
BRIEFLY: float = 0.005
"""Seconds that ``receive`` may wait inside libzmq. More than a tick of the kernel: a nearer timer is set in hardware each
time, which costs more than the whole receive does."""
_OLDEST = (4, 3, 5)

_MORE = _NOBLOCK | _SNDMORE

_send: Any = BackendSocket.send
_recv: Any = BackendSocket.recv
_get: Any = BackendSocket.get
_poll: Any = zmq_poll
"""Asks a socket for its EVENTS without making an enum of the option number first, as the getter does: 4 to 7 us of a call."""
Socket = zmq.Socket[bytes]
MULTICAST: tuple[int, ...] = (zmq.PUB, zmq.SUB, zmq.XPUB, zmq.XSUB)
"""The kinds that speak pgm and epgm."""
_PATIENT: tuple[int, ...] = (zmq.PUSH, zmq.PAIR, zmq.PUB, zmq.XPUB)
"""The kinds whose peer may rightly read nothing for a while. To the kernel that looks as if it were stopped: TCP_MAXRT would
cut the connection, and all that is under way on it would be lost. 0 leaves it to the system, 15 minutes in Linux."""
Context: TypeAlias = zmq.Context[Any]
"""What ``context=`` takes: a ``zmq.Context``."""

if zmq.zmq_version_info() < _OLDEST:
    warnings.warn(
        f"libzmq {zmq.zmq_version()} is older than 4.3.5: known ways to crash it from the network are open; "
        "install a pyzmq wheel from PyPI, which brings its own",
        RuntimeWarning,
        stacklevel=2,
    )


def default_context() -> zmq.Context[Any]:
    """The context of this process, shared with plain pyzmq users of ``zmq.Context.instance()`` so that inproc meets."""
    return zmq.Context.instance()  # pyright: ignore[reportUnknownVariableType]


def has_transport(transport: str) -> bool:
    """Whether this libzmq was built with it."""
    return transport in ("tcp", "inproc") or bool(zmq.has("pgm" if transport == "epgm" else transport))


def open_socket(
    context: zmq.Context[Any], kind: int, options: SocketOptions, limits: Limits, *, ipv6: bool = False
) -> Socket:
    """A socket with every option of ours set; nothing is bound or connected yet."""
    try:
        socket: Socket = context.socket(kind)
    except zmq.ZMQError as error:
        raise translate(error, "open a socket") from error
    values: dict[str, int | bytes] = {
        "LINGER": _ms(options.linger),
        "SNDHWM": 0
        if kind in (zmq.SUB, zmq.XSUB)
        else options.high_water_mark,  # of subscriptions: full, it drops them
        "RCVHWM": options.high_water_mark,
        "RECONNECT_IVL": _ms(options.reconnect_interval),
        "RECONNECT_IVL_MAX": _ms(options.reconnect_interval_max),
        "HANDSHAKE_IVL": _ms(options.handshake_timeout),
        "TCP_KEEPALIVE": 1,
        "TCP_KEEPALIVE_IDLE": options.keepalive_idle,
        "TCP_KEEPALIVE_INTVL": options.keepalive_interval,
        "TCP_KEEPALIVE_CNT": options.keepalive_count,
        "TCP_MAXRT": 0 if kind in _PATIENT else _ms(options.retransmit_timeout),
        "MAXMSGSIZE": limits.message,
        "IPV6": int(ipv6),
    }
    if kind == zmq.DEALER:
        values["IMMEDIATE"] = 1  # nothing is queued for a server that is not there, or runs on its next incarnation
    if kind == zmq.ROUTER:
        values["ROUTER_MANDATORY"] = 1
    if kind in MULTICAST:
        values["RATE"] = options.multicast_rate
        values["RECOVERY_IVL"] = _ms(options.multicast_recovery)
        values["MULTICAST_HOPS"] = options.multicast_hops
    values.update(options.extra)
    for name, value in values.items():
        number = getattr(zmq, name, None)
        try:
            if number is None:
                raise ConfigurationError(f"SocketOptions.extra: libzmq has no option {name!r}")
            socket.set(number, value)
        except (zmq.ZMQError, TypeError) as error:
            socket.close(0)
            raise ConfigurationError(f"socket option {name}={value!r} was refused: {error}") from error
        except ConfigurationError:
            socket.close(0)
            raise
    return socket


def _ms(seconds: float) -> int:
    """Whole milliseconds, rounded up: a short wait must not become none."""
    return -int(-seconds * 1000 // 1)


def wait_briefly(socket: Socket) -> None:
    """Have ``receive`` with flags 0 wait ``BRIEFLY``."""
    socket.set(zmq.RCVTIMEO, _ms(BRIEFLY))


def receive(socket: Socket, limits: Limits, flags: int = _NOBLOCK) -> Frames | None:
    """One whole message, or None when there is none. A message over the limits comes back as an empty list.

    ``flags`` 0: None when there is none ``BRIEFLY``. Waiting inside libzmq costs less than on a descriptor.
    """
    try:
        frame = _recv(socket, flags, False, False)
    except zmq.Again:
        return None
    except zmq.ZMQError as error:
        raise translate(error, "receive") from error
    frames: list[Frame] = [frame.bytes]
    return _rest(socket, frames, limits) if frame.more else frames


def receive_routed(socket: Socket, limits: Limits, flags: int = _NOBLOCK) -> Frames | None:
    """The same of a ROUTER: its first frame is a routing id, which never comes alone."""
    try:
        frames: list[Frame] = [_recv(socket, flags)]
    except zmq.Again:
        return None
    except zmq.ZMQError as error:
        raise translate(error, "receive") from error
    return _rest(socket, frames, limits)


def _rest(socket: Socket, frames: list[Frame], limits: Limits) -> Frames:
    """The other frames of a message."""
    large = 0
    while True:
        frame = _recv(socket, 0, False, False)
        size = len(frame)
        if size < _ZERO_COPY:
            frames.append(frame.bytes)
        else:
            frames.append(frame.buffer)
            large += size
            if large > limits.message:
                return _refuse(socket, frame)
        if not frame.more:
            return frames
        if len(frames) > _FEW and len(frames) >= limits.frames + _ENVELOPE:
            return _refuse(socket, frame)


def _refuse(socket: Socket, frame: Any) -> Frames:
    """Read off the rest, holding one frame at a time."""
    while frame.more:
        frame = _recv(socket, 0, False, False)
    return []


def send(socket: Socket, frames: Sequence[Frame]) -> Sent | None:
    """Send a whole message now, or say why it was not taken: only the first frame can be refused."""
    last = frames[-1]
    try:
        for frame in frames[:-1]:
            _send(socket, frame, _MORE, len(frame) < _ZERO_COPY)
        _send(socket, last, _NOBLOCK, len(last) < _ZERO_COPY)
    except zmq.Again:
        return Sent.FULL
    except zmq.ZMQError as error:
        if error.errno == errno.EHOSTUNREACH:
            return Sent.UNROUTABLE
        raise translate(error, "send") from error
    return None


def descriptor(socket: Socket) -> int:
    """The file descriptor that becomes readable when something happened to the socket: edge-triggered (zmq_getsockopt)."""
    return int(_get(socket, _FD))


def readable(socket: Socket) -> bool:
    """Whether a message is there. Asking also re-arms the edge of the socket's file descriptor (pyzmq #1021)."""
    try:
        return bool(_poll([(socket, _POLLIN)], 0))
    except zmq.ZMQError as error:
        raise translate(error, "look at") from error


def writable(socket: Socket) -> bool:
    """Whether a message would be taken now."""
    try:
        return bool(_get(socket, _EVENTS) & _POLLOUT)
    except zmq.ZMQError as error:
        raise translate(error, "look at") from error


def translate(error: zmq.ZMQError, action: str, endpoint: str = "") -> ZPatternsError:
    """The one place where libzmq's errors become ours."""
    where = f" {endpoint}" if endpoint else ""
    number = error.errno
    if number == errno.EADDRINUSE:
        return AddressInUse(
            f"cannot {action}{where}: the address is in use; stop the other process, or bind port * and read .endpoint"
        )
    if number == errno.EADDRNOTAVAIL:
        return ConfigurationError(f"cannot {action}{where}: no interface of this machine has that address")
    if number == errno.EPROTONOSUPPORT:
        return TransportUnavailable(f"cannot {action}{where}: this libzmq was built without that transport")
    if number == zmq.ENOCOMPATPROTO:
        return ConfigurationError(f"cannot {action}{where}: this pattern does not work over that transport")
    if number in (zmq.ETERM, zmq.ENOTSOCK):
        return Closed(f"cannot {action}{where}: the socket or its context is closed")
    if number == errno.EMFILE:
        return ConfigurationError(
            f"cannot {action}{where}: too many sockets or files are open (ulimit -n, or zmq.MAX_SOCKETS of the context)"
        )
    return ConfigurationError(f"cannot {action}{where}: {error}")

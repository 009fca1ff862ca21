"""Typed, safe, never-hanging ZeroMQ: the blocking world. ``zpatterns.asyncio`` has the same names for asyncio."""

from . import envelope
from ._shell.context import RequestContext
from .codec import Codec, codec_for
from .contract import Method, StreamMethod
from .drive.steering import ProxyStatistics
from .endpoint import Insecure
from .errors import (
    AddressInUse,
    AuthenticationError,
    Closed,
    ConfigurationError,
    DecodeError,
    ForkedError,
    InsecureEndpointError,
    MessageTooLarge,
    NoSuchService,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    PermissionDenied,
    ProtocolViolation,
    ReplyError,
    RequestTimeout,
    Status,
    TransportUnavailable,
    WrongLoopError,
    WrongThreadError,
    ZPatternsError,
)
from .policy import Heartbeat, Limits, Retry, SocketOptions
from .sync.proxy import Proxy
from .sync.reply import ReplyServer
from .sync.request import RequestClient, Stream

__version__ = "0.1.0"

__all__ = [
    "AddressInUse",
    "AuthenticationError",
    "Closed",
    "Codec",
    "ConfigurationError",
    "DecodeError",
    "ForkedError",
    "Heartbeat",
    "Insecure",
    "InsecureEndpointError",
    "Limits",
    "MessageTooLarge",
    "Method",
    "NoSuchService",
    "OutcomeUnknown",
    "Overloaded",
    "PeerUnavailable",
    "PermissionDenied",
    "ProtocolViolation",
    "Proxy",
    "ProxyStatistics",
    "ReplyError",
    "ReplyServer",
    "RequestClient",
    "RequestContext",
    "RequestTimeout",
    "Retry",
    "SocketOptions",
    "Status",
    "Stream",
    "StreamMethod",
    "TransportUnavailable",
    "WrongLoopError",
    "WrongThreadError",
    "ZPatternsError",
    "__version__",
    "codec_for",
    "envelope",
]

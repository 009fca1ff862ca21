"""Typed, safe, never-hanging ZeroMQ: the blocking world. ``zpatterns.asyncio`` has the same names for asyncio."""

from . import envelope
from ._shell.context import RequestContext
from ._shell.stages import Stage
from .codec import Codec, codec_for
from .contract import Method, StreamMethod
from .core.pairing import PairStatistics
from .drive.steering import ProxyStatistics
from .endpoint import Insecure
from .errors import (
    AddressInUse,
    AuthenticationError,
    Closed,
    ConfigurationError,
    DeadLetter,
    DecodeError,
    ForkedError,
    InsecureEndpointError,
    JobFailed,
    MessageTooLarge,
    NoSuchService,
    OutcomeUnknown,
    Overloaded,
    PairRefused,
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
from .sync.pair import Pair
from .sync.pipeline import Pipeline
from .sync.proxy import Proxy
from .sync.reply import ReplyServer
from .sync.request import RequestClient, Stream
from .sync.worker import PipelineWorker

__version__ = "0.1.0"

__all__ = [
    "AddressInUse",
    "AuthenticationError",
    "Closed",
    "Codec",
    "ConfigurationError",
    "DeadLetter",
    "DecodeError",
    "ForkedError",
    "Heartbeat",
    "Insecure",
    "InsecureEndpointError",
    "JobFailed",
    "Limits",
    "MessageTooLarge",
    "Method",
    "NoSuchService",
    "OutcomeUnknown",
    "Overloaded",
    "Pair",
    "PairRefused",
    "PairStatistics",
    "PeerUnavailable",
    "PermissionDenied",
    "Pipeline",
    "PipelineWorker",
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
    "Stage",
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

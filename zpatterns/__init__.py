"""Typed, safe, never-hanging ZeroMQ: the blocking world. ``zpatterns.asyncio`` has the same names for asyncio."""

from . import envelope
from ._shell.context import RequestContext
from ._shell.delivery import Message
from ._shell.stages import Stage
from .codec import Codec, codec_for
from .contract import Method, StreamMethod, Topic
from .core.broker_peers import BrokerStatistics
from .core.calls import RequestClientStatistics
from .core.crew import PipelineStatistics
from .core.flow import PushPullStatistics
from .core.heard import Gap, SubscriberStatistics
from .core.jobs import ReplyServerStatistics
from .core.pairing import PairStatistics
from .core.publisher import PublisherStatistics
from .core.worker import PipelineWorkerStatistics
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
from .policy import Heartbeat, Limits, Overflow, Retry, SocketOptions
from .sync.broker import Broker
from .sync.pair import Pair
from .sync.pipeline import Pipeline
from .sync.proxy import Proxy
from .sync.publish import Publisher
from .sync.push import Pull, Push
from .sync.reply import ReplyServer
from .sync.request import RequestClient, Stream
from .sync.subscribe import Messages, Subscriber
from .sync.worker import PipelineWorker

__version__ = "0.1.0"

__all__ = [
    "AddressInUse",
    "AuthenticationError",
    "Broker",
    "BrokerStatistics",
    "Closed",
    "Codec",
    "ConfigurationError",
    "DeadLetter",
    "DecodeError",
    "ForkedError",
    "Gap",
    "Heartbeat",
    "Insecure",
    "InsecureEndpointError",
    "JobFailed",
    "Limits",
    "Message",
    "MessageTooLarge",
    "Messages",
    "Method",
    "NoSuchService",
    "OutcomeUnknown",
    "Overflow",
    "Overloaded",
    "Pair",
    "PairRefused",
    "PairStatistics",
    "PeerUnavailable",
    "PermissionDenied",
    "Pipeline",
    "PipelineStatistics",
    "PipelineWorker",
    "PipelineWorkerStatistics",
    "ProtocolViolation",
    "Proxy",
    "ProxyStatistics",
    "Publisher",
    "PublisherStatistics",
    "Pull",
    "Push",
    "PushPullStatistics",
    "ReplyError",
    "ReplyServer",
    "ReplyServerStatistics",
    "RequestClient",
    "RequestClientStatistics",
    "RequestContext",
    "RequestTimeout",
    "Retry",
    "SocketOptions",
    "Stage",
    "Status",
    "Stream",
    "StreamMethod",
    "Subscriber",
    "SubscriberStatistics",
    "Topic",
    "TransportUnavailable",
    "WrongLoopError",
    "WrongThreadError",
    "ZPatternsError",
    "__version__",
    "codec_for",
    "envelope",
]

"""The asyncio world of zpatterns: the same names as ``zpatterns``, awaited."""

from .broker import Broker
from .pair import Pair
from .pipeline import Pipeline
from .proxy import Proxy
from .publish import Publisher
from .push import Pull, Push
from .reply import ReplyServer
from .request import RequestClient, Stream
from .subscribe import Messages, Subscriber
from .worker import PipelineWorker

__all__ = [
    "Broker",
    "Messages",
    "Pair",
    "Pipeline",
    "PipelineWorker",
    "Proxy",
    "Publisher",
    "Pull",
    "Push",
    "ReplyServer",
    "RequestClient",
    "Stream",
    "Subscriber",
]

"""The asyncio world of zpatterns: the same names as ``zpatterns``, awaited."""

from .pair import Pair
from .pipeline import Pipeline
from .proxy import Proxy
from .reply import ReplyServer
from .request import RequestClient, Stream
from .worker import PipelineWorker

__all__ = ["Pair", "Pipeline", "PipelineWorker", "Proxy", "ReplyServer", "RequestClient", "Stream"]

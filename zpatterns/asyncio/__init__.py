"""The asyncio world of zpatterns: the same names as ``zpatterns``, awaited."""

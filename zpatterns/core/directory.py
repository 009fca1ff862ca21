"""Whom a broker knows: services by name, clients with requests by port and routing id, workers by incarnation. Swept of what is idle."""

from __future__ import annotations

from collections.abc import Callable

from .broker_peers import Client, Service, Worker
from .load_balancer import Balancer


class Directory:
    """``balancer`` makes one for each service."""

    __slots__ = ("_balancer", "clients", "incarnations", "served", "services")

    def __init__(self, ports: int, balancer: Callable[[], Balancer[Worker]]) -> None:
        self.services: dict[bytes, Service] = {}
        self.served: int = 0
        """Of these, those with workers."""
        self.clients: list[dict[bytes, Client]] = [{} for _ in range(ports)]
        self.incarnations: dict[bytes, Worker] = {}
        self._balancer = balancer

    def service(self, name: bytes) -> Service:
        """The service of that name, new or not."""
        service = self.services.get(name)
        if service is None:
            service = self.services[name] = Service(name, self._balancer())
        return service

    def client(self, port: int, routing_id: bytes) -> Client:
        """The client at that port, new or not."""
        client = self.clients[port].get(routing_id)
        if client is None:
            client = self.clients[port][routing_id] = Client(port, routing_id)
        return client

    @property
    def unserved(self) -> int:
        """Services without a worker."""
        return len(self.services) - self.served

    def sweep(self, now: float, kept: float) -> None:
        """Forget clients without requests, and services that nobody has served for ``kept`` seconds, nor asks for."""
        for clients in self.clients:
            for client in [each for each in clients.values() if not each.pending]:
                del clients[client.routing_id]
        for service in list(self.services.values()):
            idle = not (service.workers or service.waiting or service.pinned)
            if idle and now - service.served_at > kept:
                del self.services[service.name]


def some_incarnation(service: Service) -> bytes:
    """One that is there, so that the next try is for that one; empty when there is none."""
    worker = service.balancer.next()
    if worker is not None and worker.incarnation:
        return worker.incarnation
    return next((each.incarnation for each in service.workers.values() if each.incarnation), b"")

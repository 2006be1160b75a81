"""What a worker answers on its port: metrics for Prometheus, and health by progress."""

import platform
from typing import Any

import prometheus_client
from litestar import Request, Response, get
from prometheus_client.exposition import choose_encoder

from sojourn.console.health import Server, reporting, server
from sojourn.consumers.measures import Measures

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def metrics_server(measures: Measures, version: str) -> Server:
    """Return a server for `/metrics`, `/health/live` and `/health/ready` of one worker."""
    prometheus_client.Info("sojourn_build", "The version that runs.", registry=measures.registry).info(
        {"version": version, "python": platform.python_version()}
    )

    @get("/metrics")
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(measures.registry), headers={"Content-Type": content_type})

    progress = measures.progress
    return server(
        [metrics, reporting("/health/live", progress.liveness), reporting("/health/ready", progress.readiness)]
    )

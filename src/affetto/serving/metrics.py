"""Counts and times for Prometheus. No content and no client is ever a label; the label values are few."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "affetto_requests", "Requests by route and outcome (ok, or the code of the error).",
            ["route", "code"], registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "affetto_stage_seconds",
            "Seconds of a request: queue, work (at a worker: decode, model and the way there), total.",
            ["stage"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.answers = Counter("affetto_answers", "Answers given.", ["outcome"], registry=registry)
        self.expired = Counter(
            "affetto_expired", "Requests whose deadline passed before a worker saw them.", registry=registry
        )
        self.restarts = Counter("affetto_worker_restarts", "Workers that died.", registry=registry)
        self.reloads = Counter("affetto_reloads", "Reloads of the bundle.", ["outcome"], registry=registry)
        for outcome in ("answered", "unsure"):
            self.answers.labels(outcome)
        for outcome in ("taken", "refused"):
            self.reloads.labels(outcome)

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(f"affetto_{name}", help, registry=self._registry).set_function(value)

    def request(self, route: str, code: str, seconds: float | None = None) -> None:
        """A request has been answered with `code`, "ok" or that of the error; `seconds` after it came, where it
        came to a route."""
        self._requests.labels(route, code).inc()
        if seconds is not None:
            self._stages.labels("total").observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """A stage ("queue", "work", "decode", "model") took so long."""
        self._stages.labels(stage).observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)

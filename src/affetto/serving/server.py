"""What one server is made of; every route finds it in `request.app.state.server`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from affetto.serving.auth import Keys
from affetto.serving.body import Budget
from affetto.serving.limits import Limits
from affetto.serving.metrics import Metrics
from affetto.serving.pool import Pool
from affetto.serving.purpose import Purpose


@dataclass
class Server:
    """`local`: only this machine is served, so Host and Origin are checked. `streams` are those open."""

    pool: Pool
    limits: Limits
    metrics: Metrics
    keys: Keys
    purpose: Purpose
    local: bool
    streams: set[asyncio.Task[None]] = field(default_factory=set)
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = Budget(self.limits.buffered_bytes)
        pool, budget = self.pool, self.budget
        self.metrics.watch("workers", "Workers that are ready.", lambda: pool.live)
        self.metrics.watch("streams", "Streams that are open.", lambda: len(self.streams))
        self.metrics.watch("busy", "Calls that are answered or wait for it.", lambda: pool.busy)
        self.metrics.watch("buffered_bytes", "Bytes of uploads in memory.", lambda: budget.bytes)

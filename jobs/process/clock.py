"""Seconds that each stage of a run takes."""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


@dataclass
class StageClock:
    """Seconds of each stage so far, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; log its end, unless it fails."""
        started = time.perf_counter()
        yield
        seconds = round(time.perf_counter() - started, 3)
        self.seconds[name] = seconds
        logger.info("%s: done in %.1f s", name, seconds, extra={"stage": name, "seconds": seconds})

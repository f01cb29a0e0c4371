"""Timing and logging of a run's stages."""

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
        self.seconds[name] = round(time.perf_counter() - started, 3)
        logger.info("%s: done in %.1f s", name, self.seconds[name])


def set_up_logging() -> None:
    """Log lines of the job to stderr. Called by programs, never at import."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, force=True
    )
    logging.getLogger("py4j").setLevel(logging.WARNING)

"""SIGTERM, with which schedulers stop a job: the night ends as where something fails."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from jobs.errors import STOPPED


class Stopped(SystemExit):
    """SIGTERM came. No ``Exception``: nobody on the way out takes it for one to live with."""

    exit_code: ClassVar[int] = STOPPED.code

    def __init__(self) -> None:
        super().__init__(self.exit_code)

    def __str__(self) -> str:
        return "stopped by SIGTERM"


@contextlib.contextmanager
def stops_on_sigterm() -> Iterator[None]:
    """Raise ``Stopped`` where SIGTERM finds the body; for the main thread.

    Once: whoever sends it again does not keep the body from cleaning up.
    """

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _hang_up()
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _hang_up() -> None:
    """Close this thread's connection to the JVM; the next call opens another.

    Else the answer to the call that was interrupted would be taken for that to the next one.
    """
    if "pyspark" not in sys.modules:  # which takes long to import
        return
    from py4j.clientserver import JavaClient
    from pyspark import SparkContext

    client = getattr(SparkContext._gateway, "_gateway_client", None)
    connection = client.get_thread_connection() if isinstance(client, JavaClient) else None
    if connection is not None:
        connection.close(reset=True)

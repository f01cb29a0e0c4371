"""The JavaScript that draws the charts, and the policy that lets it run."""

import base64
import hashlib
import subprocess
import sys
from functools import cache

_LIBRARY_SECONDS = 120


@cache
def load_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    It is put together by a JavaScript engine, in a process of its own: what ends or hangs an engine
    (a limit on memory, for one) must not end or hang the night.
    """
    code = (
        "import sys, vl_convert; "
        "script = vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;'); "
        "sys.stdout.buffer.write(script.encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=_LIBRARY_SECONDS, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RuntimeError(f"vl_convert ended with {done.returncode}: {lines[-1]}")
    library = done.stdout.decode()
    if "</script" in library.lower() or "\r" in library:
        raise ValueError("the chart library cannot stand in a page as it is")
    return library


def write_policy(*scripts: str) -> str:
    """No address is ever asked for anything, and no script runs but these."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )

"""The cost of loading the plugin, which every certbot command pays.

``certbot --version`` with and without it, in the same environment, in which zope.interface is
installed, as it comes with the plugin: certbot imports it wherever it finds it. Where valgrind is
at hand, instructions are counted, which is the same on a busy machine; otherwise times are taken
in turns, and their noise is told.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

REPETITIONS = 30

_PROGRAM = """
import importlib.metadata, sys
found = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **wanted: [
    entry for entry in found(**wanted) if entry.name != sys.argv[1]]
from certbot.main import main
main(["--version"])
"""


@dataclass(frozen=True)
class Startup:
    """Return the time by which certbot starts later.

    :ivar ratio: with the plugin to without it.
    :ivar noise: the spread of what *ratio* was found from, as a part of one.
    """

    ratio: float
    noise: float
    unit: str


def measure() -> Startup:
    """Compare the two.

    :raises RuntimeError: if certbot would not import zope.interface even without the plugin.
    """
    if importlib.util.find_spec("zope.interface") is None:
        raise RuntimeError("install zope.interface, which comes with the plugin")
    subprocess.run([sys.executable, "-m", "compileall", "-q", "certbot_qiniu"], check=True)
    if shutil.which("valgrind"):
        without, having = _instructions("qiniu"), _instructions("none")
        again = _instructions("qiniu")
        return Startup(having / without, abs(again / without - 1), "instructions")
    pairs = [(_seconds("qiniu"), _seconds("none")) for _ in range(REPETITIONS)]
    without, having = map(statistics.median, zip(*pairs, strict=True))
    spread = statistics.quantiles([one for one, _ in pairs], n=4)
    return Startup(having / without, (spread[2] - spread[0]) / without, "seconds")


def _run(left_out: str, *before: str) -> str:
    done = subprocess.run([*before, sys.executable, "-c", _PROGRAM, left_out], check=True,
                          capture_output=True, text=True,
                          env={**os.environ, "PYTHONHASHSEED": "0"})
    return done.stderr


def _instructions(left_out: str) -> int:
    told = _run(left_out, "valgrind", "--tool=cachegrind", "--cache-sim=no",
                "--cachegrind-out-file=/dev/null")
    counted = re.search(r"I\s+refs:\s+([\d,]+)", told)
    if counted is None:
        raise RuntimeError(f"valgrind says something unknown: {told}")
    return int(counted[1].replace(",", ""))


def _seconds(left_out: str) -> float:
    begun = time.monotonic()
    _run(left_out)
    return time.monotonic() - begun

"""`bn-compare`, and Ctrl-C: what a terminal does to the whole process group."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

AS_FROM_A_TERMINAL = """
import signal
# A shell that runs the tests in the background has its children ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from compare.cli import main
main()
"""


@dataclass(frozen=True)
class Interrupted:
    """What a command left behind: `running` are its processes two seconds after its end."""

    returncode: int
    stdout: str
    stderr: str
    running: list[str]


def interrupted(*arguments, until):
    """Run `bn-compare` and interrupt it once a line of its progress contains `until`."""
    process = subprocess.Popen(
        [sys.executable, "-c", AS_FROM_A_TERMINAL, *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stderr:
            if until in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Interrupted(process.returncode, stdout, stderr, running(process.pid, within=2.0))


def running(group, within):
    """The command lines of a group's processes that do not end within some seconds.

    A process that has ended and waits for a slow init to collect it does not run.
    """
    end = time.monotonic() + within
    while (found := _now(group)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _now(group):
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.status()}: {' '.join(process.cmdline())}")
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found

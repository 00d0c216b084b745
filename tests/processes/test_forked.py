"""What the tests fork is as good as a process that was started."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest

from tests.support.processes import finished, started, until
from tests.support.zygote import can_fork

pytestmark = pytest.mark.skipif(not can_fork("-c"), reason="needs Linux: elsewhere every process is started")

PORTRAIT = """
import json, os, resource, signal, sys, threading
signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
limits = (resource.RLIMIT_NOFILE, resource.RLIMIT_DATA, resource.RLIMIT_CPU)
print(json.dumps({
    "environment": dict(os.environ), "arguments": sys.argv, "name": __name__, "folder": os.getcwd(),
    "parent": os.getppid(), "group": os.getpgid(0), "session": os.getsid(0), "nice": os.nice(0), "mask": os.umask(0),
    "handlers": [str(signal.getsignal(each)) for each in signals], "limits": list(map(resource.getrlimit, limits)),
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "open files": sorted(os.listdir("/proc/self/fd")),
    "threads": [(each.name, each is threading.main_thread()) for each in threading.enumerate()],
    "streams": [(each.encoding, each.errors, each.line_buffering) for each in (sys.stdin, sys.stdout, sys.stderr)],
}))
print("This is stderr.", file=sys.stderr)
"""


def test_a_forked_process_sees_what_a_fresh_one_sees() -> None:
    variables = {**os.environ, "MAX_PAGES": "7"}
    fresh, forked = (finished(["-c", PORTRAIT, "one", "--two"], variables, is_fresh=each) for each in (True, False))
    assert '"MAX_PAGES": "7"' in fresh.stdout
    assert (forked.returncode, forked.stdout, forked.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)


@pytest.mark.parametrize(
    "code", ["raise SystemExit(3)", "1 / 0", "import sys; sys.exit('why')", "import os; os.abort()"]
)
def test_a_forked_process_ends_as_a_fresh_one_does(code: str) -> None:
    fresh, forked = (finished(["-c", code], os.environ, is_fresh=each) for each in (True, False))
    assert forked.returncode == fresh.returncode != 0
    assert forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


def test_a_forked_process_can_be_stopped_and_killed() -> None:
    process = started(["-c", "import time; time.sleep(600)"], os.environ)
    process.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.kill()
    assert process.wait(30) == process.poll() == process.returncode == -signal.SIGKILL
    assert not psutil.pid_exists(process.pid)

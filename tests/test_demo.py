"""The demo, as ``make demo`` runs it: what it claims must hold, and it leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsxdp.lab import owner

ROOT = Path(__file__).parents[1]


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "examples/demo", "--fast"],
        cwd=ROOT,
        env=os.environ | {"TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As a shell starts it: pytest's own parent may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        yield process
        process.kill()


def left_behind(pid: int) -> list[str]:
    return [name for found in owner.owners() if found.pid == pid for name in found.netns()]


def test_all_that_the_demo_claims_holds(demo: subprocess.Popen[str]) -> None:
    said, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, said
    assert re.search(r"All of it held \(\d+ s\)\.\n$", said), said
    assert "✗" not in said
    assert "[fd00:96::10]:80 HTTP" in said
    assert "connection refused after" in said
    assert "restarted: 0 flow or group messages sent" in said
    rows = re.findall(r"^  (.+?) +(\d+) +(\d+) +(\d+) +\d+ ms( +expected)? *$", said, re.MULTILINE)
    assert len(rows) == 7
    for name, sent, answered, lost, expected in rows:
        assert int(sent) == int(answered) + int(lost), name
        assert int(sent) >= 90, name
        assert int(lost) == 0 or expected, name
    assert left_behind(demo.pid) == []


def test_an_interrupted_demo_leaves_nothing_behind(demo: subprocess.Popen[str]) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if "nsx-kube-proxy runs" in line:
            break
    assert left_behind(demo.pid)
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert said.endswith("interrupted: everything is removed again\n")
    assert left_behind(demo.pid) == []

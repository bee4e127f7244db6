"""``nsxdp lab`` as its user types it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nsxdp

RUN = "import nsxdp.cli; nsxdp.cli.main()"
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(nsxdp.__file__).parents[1]),
    "COLUMNS": "200",
    "TERM": "dumb",
}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def lab() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A lab with two pods; its process and what it said until it was up."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "lab", "up", "--pods", "2"],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C" in line:
            break
    yield process, said
    process.kill()
    process.communicate()


def test_version_and_commands() -> None:
    assert command("--version").stdout == f"nsxdp {nsxdp.__version__}\n"
    assert " lab " in command("--help").stdout


def test_a_lab_is_up_used_and_taken_down(lab: tuple[subprocess.Popen[str], str]) -> None:
    process, said = lab
    assert re.search(r"pod-2 .*10\.244\.0\.3", said)
    pid = f"--pid={process.pid}"
    flows = command("lab", "exec", pid, "node", "ovs-ofctl", "dump-flows", "br-int")
    assert "actions=NORMAL" in flows.stdout, flows.stderr
    ask = "import urllib.request as r; print(r.urlopen('http://10.244.0.3/').read())"
    assert command("lab", "exec", pid, "pod-1", sys.executable, "-c", ask).stdout == "b'pod-2\\n'\n"
    assert f"process {process.pid}" in command("lab", "status").stdout

    wrong = command("lab", "exec", pid, "pod-9", "true")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("nsxdp lab: no host pod-9 in the lab of process")
    assert wrong.stderr.rstrip().endswith("there are: node, pod-1, pod-2")

    assert command("lab", "down", pid).returncode == 0
    assert process.wait(timeout=10) == 0
    gone = command("lab", "exec", pid, "node", "true")
    assert gone.stderr == (
        f"nsxdp lab: no lab of process {process.pid} is up; start one with: nsxdp lab up\n"
    )

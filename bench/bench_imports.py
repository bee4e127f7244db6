"""What importing the library costs: time and memory of a new process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.conftest import Measure
from bench.results import size

_SAY_RESIDENT = "; print(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')))"

_GROUP = "a process that imports, and ends"


@pytest.mark.parametrize(
    ("who", "statement", "peer"),
    [
        ("nothing", "pass", False),
        ("nsxdp.openflow: Flow", "from nsxdp.openflow import Flow", False),
        ("nsxdp.openflow: all of it", "from nsxdp.openflow import *", False),
        ("nsxdp.openflow, nsxdp.ovsdb", "from nsxdp.openflow import *; import nsxdp.ovsdb", False),
        ("the whole of nsx-kube-proxy", "import nsxdp_agents.kube_proxy.app", False),
        (
            "os-ken",
            "from os_ken.ofproto import ofproto_v1_5_parser, ofproto_protocol",
            True,
        ),
    ],
)
def bench_import(measure: Measure, who: str, statement: str, peer: bool) -> None:
    said = subprocess.run(
        [sys.executable, "-c", statement + _SAY_RESIDENT],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    def do() -> None:
        subprocess.run([sys.executable, "-c", statement], check=True)

    measure(
        _GROUP,
        who,
        do,
        peer=peer,
        rounds=11,
        facts={"resident": size(int(said.split()[1]) * 1024)},
    )

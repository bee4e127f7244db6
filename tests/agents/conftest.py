"""A real agent process beside a real switch, with what it needs to have something to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# Test modules of this directory import what they share (proxying.py) by its plain name.
sys.path.append(str(Path(__file__).parent))

from proxying import Agent, Manifests

from nsxdp.lab import Node

Start = Callable[..., Agent]


@pytest.fixture
def manifests(tmp_path: Path) -> Manifests:
    """A directory of manifests, still empty."""
    return Manifests(tmp_path / "manifests")


@pytest.fixture
def timeless() -> Iterator[Node]:
    """A node whose ovs-vswitchd lets itself be told the time, by a `proxying.Clock`."""
    with Node() as made:
        made.ovs.kill_vswitchd()
        made.ovs.vswitchd_options.append("--enable-dummy")
        made.ovs.start_vswitchd()
        yield made


@pytest.fixture
def start(node: Node, manifests: Manifests, tmp_path: Path) -> Iterator[Start]:
    """Starts nsx-kube-proxy for 'node' and, unless told another source, 'manifests'."""
    with ExitStack() as stack:
        count = 0

        def starter(*flags: str, wait: bool = True, **keywords: Any) -> Agent:
            nonlocal count
            count += 1
            if not any(
                flag.startswith(("--kubeconfig", "--config", "--ncp-ini")) for flag in flags
            ):
                flags = (f"--manifests={manifests.path}", *flags)
            log = tmp_path / f"agent-{count}.log"
            agent = stack.enter_context(Agent(node, log, *flags, **keywords))
            if wait:
                agent.await_ready()
            return agent

        yield starter

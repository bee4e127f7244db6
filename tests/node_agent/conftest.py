"""A real node agent beside a real switch, and hosts that become pods by its plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# Test modules of this directory import what they share (runtime.py, say) by its plain name.
sys.path.append(str(Path(__file__).parent))

from joined import Two
from runtime import Agent, Runtime

from nsxdp.lab import Netns, Node

Start = Callable[..., Agent]


@pytest.fixture
def start(node: Node, tmp_path: Path) -> Iterator[Start]:
    """Starts nsx-node-agent for 'node'."""
    with ExitStack() as stack:
        yield lambda *flags, **more: stack.enter_context(Agent(node, tmp_path, *flags, **more))


@pytest.fixture
def agent(start: Start) -> Agent:
    """A node agent that is ready."""
    return start()


@pytest.fixture
def runtime(agent: Agent) -> Runtime:
    """A runtime that calls its plugin."""
    return agent.runtime


@pytest.fixture
def sandbox() -> Iterator[Callable[[str], Netns]]:
    """Makes network namespaces of containers."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Netns(name))


@pytest.fixture(scope="module", params=["none", "geneve"])
def mode(request: pytest.FixtureRequest) -> str:
    """How nodes reach each other's pods."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def two(mode: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with ExitStack() as stack:
        yield Two(stack, tmp_path_factory.mktemp("two"), mode)


@pytest.fixture(params=[0, 1], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    """Which of a pod's addresses."""
    at: int = request.param
    return at

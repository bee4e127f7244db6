"""The node that the tests of a module share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test modules of this directory import what they share (cluster.py) by its plain name.
sys.path.append(str(Path(__file__).parent))

from cluster import Cluster
from wired import Wired

from nsxdp.lab import MissingTool


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Who asks for a `cluster` in a module with BRIDGES gets one of each of these kinds."""
    bridges = getattr(metafunc.module, "BRIDGES", ())
    if bridges and "cluster" in metafunc.fixturenames:
        metafunc.parametrize("cluster", bridges, indirect=True, scope="module")


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A node with pods and the agent; each test makes Services of its own in it.

    The bridge is ``switching``: all that isn't about Services, it does as any bridge; or ``wired``:
    it has the node agent's flows beside.
    """
    try:
        made = Cluster(tmp_path_factory.mktemp("cluster"))
    except MissingTool as error:
        pytest.fail(str(error), pytrace=False)
    if getattr(request, "param", "switching") == "wired":
        Wired(made.node).sync()
    yield made
    made.close()


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    """Each test that asks for it runs once for each IP version."""
    version: int = request.param
    return version

"""The node that the tests of a module share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test modules of this directory import what they share (cluster.py) by its plain name.
sys.path.append(str(Path(__file__).parent))

from cluster import Cluster

from nsxdp.lab import MissingTool


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node with pods and the agent; each test makes Services of its own in it."""
    try:
        made = Cluster(tmp_path_factory.mktemp("cluster"))
    except MissingTool as error:
        pytest.fail(str(error), pytrace=False)
    yield made
    made.close()


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    """Each test that asks for it runs once for each IP version."""
    version: int = request.param
    return version

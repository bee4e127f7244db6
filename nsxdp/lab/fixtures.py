"""The lab as pytest fixtures: ``pytest_plugins = ["nsxdp.lab.fixtures"]`` in a ``conftest.py``.

Namespaces, switches and nodes are new for every test (they cost 10, 100 and 200 ms); the API server
is started once a session (seconds), and emptied after each test that asked for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from nsxdp.lab import build
from nsxdp.lab.errors import LabError, MissingTool
from nsxdp.lab.netns import Netns
from nsxdp.lab.node import Node
from nsxdp.lab.ovs import OVS

if TYPE_CHECKING:
    from nsxdp.lab.apiserver import ApiServer


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build kube-apiserver before the first test, where it counts against no test's time."""
    wanted = any(
        "apiserver_of_session" in getattr(item, "fixturenames", ()) for item in session.items
    )
    if not wanted or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    # What is missing, or doesn't build, is said by the fixture, to the tests that need it.
    with capture.global_and_fixture_disabled(), suppress(LabError):
        build.ensure("kube-apiserver")


@contextmanager
def _missing_tool_fails() -> Iterator[None]:
    try:
        yield
    except MissingTool as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def netns() -> Iterator[Netns]:
    """A network namespace with nothing but its loopback."""
    with _missing_tool_fails():
        made = Netns("test")
    with made:
        yield made


@pytest.fixture
def ovs() -> Iterator[OVS]:
    """A running Open vSwitch without a bridge, in a namespace of its own (``ovs.netns``)."""
    with _missing_tool_fails():
        made = OVS()
    with made:
        yield made


@pytest.fixture
def node() -> Iterator[Node]:
    """A node with its bridge ``br-int`` and no pods."""
    with _missing_tool_fails():
        made = Node()
    with made:
        yield made


@pytest.fixture(scope="session")
def apiserver_of_session() -> Iterator["ApiServer"]:
    """The one API server of the session, for tests that want it as they left it."""
    from nsxdp.lab.apiserver import ApiServer

    with _missing_tool_fails():
        made = ApiServer()
    with made:
        yield made


@pytest.fixture
def apiserver(apiserver_of_session: "ApiServer") -> Iterator["ApiServer"]:
    """A running API server with nothing in it but what it makes itself."""
    apiserver_of_session.ensure_running()
    yield apiserver_of_session
    apiserver_of_session.ensure_running()
    apiserver_of_session.clear()

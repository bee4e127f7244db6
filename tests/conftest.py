"""What all tests share: the lab's fixtures, truth tables as parameters, and what is for which
datapath.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from nsxdp.lab.ovs import datapath

# How long anything takes on a busy machine says nothing.
settings.register_profile("nsxdp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nsxdp")

pytest_plugins = ["nsxdp.lab.fixtures", "tests.parts", "tests.tables"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about another datapath than the lab's."""

    def elsewhere(item: pytest.Item) -> bool:
        mark = item.get_closest_marker("datapath")
        return mark is not None and mark.args != (here,)

    here = datapath()
    if left_out := [item for item in items if elsewhere(item)]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not elsewhere(item)]


# Only the kernel has sockets of SCTP, and translates it.
@pytest.fixture(params=["TCP", "UDP", pytest.param("SCTP", marks=pytest.mark.datapath("system"))])
def protocol(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs once for each of Services' and policies' protocols."""
    text: str = request.param
    return text

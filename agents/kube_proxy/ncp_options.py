"""What of ncp.ini is for nsx-kube-proxy."""

from __future__ import annotations

from typing import Final

from nsxdp_agents.common.ncp_ini import SWITCH, IniOption, word
from nsxdp_agents.common.ncp_options import COMMON

__all__ = ["OPTIONS"]

OPTIONS: Final[tuple[IniOption, ...]] = (
    *COMMON,
    IniOption("coe", "profiling", SWITCH, "profiling"),
    IniOption("nsx_kube_proxy", "config_handler", word("ovs", "nestdb"),
              why="Services are flows of Open vSwitch", so=("ovs",)),
)  # fmt: skip

"""What of ncp.ini is for nsx-node-agent."""

from __future__ import annotations

from typing import Final

from nsxdp_agents.common.ncp_ini import LEVEL, SWITCH, TEXT, IniOption, number, word
from nsxdp_agents.common.ncp_options import COMMON, SECONDS
from nsxdp_agents.node_agent.options import MTUS, WAITS

__all__ = ["OPTIONS"]

OPTIONS: Final[tuple[IniOption, ...]] = (
    *COMMON,
    IniOption("coe", "profiling", SWITCH, why="this agent has no profiling", so=(False,)),
    IniOption("k8s", "enable_hostport_snat", SWITCH, so=(False,),
              why="who comes to a host port keeps its address wherever the answer finds back"),
    IniOption("nsx_node_agent", "mtu", number(MTUS.start, MTUS.stop - 1), "mtu"),
    IniOption("nsx_node_agent", "config_retry_timeout", number(WAITS.start, WAITS.stop - 1),
              "config_retry_timeout"),
    IniOption("nsx_node_agent", "config_reuse_backoff_time", SECONDS,
              why="what a pod has is never used for another one"),
    IniOption("nsx_node_agent", "nsxrpc_loglevel", LEVEL,
              why="what a pod has is read from its annotation, and no hypervisor is asked"),
    IniOption("nsx_node_agent", "ovs_operation_timeout", SECONDS,
              why="no commands are run: Open vSwitch confirms what it has done"),
    IniOption("nsx_node_agent", "enable_ipv6", SWITCH, so=(True,),
              why="pods have IPv6 addresses where their network has"),
    IniOption("nsx_node_agent", "is_dhcp_configured_on_ovs_uplink_port",
              word("True", "False", "auto"), so=("False", "auto"),
              why="the uplink to the platform has no addresses"),
    IniOption("nsx_node_agent", "waiting_before_cni_response", SECONDS, so=(0,),
              why="a pod is answered for when its flows are confirmed"),
    IniOption("nsx_node_agent", "use_ncp_portmap", SWITCH, so=(False,),
              why="host ports are the agent's own, without a plugin for them"),
    IniOption("nsx_node_agent", "proc_mount_path_prefix", TEXT, so=("/host",),
              why="pods' network namespaces come as open files"),
)  # fmt: skip

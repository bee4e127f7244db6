"""Real Open vSwitch, real hosts, a real Kubernetes API server, for as long as a ``with`` lasts.

Everything lives in network namespaces and a run directory of its own, needs root and nothing else
of the machine, and goes away when its owner does, even by ``kill -9``.

Objects acquire what they are when they are made, and release it in ``close()`` or at the end of
``with``. :mod:`nsxdp.lab.fixtures` offers the same as pytest fixtures, ``nsxdp lab`` on the
command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsxdp.lab.apiserver import ApiServer
    from nsxdp.lab.errors import LabError, MissingTool
    from nsxdp.lab.host import Host
    from nsxdp.lab.netns import Netns
    from nsxdp.lab.node import Node, Pod
    from nsxdp.lab.ovs import OVS
    from nsxdp.lab.programs import Traffic

_HOME = {
    "ApiServer": "apiserver",
    "Host": "host",
    "LabError": "errors",
    "MissingTool": "errors",
    "Netns": "netns",
    "Node": "node",
    "OVS": "ovs",
    "Pod": "node",
    "Traffic": "programs",
}

__all__ = [
    "OVS",
    "ApiServer",
    "Host",
    "LabError",
    "MissingTool",
    "Netns",
    "Node",
    "Pod",
    "Traffic",
]


def __getattr__(name: str) -> object:
    """Import a class when it is first asked for: the lab's servers start without the rest."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

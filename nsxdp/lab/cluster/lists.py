"""Lists of Kubernetes's end-to-end tests, by name: what a cluster's network has to pass.

A list is two regular expressions, as ginkgo wants them: a spec is on it whose name matches the
first and not the second.
"""

from typing import NamedTuple

NETWORK = r"\[sig-network\]"


class List(NamedTuple):
    """Which specs are on a list.

    Attributes
    ----------
    about
        What they try.
    focus, skip
        Match the names of those that are on it, and of those that are not; an empty `skip` matches
        none.
    """

    about: str
    focus: str
    skip: str = ""


def _any(*patterns: str) -> str:
    return "|".join(patterns)


_NOT_HERE = _any(
    r"\[Feature:SCTPConnectivity\]",  # the kernel may not have SCTP
    r"\[Feature:Networking-",  # the Internet, and measurements
    r"\[Provider:GCE\]",
)
"""What no cluster of this lab can pass, whatever its network is."""

_CONFORMANCE = r"\[Conformance\]"
_POLICIES = "Netpol"
_BALANCERS = r"\[Feature:LoadBalancer\]"

LISTS = {
    "conformance": List("what every cluster must do", rf"{NETWORK}.*{_CONFORMANCE}"),
    "netpol": List("NetworkPolicy", _POLICIES, _NOT_HERE),
    "loadbalancer": List("Services of type LoadBalancer", _BALANCERS),
    "network": List(
        "all else of pods' networks and Services",
        NETWORK,
        _any(_CONFORMANCE, _POLICIES, _BALANCERS, _NOT_HERE),
    ),
    "topology": List(
        "endpoints that are near; all of it with six nodes",
        "Traffic Distribution|Topology Hints",
    ),
    "all": List("all of these", NETWORK, _NOT_HERE),
}


def named(focus: str, skip: str = "") -> tuple[str, str]:
    """The two expressions for a list's name, with more that is skipped; another text is the first.

    Examples
    --------
    >>> from nsxdp.lab.cluster.lists import named
    >>> named("topology", "Slow")
    ('Traffic Distribution|Topology Hints', 'Slow')
    >>> named("DNS")
    ('DNS', '')
    """
    found = LISTS.get(focus)
    if found is None:
        return focus, skip
    return found.focus, "|".join(filter(None, (found.skip, skip)))

"""Which address a pod gets: one of each of the node's networks, and nobody else has it.

An address that was released is given again as late as can be: others may still know it as that of
the pod that had it, in a connection, in a name server's answer, in a policy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from nsxdp.forwarding.model import Network, reserved
from nsxdp.pipeline.columns import Address

__all__ = ["Address", "ExhaustedError", "Network", "Pool", "Pools"]

_MOST: Final = 1 << 16
"""Addresses of a network that are ever given: of an IPv6 network nobody needs all."""


class ExhaustedError(Exception):
    """No address is left; one line with the way out."""


class Pool:
    """The addresses of one network.

    Parameters
    ----------
    network
        The node's pods', of one family.

    Raises
    ------
    ValueError
        It is too small for any pod.

    Attributes
    ----------
    network
        As it was given.
    gateway
        The node's address in it.

    Examples
    --------
    >>> from ipaddress import ip_network
    >>> from nsxdp_agents.node_agent.ipam import Pool
    >>> pool = Pool(ip_network("10.244.3.0/29"))
    >>> first = pool.take()
    >>> pool.release(first)
    >>> print(first, pool.take(), pool.free)
    10.244.3.3 10.244.3.4 3
    """

    def __init__(self, network: Network) -> None:
        own = reserved(network)
        self.network = network
        self.gateway = own.gateway
        self._first = int(own.masquerade) - int(network.network_address) + 1
        # IPv4 has a broadcast address, the network's last one.
        self._end = min(network.num_addresses - (network.version == 4), _MOST)
        self._next = self._first
        self._released: OrderedDict[Address, None] = OrderedDict()
        self._taken: set[Address] = set()

    @property
    def size(self) -> int:
        """How many addresses are for pods."""
        return self._end - self._first

    @property
    def free(self) -> int:
        """How many of them nobody has."""
        return self.size - len(self._taken)

    def take(self) -> Address:
        """The address that nobody has had for the longest time.

        Raises
        ------
        ExhaustedError
            All are taken.
        """
        while self._next < self._end:
            address = self.network[self._next]
            self._next += 1
            if address not in self._taken and address not in self._released:
                self._taken.add(address)
                return address
        if self._released:
            address, _ = self._released.popitem(last=False)
            self._taken.add(address)
            return address
        raise ExhaustedError(
            f"all {self.size} addresses of {self.network} are taken: delete pods of this node, or "
            "give it a larger podCIDR"
        )

    def claim(self, address: Address) -> None:
        """Somebody has 'address' already. One that is for no pod of this network doesn't matter."""
        if self._holds(address):
            self._released.pop(address, None)
            self._taken.add(address)

    def release(self, address: Address) -> None:
        """Nobody has 'address' any more."""
        if self._holds(address):
            self._taken.discard(address)
            self._released[address] = None

    def _holds(self, address: Address) -> bool:
        if address not in self.network:
            return False
        return self._first <= int(address) - int(self.network.network_address) < self._end


class Pools:
    """The addresses of all of a node's networks, of which there may be none yet.

    Examples
    --------
    >>> from ipaddress import ip_network
    >>> from nsxdp_agents.node_agent.ipam import Pools
    >>> pools = Pools()
    >>> pools.use([ip_network("10.244.3.0/24"), ip_network("fd00:244:0:3::/64")])
    >>> print(*pools.take())
    10.244.3.3 fd00:244:0:3::3
    """

    def __init__(self) -> None:
        self.pools: tuple[Pool, ...] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """Of which addresses are given."""
        return tuple(pool.network for pool in self.pools)

    def use(
        self,
        networks: Iterable[Network],
        taken: Iterable[Address] = (),
        released: Iterable[Address] = (),
    ) -> None:
        """Give addresses of these networks from now on. Who has one of another keeps it.

        Parameters
        ----------
        taken
            Those that somebody has.
        released
            Those that somebody had, the one that was released first first.

        Raises
        ------
        ValueError
            A network is too small, or there are two of a family.
        """
        pools = tuple(map(Pool, networks))
        if len({pool.network.version for pool in pools}) < len(pools):
            shown = ", ".join(str(pool.network) for pool in pools)
            raise ValueError(f"{shown}: a node's pods have one network of each family")
        self.pools = pools
        self.release(released)
        self.claim(taken)

    def take(self) -> tuple[Address, ...]:
        """One address of each network, or none.

        Raises
        ------
        ExhaustedError
            There is no network, or one of them has no address left.
        """
        if not self.pools:
            raise ExhaustedError("the node has no podCIDR yet, and so no addresses for pods")
        taken: list[Address] = []
        try:
            for pool in self.pools:
                taken.append(pool.take())  # noqa: PERF401 - what was taken has to be known
        except ExhaustedError:
            self.release(taken)
            raise
        return tuple(taken)

    def claim(self, addresses: Iterable[Address]) -> None:
        """Somebody has these already."""
        for address in addresses:
            for pool in self.pools:
                pool.claim(address)

    def release(self, addresses: Iterable[Address]) -> None:
        """Nobody has these any more."""
        for address in addresses:
            for pool in self.pools:
                pool.release(address)

"""Rows of Open vSwitch's database that come and go together: those of a bridge, and of a port."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from nsxdp.ovsdb import Insert, Replica, Transaction

__all__ = ["UPLINK", "delete_port", "insert_bridge", "insert_port"]

UPLINK: Final = {"nsxdp-role": "uplink"}
"""What the external_ids of the port by which the outside comes have (see `nsxdp.bridge`)."""

_Columns = Mapping[str, Any]
_NONE: Final[_Columns] = MappingProxyType({})


def insert_bridge(
    transaction: Transaction, name: str, columns: _Columns, own: _Columns = _NONE
) -> None:
    """Have a new bridge with its own port; 'own' are more columns of that one's Interface."""
    port = _inserted(transaction, name, {"type": "internal", **own}, _NONE)
    bridge = transaction.insert("Bridge", {"name": name, **columns, "ports": [port]})
    transaction.mutate("Open_vSwitch", [], [("bridges", "insert", [bridge])])


def insert_port(
    transaction: Transaction,
    bridge: str,
    name: str,
    interface: _Columns,
    columns: _Columns = _NONE,
) -> None:
    """Have a new port on a bridge; 'columns' are more of the Port's, beside its one 'interface'."""
    port = _inserted(transaction, name, interface, columns)
    transaction.mutate("Bridge", [("name", "==", bridge)], [("ports", "insert", [port])])


def delete_port(transaction: Transaction, replica: Replica, name: str) -> None:
    """Have no port of that name, on whichever bridge it is."""
    for row in replica["Port"].by("name", name):
        transaction.mutate("Bridge", [], [("ports", "delete", [row.uuid])])


def _inserted(
    transaction: Transaction, name: str, interface: _Columns, columns: _Columns
) -> Insert:
    made = transaction.insert("Interface", {"name": name, **interface})
    return transaction.insert("Port", {"name": name, "interfaces": [made], **columns})

"""OVSDB (RFC 7047): a client with a replica of the tables that matter, and transactions."""

from nsxdp.ovsdb.client import Client
from nsxdp.ovsdb.condition import Condition, Wanted, Where
from nsxdp.ovsdb.errors import (
    DatabaseChangedError,
    DisconnectedError,
    LockError,
    NoSuchDatabaseError,
    OvsdbError,
    ProtocolError,
    RequestError,
    SchemaError,
    TransactionError,
    TryAgainError,
    UnreachableError,
    UnsuitableError,
)
from nsxdp.ovsdb.feed import Batch, Change, Feed
from nsxdp.ovsdb.lock import Lock
from nsxdp.ovsdb.replica import Replica, Watch
from nsxdp.ovsdb.schema import Schema, Uuid
from nsxdp.ovsdb.session import Session
from nsxdp.ovsdb.store import Row, Table
from nsxdp.ovsdb.transaction import Insert, Mutation, Operation, Results, Transaction
from nsxdp.transport import Tls

__all__ = [
    "Batch",
    "Change",
    "Client",
    "Condition",
    "DatabaseChangedError",
    "DisconnectedError",
    "Feed",
    "Insert",
    "Lock",
    "LockError",
    "Mutation",
    "NoSuchDatabaseError",
    "Operation",
    "OvsdbError",
    "ProtocolError",
    "Replica",
    "RequestError",
    "Results",
    "Row",
    "Schema",
    "SchemaError",
    "Session",
    "Table",
    "Tls",
    "Transaction",
    "TransactionError",
    "TryAgainError",
    "UnreachableError",
    "UnsuitableError",
    "Uuid",
    "Wanted",
    "Watch",
    "Where",
]

"""OVSDB (RFC 7047): a client with a replica of the tables that matter, and transactions."""

from nsxdp.ovsdb.client import Backoff, Client
from nsxdp.ovsdb.condition import Condition, Where
from nsxdp.ovsdb.errors import (
    DisconnectedError,
    NoSuchDatabaseError,
    OvsdbError,
    ProtocolError,
    RequestError,
    SchemaError,
    TransactionError,
    TryAgainError,
    UnreachableError,
)
from nsxdp.ovsdb.feed import Batch, Change, Feed
from nsxdp.ovsdb.replica import Replica, Table, Watch
from nsxdp.ovsdb.row import Row
from nsxdp.ovsdb.schema import Schema, Uuid
from nsxdp.ovsdb.transaction import Insert, Mutation, Operation, Results, Transaction

__all__ = [
    "Backoff",
    "Batch",
    "Change",
    "Client",
    "Condition",
    "DisconnectedError",
    "Feed",
    "Insert",
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
    "Table",
    "Transaction",
    "TransactionError",
    "TryAgainError",
    "UnreachableError",
    "Uuid",
    "Watch",
    "Where",
]

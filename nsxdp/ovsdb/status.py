"""What a server says of its databases, in its own database ``_Server`` (ovsdb-server(5)).

A server of a cluster may be cut off from the others, or behind them, or not be the one that leads.
"""

from __future__ import annotations

from msgspec import Raw

from nsxdp.ovsdb.errors import DatabaseChangedError, ProtocolError, UnsuitableError
from nsxdp.ovsdb.replica import Notification, Replica, Watch
from nsxdp.ovsdb.schema import Json, Schema
from nsxdp.ovsdb.store import Row

__all__ = ["MONITOR", "Position", "Status"]

MONITOR = "status of the server"
"""The name of the monitor."""

_OPTIONAL_STRING = {"key": "string", "min": 0, "max": 1}
_SCHEMA = {
    "name": "_Server",
    "tables": {
        "Database": {
            "columns": {
                "name": {"type": "string"},
                "model": {"type": "string"},
                "connected": {"type": "boolean"},
                "leader": {"type": "boolean"},
                "schema": {"type": _OPTIONAL_STRING},
                "cid": {"type": {"key": "uuid", "min": 0, "max": 1}},
                "index": {"type": {"key": "integer", "min": 0, "max": 1}},
            }
        }
    },
}


class Position:
    """How far a clustered database has come, as far as we have seen it.

    A server that is behind would show us a past that we know to be over.
    """

    __slots__ = ("cluster", "index")

    def __init__(self) -> None:
        self.cluster: str | None = None
        self.index = 0

    def reached(self, row: Row) -> None:
        """Remember where a database is.

        Raises
        ------
        UnsuitableError
            We saw it further on.
        """
        index = row["index"]
        if row.model != "clustered" or index is None:
            return
        if row.cid != self.cluster:
            self.cluster, self.index = row.cid, 0
        if index < self.index:
            raise UnsuitableError(
                f"the server is behind its cluster: at entry {index}, where {self.index} was seen"
            )
        self.index = index


class Status:
    """What one server says of one database, from the connection's beginning on.

    Parameters
    ----------
    database
        Its name.
    position
        How far the database has come; it outlives the connection.
    leader_only
        Whether only the leader of a cluster will do.
    """

    def __init__(self, database: str, position: Position, *, leader_only: bool) -> None:
        self._database = database
        self._position = position
        self._leader_only = leader_only
        columns = tuple(_SCHEMA["tables"]["Database"]["columns"])  # type: ignore[index]
        self._replica = Replica(
            Schema.from_json(_SCHEMA), [Watch("Database", columns, indexes=("name",))]
        )
        self._schema: str | None = None

    def monitor_params(self) -> list[Json]:
        """Parameters of ``monitor_cond``."""
        return self._replica.monitor_params("monitor_cond", MONITOR)

    @property
    def row(self) -> Row | None:
        """The database's row; None: the server has no such database."""
        return self._replica["Database"].one("name", self._database)

    def reset(self, result: Raw) -> None:
        """Take the answer to ``monitor_cond``; `check` looks whether all is well."""
        self._replica.reset("monitor_cond", result)

    def update(self, method: str, notification: Notification) -> None:
        """Take a notification.

        Raises
        ------
        UnsuitableError, DatabaseChangedError
            The server will no longer do, or the connection must begin anew.
        """
        if method != "update2":
            raise ProtocolError(f"{method}: not of the monitor that was asked for")
        self._replica.update(method, notification)
        self.check()

    def check(self) -> None:
        """See whether this is a server to talk to.

        Raises
        ------
        UnsuitableError
            Another server of the cluster is.
        DatabaseChangedError
            The database was removed, or its schema has changed since the last check.
        """
        row = self.row
        if row is None:
            if self._schema is None:
                return  # get_schema will say it, with what else there is
            raise DatabaseChangedError(f"database {self._database} was removed from the server")
        if not row.connected:
            raise UnsuitableError(f"the server is cut off from the cluster of {self._database}")
        if row.schema is None:
            raise UnsuitableError(f"the server hasn't joined the cluster of {self._database} yet")
        if self._leader_only and not row.leader:
            raise UnsuitableError(f"the server doesn't lead the cluster of {self._database}")
        self._position.reached(row)
        if self._schema not in (None, row.schema):
            raise DatabaseChangedError(f"the schema of database {self._database} has changed")
        self._schema = row.schema

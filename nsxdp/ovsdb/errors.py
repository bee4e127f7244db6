"""What can go wrong between a client and an OVSDB server."""

from __future__ import annotations

from typing import Any

__all__ = [
    "DatabaseChangedError",
    "DisconnectedError",
    "LockError",
    "NoSuchDatabaseError",
    "OvsdbError",
    "ProtocolError",
    "RequestError",
    "SchemaError",
    "TransactionError",
    "TryAgainError",
    "UnreachableError",
    "UnsuitableError",
]

_SHOWN = 300
"""Characters of an operation that an error message shows."""


class OvsdbError(Exception):
    """Any failure of this package; its text is one line that names the thing and the way out."""


class UnreachableError(OvsdbError):
    """No connection to the server could be made."""


class UnsuitableError(OvsdbError):
    """A server of a cluster doesn't lead it, is cut off from it, or is behind it.

    Another one of the cluster is the one to ask; where none is, one will soon be elected.
    """


class LockError(OvsdbError):
    """Another client has the lock."""


class DisconnectedError(OvsdbError):
    """The connection was lost while something waited for it.

    What was asked of the server may have happened or not.
    """


class DatabaseChangedError(DisconnectedError):
    """The database was removed, or has another schema: everything must be read again."""


class ProtocolError(OvsdbError):
    """The peer sent something that is no JSON-RPC, or that breaks RFC 7047."""


class SchemaError(OvsdbError):
    """A schema can't be read, or has no table or column of that name, or a value doesn't fit."""


class RequestError(OvsdbError):
    """The server refused a whole request.

    Attributes
    ----------
    method
        The request's method, such as ``monitor_cond_since``.
    error
        The name of the error, such as ``unknown method``.
    """

    def __init__(self, method: str, error: str, details: str = "") -> None:
        self.method = method
        self.error = error
        self.details = details
        super().__init__(f"{method}: {error}" + (f": {details}" if details else ""))


class NoSuchDatabaseError(RequestError):
    """The server has no database of that name; the message lists those that it has."""


class TransactionError(OvsdbError):
    """One operation of a transaction failed, so that nothing of it took place.

    Attributes
    ----------
    error
        RFC 7047's name of the error, such as ``constraint violation``.
    details
        What the server says about it.
    index
        Which operation failed, from 0; the number of operations where it was the commit itself.
    operation
        The operation as it was sent; None where it was the commit itself.
    """

    def __init__(
        self, error: str, details: str, index: int, operation: dict[str, Any] | None
    ) -> None:
        self.error = error
        self.details = details
        self.index = index
        self.operation = operation
        text = f"{error}: {details}" if details else error
        if operation is None:
            text += " (at commit)"
        else:
            shown = str(operation)
            if len(shown) > _SHOWN:
                shown = shown[:_SHOWN] + "…"
            text += f" (operation {index}: {shown})"
        super().__init__(text)


class TryAgainError(TransactionError):
    """The transaction met another state than it was made for: make it anew from what holds now.

    Of a ``cluster error``, when a leader is lost, nobody knows whether it took place after all:
    operations must look at what is there, as `Transaction.read` does.
    """

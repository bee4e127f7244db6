"""What can be wrong with a request, in the CNI's own numbers."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CniError", "Code"]


class Code(IntEnum):
    """The specification's error codes (section 5, "Error")."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    NO_CONTAINER = 3
    BAD_ENVIRONMENT = 4
    IO_FAILURE = 5
    NOT_DECODED = 6
    BAD_CONFIG = 7
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    """Of STATUS: no pod can be added."""
    LIMITED_CONNECTIVITY = 51
    """Of STATUS: nor do those that are there have all of the network."""
    FAILED = 100
    """Whatever else there is: the numbers from here on are a plugin's own."""


class CniError(Exception):
    """A request that isn't fulfilled.

    Attributes
    ----------
    code
        What a runtime makes its decisions by.
    message
        One line: what is wrong, and the way out.
    details
        What else is known; may be empty.
    """

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

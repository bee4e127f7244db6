"""What can go wrong with OpenFlow text, bytes, commits and connections."""

from __future__ import annotations

__all__ = [
    "CommitError",
    "ConnectionLost",
    "DecodeError",
    "OpenFlowError",
    "ParseError",
    "ProtocolError",
    "ReplyTimeoutError",
    "RequestError",
    "VersionError",
]

_CONTEXT = 60


class OpenFlowError(Exception):
    """The base of all errors of a conversation with a switch."""


class ParseError(ValueError):
    """A text isn't what ovs-ofctl's syntax allows.

    Attributes
    ----------
    reason
        What is wrong, on one line.
    text
        The whole text.
    position
        Where it is wrong: characters from the start of the text.
    line
        The number of the line that the text is in its file, from 1 on; 0: none.

    Examples
    --------
    >>> from nsxdp.openflow import Match, ParseError
    >>> try:
    ...     Match.parse("tcp,nw_dst=10.0.0.300")
    ... except ParseError as error:
    ...     print(error)
    not an IPv4 address: "10.0.0.300"
      tcp,nw_dst=10.0.0.300
                 ^
    """

    def __init__(self, reason: str, text: str = "", position: int = 0, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text
        self.position = position
        self.line = line

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        if not self.text:
            return where + self.reason
        start = max(0, self.position - _CONTEXT)
        excerpt = self.text[start : self.position + _CONTEXT].replace("\n", " ").replace("\t", " ")
        caret = " " * (self.position - start) + "^"
        return f"{where}{self.reason}\n  {excerpt}\n  {caret}"

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, str, int, int]]:
        return type(self), (self.reason, self.text, self.position, self.line)


class DecodeError(ValueError):
    """Bytes aren't the OpenFlow message that they claim to be.

    Attributes
    ----------
    reason
        What is wrong, on one line.
    position
        Where: bytes from the start of the message.
    name
        Of the error that Open vSwitch would answer with, such as ``OFPBRC_BAD_LEN``.
    """

    def __init__(self, reason: str, position: int = 0, name: str = "OFPBRC_BAD_LEN") -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position
        self.name = name

    def __str__(self) -> str:
        return f"{self.reason} (at byte {self.position})"

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, int, str]]:
        return type(self), (self.reason, self.position, self.name)


class VersionError(OpenFlowError):
    """The bridge doesn't speak OpenFlow 1.5."""


class ConnectionLost(OpenFlowError, ConnectionError):  # noqa: N818
    """The connection broke, or there is none.

    What was asked for and not answered may have been done or not: compare what is installed with
    what is wanted when there is a connection again.
    """


class ReplyTimeoutError(ConnectionLost, TimeoutError):
    """The switch didn't answer in time, and so the connection was closed."""


class ProtocolError(ConnectionLost):
    """The switch sent what no switch may send, and so the connection was closed."""


class RequestError(OpenFlowError):
    """The switch refused a request.

    Attributes
    ----------
    name
        Open vSwitch's name of the error, such as ``OFPBRC_BAD_TABLE_ID``.
    request
        What was refused, as ``ovs-ofctl ofp-print`` prints it.
    """

    def __init__(self, name: str, request: str) -> None:
        super().__init__(f"{name}: {request}")
        self.name = name
        self.request = request


class CommitError(RequestError):
    """The switch refused a commit: nothing of it was done.

    Attributes
    ----------
    name
        Open vSwitch's name of the error, such as ``OFPGMFC_BAD_BUCKET``.
    request
        The flow or group that was refused, in ovs-ofctl's syntax.
    index
        Which of the commit's messages that is, from 0; -1 where the switch blames none of them.
    message
        Its bytes.
    """

    def __init__(self, name: str, request: str, index: int, message: bytes) -> None:
        super().__init__(name, request)
        self.index = index
        self.message = message

    def __str__(self) -> str:
        if self.index < 0:
            return f"{self.name}: the whole commit was refused"
        return f"{self.name}: message {self.index}: {self.request}"

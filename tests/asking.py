"""What clients ask the lab's servers, by each protocol."""

from __future__ import annotations

from nsxdp.lab import Netns

__all__ = ["ask", "bracketed", "source"]


def bracketed(ip: str) -> str:
    """As it stands in a URL."""
    return f"[{ip}]" if ":" in ip else ip


def ask(
    client: Netns, ip: str, protocol: str, port: int = 80, what: str = "", timeout: float = 5.0
) -> str:
    """The server's name, or the answer to 'what'; TCP servers speak HTTP."""
    if protocol == "TCP":
        return client.http_get(f"http://{bracketed(ip)}:{port}/{what}", timeout)
    by_lines = client.udp_ask if protocol == "UDP" else client.sctp_ask
    return by_lines(ip, port, what.encode() or b"hello", timeout)


def source(client: Netns, ip: str, protocol: str, port: int = 80) -> str:
    """The address that the server sees as the client's."""
    return ask(client, ip, protocol, port, "client").rpartition(":")[0].strip("[]")

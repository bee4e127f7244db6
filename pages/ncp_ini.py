"""What an agent makes of ncp.ini, as Markdown, written from its table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from nsxdp_agents.common.ncp_ini import TEXT, IniOption
from pages.markdown import item

__all__ = ["section"]

_API: Mapping[str, str] = {
    "api_host": "the API server's address",
    "api_port": "its port",
    "api_ca_file": "who signed its certificate",
    "api_token_file": "a bearer's token for it",
    "api_cert_file": "a client's certificate for it",
    "api_key_file": "the key of that",
}


def section(table: Iterable[IniOption]) -> Iterator[str]:
    """The section about it."""
    table = tuple(table)
    yield textwrap.dedent("""\
        ## ncp.ini

        `--ncp-ini FILE` reads the file that VMware's NCP and its agents share, as it is. The
        configuration file and the options of the command line override it. Its format is
        oslo.config's, in which `$name` is what another option says. It may say all that NCP has
        had, up to 9.2; what is for other programs is passed over. A name that NCP never had is a
        warning in the log, with the one that was probably meant, and a value that can't be used is
        an error. When the file says something else, the process ends, as it does with the
        configuration file.

        What it says to this agent; of two that are the same, the later one here counts:
        """)
    for entry in table:
        if entry.option:
            meaning = _API.get(entry.option) or f"`--{entry.option.replace('_', '-')}`"
            kind = "" if entry.kind is TEXT else f", {entry.kind.says}"
            yield item(f"`{entry.title}`", f"{meaning}{kind}.")
    yield textwrap.dedent("""
        `debug` set to true is `--log-level debug`, and false says nothing. Of the API server, what
        isn't said is as in a pod: its address from the environment, its authority and the token
        from the service account. `--kubeconfig` and other sources replace all of that.

        What means nothing here is a warning that says why, unless it is said as it is anyway:
        """)
    reasons: dict[str, list[str]] = {}
    for entry in table:
        if not entry.option:
            so = f" (other than {' or '.join(map(_shown, entry.so))})" if entry.so else ""
            reasons.setdefault(entry.why, []).append(f"`{entry.title}`{so}")
    for reason, titles in reasons.items():
        yield item(", ".join(titles), f"{reason}.")
    yield ""


def _shown(value: object) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"

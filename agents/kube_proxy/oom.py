"""How soon the process is killed when memory is short (proc_pid_oom_score_adj(5))."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nsxdp.logs import get_logger
from nsxdp_agents.kube_proxy.options import Options

__all__ = ["set_oom_score"]

log = get_logger(__name__)

_FILE: Final = Path("/proc/self/oom_score_adj")


def set_oom_score(score: int) -> None:
    """Set this process's; who may not make it lower goes on without, and without a word if it is
    only the default that can't be set.
    """
    try:
        if int(_FILE.read_text()) != score:
            _FILE.write_text(str(score))
    except (OSError, ValueError) as error:
        tell = log.debug if score == Options().oom_score_adj else log.warning
        tell("oom_score_adj stays as it is", wanted=score, reason=str(error))

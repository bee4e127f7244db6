"""/debug/pprof: what the process does, under the paths that kube-proxy has, but as text.

``/debug/pprof/goroutine`` shows where each of asyncio's tasks waits; ``/debug/pprof/profile`` looks
at the process for some seconds (``?seconds=5``), and tells the functions in which the time went;
``/debug/pprof/heap`` counts the objects that there are, by their types.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import io
import pstats
from collections import Counter
from typing import Final

from aiohttp import web

__all__ = ["profiling"]

_SHOWN: Final = 60
_SECONDS: Final = 30.0
_LONGEST: Final = 300.0


def profiling() -> list[web.RouteDef]:
    """The handlers."""
    one_at_a_time = asyncio.Lock()

    async def profile(request: web.Request) -> web.Response:
        try:
            seconds = float(request.query.get("seconds", _SECONDS))
            if not 0 < seconds <= _LONGEST:
                raise ValueError
        except ValueError:
            raise web.HTTPBadRequest(text=f"seconds: must be up to {_LONGEST:g}\n") from None
        async with one_at_a_time:
            profiler = cProfile.Profile()
            profiler.enable()
            try:
                await asyncio.sleep(seconds)
            finally:
                profiler.disable()
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(_SHOWN)
        return web.Response(text=text.getvalue())

    async def tasks(_: web.Request) -> web.Response:
        text = io.StringIO()
        for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
            task.print_stack(file=text)
        return web.Response(text=text.getvalue())

    async def heap(_: web.Request) -> web.Response:
        counted = Counter(type(thing).__qualname__ for thing in gc.get_objects())
        return web.Response(
            text="".join(f"{n:10} {name}\n" for name, n in counted.most_common(_SHOWN))
        )

    return [
        web.get("/debug/pprof/profile", profile),
        web.get("/debug/pprof/goroutine", tasks),
        web.get("/debug/pprof/heap", heap),
    ]

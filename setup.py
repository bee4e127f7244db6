"""Builds the C core once, as a static library, the Cython modules over it, and the CNI plugin.

Everything else about the project is declared in pyproject.toml.
"""

import os
from functools import partial
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import LinkError
from setuptools.modified import newer_group

CORE = sorted(str(path) for path in Path("csrc").glob("*.c"))
HEADERS = sorted(
    str(path) for pattern in ("*.h", "*.def", "include/*.h") for path in Path("csrc").glob(pattern)
)
PLUGIN = sorted(str(path) for path in Path("csrc/cni").glob("*.c"))
PLUGIN_HEADERS = sorted(str(path) for path in Path("csrc/cni").glob("*.h"))
MODULES = sorted(Path("nsxdp").glob("*/*.pyx"))

FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]

COVERAGE = ["-O0", "--coverage"] if "NSXDP_COVERAGE" in os.environ else []
"""To count the core's lines: ``make coverage``."""

core = (
    "nsxdp",
    {
        "sources": CORE,
        "obj_deps": {"": HEADERS},
        "include_dirs": ["csrc/include", "csrc"],
        "cflags": [*FLAGS, *WARNINGS, *COVERAGE, "-fPIC"],
    },
)

extensions = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        include_dirs=["csrc/include"],
        extra_compile_args=FLAGS,
        extra_link_args=COVERAGE,
        depends=[*CORE, *HEADERS],
    )
    for path in MODULES
]


class BuildExt(build_ext):
    """Builds what is compiled with a core that is as new as it is, whichever command asked."""

    def run(self) -> None:
        """Build what changed of the core, then what changed of the modules and the plugin."""
        self.run_command("build_clib")
        super().run()
        self._build_plugin(self.get_finalized_command("build_clib").build_clib)

    def _build_plugin(self, core_directory: str) -> None:
        """Build nsx-cni, which lies beside the module that installs it."""
        package = Path("node_agent", "cni")
        place = Path("agents") if self.inplace else Path(self.build_lib, "nsxdp_agents")
        directory = place / package
        library = str(Path(core_directory, "libnsxdp.a"))
        made_of = [*PLUGIN, *PLUGIN_HEADERS, *HEADERS, library, "setup.py"]
        if not (self.force or newer_group(made_of, str(directory / "nsx-cni"))):
            return
        objects = self.compiler.compile(
            PLUGIN,
            output_dir=self.build_temp,
            include_dirs=["csrc/include", "csrc"],
            extra_postargs=[*FLAGS, *WARNINGS, *COVERAGE],
        )
        link = partial(
            self.compiler.link_executable,
            objects,
            "nsx-cni",
            output_dir=str(directory),
            libraries=["nsxdp"],
            library_dirs=[core_directory],
        )
        if COVERAGE:
            link(extra_postargs=COVERAGE)
            return
        # It is put on nodes that may have another libc, and nothing is to be loaded before it runs.
        try:
            link(extra_postargs=["-s", "-static-pie"])
        except LinkError:  # there is no libc.a
            link(extra_postargs=["-s"])


setup(
    cmdclass={"build_ext": BuildExt},
    libraries=[core],
    ext_modules=cythonize(
        extensions,
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
)

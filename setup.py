"""Builds the C core once, as a static library, and the Cython modules over it.

Everything else about the project is declared in pyproject.toml.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = sorted(str(path) for path in Path("csrc").glob("*.c"))
HEADERS = sorted(
    str(path) for pattern in ("*.h", "*.def", "include/*.h") for path in Path("csrc").glob(pattern)
)
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
    """Builds the modules with a core that is as new as they are, whichever command asked."""

    def run(self) -> None:
        """Build what changed of the core, then what changed of the modules."""
        self.run_command("build_clib")
        super().run()


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

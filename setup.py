"""Builds the Cython kernels; every fact about the package is in pyproject.toml.

Build switches (environment variables):
    TOPIS_DEBUG=1    bounds checks, no wrap-around tricks, initialisation checks
    TOPIS_OPENMP=0   serial build even where OpenMP is available
"""

import os
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

DEBUG = os.environ.get("TOPIS_DEBUG", "0") == "1"
OPENMP_WANTED = os.environ.get("TOPIS_OPENMP", "1") == "1"
UTILITY = "topis._core._cyutility"

DIRECTIVES = {
    "language_level": "3",
    "embedsignature": True,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": not DEBUG,
}
# Replay must give the same bits on x86 and ARM: no fused multiply-add, no fast-math.
COMPILE_ARGS = ["-O1" if DEBUG else "-O3", "-ffp-contract=off"]


class BuildKernels(build_ext):
    """Adds OpenMP where a test program compiles and links with it."""

    def build_extensions(self):
        """Probe the compiler once, then build every kernel with what it can do."""
        openmp = ["-fopenmp"] if OPENMP_WANTED and self._links_with("-fopenmp") else []
        for extension in self.extensions:
            extension.extra_compile_args = COMPILE_ARGS + openmp
            extension.extra_link_args = list(openmp)
        super().build_extensions()

    def _links_with(self, flag):
        source_text = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(source_text)
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=[flag]
                )
                self.compiler.link_executable(
                    objects, str(Path(folder, "probe")), extra_postargs=[flag]
                )
            except (CompileError, LinkError):
                return False
        return True


setup(
    ext_modules=cythonize(
        [
            Extension(UTILITY, ["topis/_core/_cyutility.c"]),
            Extension("topis._core.*", ["topis/_core/*.pyx"]),
        ],
        shared_utility_qualified_name=UTILITY,
        build_dir="build",
        force=DEBUG or os.environ.get("TOPIS_REBUILD", "0") == "1",
        compiler_directives=DIRECTIVES,
    ),
    cmdclass={"build_ext": BuildKernels},
)

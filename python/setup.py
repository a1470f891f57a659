"""Builds libweir and the program with meson, then the extension on top of them.

In an sdist the sources of libweir are the directory `weir`; in the repository they are the directory above.

WEIR_BUILD   a build directory of meson with these sources (without sanitizers): libweir and the program are taken from it,
             where they are brought up to date, instead of being built here
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "weir" if (HERE / "weir" / "meson.build").is_file() else HERE.parent
# What libweir and the program are made of.
PARTS = ("meson.build", "meson_options.txt", "packages.txt", "LICENSE", "include", "src", "registry", "tools", "man")
LIMITED = "0x03090000"  # the oldest Python, for Py_LIMITED_API
PACKAGES = "the packages that packages.txt names under [build] are needed (Debian: apt-get install them)"


def check():
    """Say what cannot be built, before compilers say it in other words."""
    if not (SOURCES / "meson.build").is_file():
        sys.exit(f"netflow: the sources of libweir are not in {SOURCES}: install from a whole clone of the repository, "
                 "with pip 21.3 or later, or from an sdist")
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        sys.exit("netflow: this Python is not one that the extension can be built for: it needs CPython with a GIL")


def version():
    return re.search(r'(?m)^__version__ = "([^"]+)"', (HERE / "netflow" / "__init__.py").read_text(encoding="utf-8"))[1]


def call(command, remedy):
    """Run meson or ninja."""
    program = shutil.which(command[0])
    if program is None:
        sys.exit(f"netflow: {command[0]} is not there: apt-get install meson ninja-build, or pip install meson ninja")
    status = subprocess.run([program, *command[1:]], check=False).returncode
    if status != 0:
        sys.exit(f"netflow: {command[0]} failed (status {status}): {remedy}")


class Build(build_ext):
    """libweir-full.a and weir before the extension."""

    def run(self):
        if os.environ.get("WEIR_BUILD"):
            work = pathlib.Path(os.environ["WEIR_BUILD"]).resolve()
        else:
            work = pathlib.Path(self.build_temp).resolve() / "libweir"
            work.parent.mkdir(parents=True, exist_ok=True)
            if not (work / "build.ninja").is_file():
                call(["meson", "setup", str(work), str(SOURCES), "-Doptimization=2", "-Ddebug=false", "-Dtests=false"],
                     PACKAGES)
        call(["ninja", "-C", str(work), "libweir-full.a", "weir"], "the messages above say why")
        library = str(work / "libweir-full.a")
        needed = (work / "libweir-full.txt").read_text(encoding="ascii").split()
        for extension in self.extensions:
            extension.extra_objects = [library]
            extension.depends = [*extension.depends, library]
            extension.extra_link_args = [*extension.extra_link_args, *needed]
        package = pathlib.Path(self.build_lib if not self.inplace else HERE) / "netflow"
        (package / "_bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(work / "weir", package / "_bin" / "weir")
        shutil.copyfile(SOURCES / "registry" / "python-names.tsv", package / "names.tsv")
        super().run()


class Sdist(sdist):
    """With the sources of libweir."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        for part in PARTS:
            source, target = SOURCES / part, pathlib.Path(base_dir) / "weir" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)


check()
setup(
    version=version(),
    cmdclass={"build_ext": Build, "sdist": Sdist},
    ext_modules=[Extension("netflow._weir", sorted(str(p.relative_to(HERE)) for p in (HERE / "src").glob("*.c")),
                           depends=[str(p.relative_to(HERE)) for p in (HERE / "src").glob("*.h")],
                           include_dirs=[str(SOURCES / "include"), str(HERE / "src")],
                           define_macros=[("Py_LIMITED_API", LIMITED), ("_GNU_SOURCE", None)],
                           extra_compile_args=["-std=gnu17", "-O3", "-g0", "-fvisibility=hidden",
                                               "-Werror=implicit-function-declaration"],
                           extra_link_args=["-Wl,-z,relro,-z,now", "-Wl,--strip-debug"], py_limited_api=True)],
    options={"bdist_wheel": {"py_limited_api": "cp39"}},
)

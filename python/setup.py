"""Builds libweir and the program with meson, then the extension on top of them. In an sdist the sources of libweir are the
directory `weir`; in the repository they are the directory above."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "weir" if (HERE / "weir" / "meson.build").is_file() else HERE.parent
# What libweir and the program are made of.
PARTS = ("meson.build", "meson_options.txt", "packages.txt", "LICENSE", "include", "src", "registry", "tools", "man")


def version():
    return re.search(r"version: '([^']+)'", (SOURCES / "meson.build").read_text(encoding="utf-8"))[1]


class Build(build_ext):
    """libweir-full.a and weir before the extension."""

    def run(self):
        work = pathlib.Path(self.build_temp).resolve() / "libweir"
        work.parent.mkdir(parents=True, exist_ok=True)
        if not (work / "build.ninja").is_file():
            self.call(["meson", "setup", str(work), str(SOURCES), "-Doptimization=2", "-Dtests=false"],
                      "the packages that " + str(SOURCES / "packages.txt") + " names under [build] are needed "
                      "(Debian: apt-get install them)")
        self.call(["ninja", "-C", str(work), "libweir-full.a", "weir"], "the compiler's messages say why")
        needed = (work / "libweir-full.txt").read_text(encoding="ascii").split()
        for extension in self.extensions:
            extension.extra_objects = [str(work / "libweir-full.a")]
            extension.extra_link_args = needed
        package = pathlib.Path(self.build_lib if not self.inplace else HERE) / "netflow"
        (package / "_bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(work / "weir", package / "_bin" / "weir")
        shutil.copyfile(SOURCES / "registry" / "python-names.tsv", package / "names.tsv")
        super().run()

    @staticmethod
    def call(command, remedy):
        # meson and ninja as modules of the building Python, or as programs.
        program = shutil.which(command[0])
        command = [program or command[0], *command[1:]]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            sys.exit(f"netflow: {command[0]} is not there: pip install meson ninja, or apt-get install meson ninja-build")
        except subprocess.CalledProcessError:
            sys.exit(f"netflow: {os.path.basename(command[0])} failed: {remedy}")


class Sdist(sdist):
    """With the sources of libweir."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        for part in PARTS:
            source, target = SOURCES / part, pathlib.Path(base_dir) / "weir" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)


LIMITED = "0x03090000"
options = {}
if sys.implementation.name == "cpython":
    options = {"bdist_wheel": {"py_limited_api": "cp39"}}

setup(
    version=version(),
    cmdclass={"build_ext": Build, "sdist": Sdist},
    ext_modules=[Extension("netflow._weir", sorted(str(p.relative_to(HERE)) for p in (HERE / "src").glob("*.c")),
                           depends=[str(p.relative_to(HERE)) for p in (HERE / "src").glob("*.h")],
                           include_dirs=[str(SOURCES / "include"), str(HERE / "src")],
                           define_macros=[("Py_LIMITED_API", LIMITED), ("_GNU_SOURCE", None)],
                           extra_compile_args=["-std=gnu17", "-O3", "-fvisibility=hidden"], py_limited_api=True)],
    options=options,
)

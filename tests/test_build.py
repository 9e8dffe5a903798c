"""The hook that compiles the convolutions while aac is built, with a compiler and a hatchling made for the tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Generic, TypeVar

import pytest

from aaccli.model import winograd

NAMES = ("hatchling", "hatchling.builders", "hatchling.builders.hooks", "hatchling.builders.hooks.plugin")


class Interface(Generic[TypeVar("T")]):
    """Hatchling's, as far as the hook sees it."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.app = SimpleNamespace(display_warning=self.warnings.append)


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Build with a compiler that is this shell script; gives the hook and what it said of the wheel."""
    interface = ModuleType("interface")
    interface.BuildHookInterface = Interface
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, f"{NAMES[-1]}.interface", interface)
    monkeypatch.delitem(sys.modules, "aaccli.model.build_winograd", raising=False)
    module = importlib.import_module("aaccli.model.build_winograd")
    assert module.LIBRARY.parent == module.SOURCE.parent == Path(module.__file__).parent
    assert module.SOURCE.is_file()
    assert module.LIBRARY == winograd.LIBRARY, "what is compiled is what is loaded"
    monkeypatch.setattr(module, "LIBRARY", tmp_path / "libwinograd.so")
    module.LIBRARY.write_text("an older one")
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")

    def build(script: str):
        (tmp_path / "cxx").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "cxx").chmod(0o755)
        monkeypatch.setenv("CXX", str(tmp_path / "cxx"))
        hook, data = module.CompileWinograd(), {"artifacts": []}
        hook.initialize("standard", data)
        return hook, data

    yield build
    del sys.modules["aaccli.model.build_winograd"]


def test_what_is_compiled_goes_into_a_wheel_of_this_platform(built, tmp_path):
    hook, data = built(f'for last; do :; done; echo "$@" > {tmp_path}/arguments; echo new > {tmp_path}/libwinograd.so')
    assert data == {
        "pure_python": False,
        "tag": "py3-none-linux_x86_64",
        "artifacts": ["/aaccli/model/libwinograd.so"],
    }
    assert hook.warnings == []
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[-3:-1] == ["-o", str(tmp_path / "libwinograd.so")]
    assert arguments[-1].endswith("winograd.cpp")
    assert {"-O3", "-shared", "-fPIC", "-fopenmp", "-mavx2", "-mfma"} <= set(arguments)
    assert "-ffast-math" not in arguments, "it would flush denormals in the whole process"
    hook.clean(["standard"])
    assert not (tmp_path / "libwinograd.so").exists()
    hook.clean(["standard"])


@pytest.mark.parametrize(
    ("script", "why"), [("echo no AVX >&2; exit 1", "did not compile: no AVX"), ("exit 3", "exit status 3")]
)
def test_without_a_compiler_the_wheel_is_pure_and_no_older_library_stays(built, tmp_path, script, why):
    hook, data = built(script)
    assert data == {"artifacts": []}
    assert not (tmp_path / "libwinograd.so").exists()
    (warning,) = hook.warnings
    assert warning.startswith("no faster convolutions, because winograd.cpp did not compile")
    assert why in warning


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "x86_64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_elsewhere_nothing_is_compiled(built, monkeypatch, tmp_path, system, machine):
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    hook, data = built("exit 1")
    assert (data, hook.warnings) == ({"artifacts": []}, [])

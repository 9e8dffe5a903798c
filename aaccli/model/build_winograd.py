"""Compiles winograd.cpp into the wheel, where there is a C++ compiler for it (hatchling's build hook).

Without one the wheel is built all the same: PyTorch's own convolutions take over.
"""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path(__file__).with_name("winograd.cpp")
LIBRARY = SOURCE.with_name("libwinograd.so")  # not a module that Python would import
# No -ffast-math: GCC would link code that makes the whole process flush denormals; the kernels do not need it.
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp", "-mavx2", "-mfma")


class CompileWinograd(BuildHookInterface[Any]):
    """Adds the library to the wheel, which is then for this platform, and for any Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; ``version`` is "standard" or "editable"."""
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            return  # where nobody has measured what it gains
        LIBRARY.unlink(missing_ok=True)  # an older one must not outlive a failure
        command = [os.environ.get("CXX", "c++"), *FLAGS, "-o", str(LIBRARY), str(SOURCE)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            self.app.display_warning(f"no faster convolutions, because {SOURCE.name} did not compile: {why.strip()}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        build_data["artifacts"].append(f"/aaccli/model/{LIBRARY.name}")

    def clean(self, versions: list[str]) -> None:
        """Remove what was compiled."""
        LIBRARY.unlink(missing_ok=True)

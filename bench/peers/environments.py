"""A virtual environment per peer, from the package registry, kept for the next run."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.base import Unavailable

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ai3-datafactory" / "bench"


@dataclass(frozen=True, slots=True)
class PeerEnvironment:
    """*packages* installed below *folder*, in an environment that shares nothing with the service's."""

    folder: Path
    packages: Sequence[str]

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def install(self) -> None:
        stamp, contents = self.folder / "installed", "\n".join(self.packages)
        if stamp.exists() and stamp.read_text() == contents:
            return
        print(f"installing {' '.join(self.packages)} below {self.folder}", flush=True)
        venv.create(self.folder, with_pip=True, clear=True, symlinks=True)
        pip = [self.python, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *self.packages], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Unavailable(done.stderr.strip().rpartition("\n")[2])
        stamp.write_text(contents)

    def version(self) -> str:
        code = "import sys; from importlib.metadata import version; print(*[f'{n} {version(n)}' for n in sys.argv[1:]])"
        names = [package.partition("[")[0] for package in self.packages]
        return subprocess.run([self.python, "-c", code, *names], capture_output=True, text=True).stdout.strip()


def this_environment(*names: str) -> str:
    """Versions of packages of the service's own environment."""
    return PeerEnvironment(Path(sys.prefix), names).version()

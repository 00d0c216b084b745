"""Two packages bring a module named multipart; ours is the one of the package with that name.

python-multipart, which the MCP library requires, has a folder multipart/ whose code loads multipart.py where there is
one. Neither package has a file of the other, so it does not matter which is installed last.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import files, version


def test_the_module_multipart_is_that_of_the_package_multipart() -> None:
    code = "import multipart, sys; print(multipart.__version__, multipart.__file__.endswith('/multipart.py'))"
    for first in ("", "import python_multipart; ", "import mcp; "):
        done = subprocess.run([sys.executable, "-W", "error", "-c", first + code], capture_output=True, text=True)
        assert done.stdout.split() == [version("multipart"), "True"], done.stderr


def test_neither_package_installs_a_file_over_the_others() -> None:
    ours, others = ({str(file) for file in files(name) or ()} for name in ("multipart", "python-multipart"))
    assert "multipart.py" in ours and "multipart/__init__.py" in others
    assert not ours & others

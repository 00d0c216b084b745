"""The one place where the parts are joined.

parts.py     what a process is made of: Runtime
opening.py   the parts, joined: open_runtime
configs.py   from the settings to what each part wants to know of them
moving.py    the two databases of a move: open_move
memory.py    a bound on what a process takes: limit_memory
"""

from runtime.memory import limit_memory
from runtime.moving import open_move
from runtime.opening import open_runtime
from runtime.parts import Runtime

__all__ = ["Runtime", "limit_memory", "open_move", "open_runtime"]

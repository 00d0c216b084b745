"""One engine per process, and the two ways to use it: read() and write(). And how SQLite and Postgres differ.

engine.py      Database: units of work, migrations, room on the disk
sqlite.py      what SQLite must be taught
postgres.py    what a Postgres is told
dialects.py    what is said in other words to each
batching.py    long lists of parameters, some at a time
problems.py    what a driver says, in words that an operator can act on
repeating.py   what may be tried again
"""

from database.batching import batched
from database.dialects import epoch_now, insert_or_add, insert_or_ignore
from database.engine import Database, Kind
from database.problems import DriverError
from database.repeating import repeatable

__all__ = ["Database", "DriverError", "Kind", "batched", "epoch_now", "insert_or_add", "insert_or_ignore", "repeatable"]

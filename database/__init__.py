"""One engine per process, and the two ways to use it: read() and write(). And how SQLite and Postgres differ.

engine.py      Database: units of work, migrations, room on the disk
sqlite.py      what SQLite must be taught
postgres.py    what a Postgres is told
dialects.py    what is said in other words to each
batching.py    long lists of parameters, some at a time
problems.py    what a driver says, in words that an operator can act on
repeating.py   what may be tried again
"""

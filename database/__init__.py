"""One engine per process, used through read() and write(); and the differences of SQLite and Postgres.

engine.py      Database: units of work, migrations, disk space
sqlite.py      configuration and locking of SQLite
postgres.py    configuration of Postgres connections and transactions
dialects.py    SQL that differs between the databases
batching.py    long lists of parameters, in batches
problems.py    translates driver errors into messages for operators
repeating.py   retries of interrupted transactions
"""

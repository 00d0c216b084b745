"""From a document as it was sent to what is stored of it: checked, compared, cut into chunks. Writes nothing.

nouns.py       a document as it was sent, and as it was cut
checking.py    what may be stored
cutting.py     from a document to its chunks
rows.py        a document beside its rows: the same as what is there, and what is new
"""

from services.drafting.checking import check_line, check_name, check_new_name, checked
from services.drafting.cutting import draft, recipe_of
from services.drafting.nouns import AUTO, Draft, Limits, NewDoc
from services.drafting.rows import (
    chunk_rows,
    describe,
    describes_the_same,
    file_row,
    revision_row,
    says_the_same,
)

__all__ = [
    "AUTO",
    "Draft",
    "Limits",
    "NewDoc",
    "check_line",
    "check_name",
    "check_new_name",
    "checked",
    "chunk_rows",
    "describe",
    "describes_the_same",
    "draft",
    "file_row",
    "recipe_of",
    "revision_row",
    "says_the_same",
]

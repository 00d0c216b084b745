"""The fields of OpenAI's requests. Unknown ones are ignored, unlike ours: a newer client may send them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from api.strings import Line, Word, as_name

FEWEST_SECONDS, MOST_SECONDS = 3600, 2_592_000
"""How long a file object may be kept."""

MAX_KEYS, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512


_Key = Annotated[str, Field(max_length=MAX_KEY_CHARS), AfterValidator(as_name)]
_Text = Annotated[str, Field(max_length=MAX_VALUE_CHARS), AfterValidator(as_name)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Attributes = Annotated[
    dict[_Key, bool | Annotated[int, Field(strict=True)] | _Number | _Text], Field(max_length=MAX_KEYS)
]
Metadata = Annotated[dict[_Key, _Text], Field(max_length=MAX_KEYS)]
StoreName = Annotated[Line, Field(max_length=256)]
Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
Filename = Annotated[Line, Field(min_length=1, max_length=1000)]
MimeType = Annotated[Line, Field(max_length=255)]
FileId = Word

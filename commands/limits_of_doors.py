"""What is limited where the service speaks the APIs of others; limits_rows.py has the rest."""

from __future__ import annotations

from api import limits
from api.dify.retrieval import MOST_NAMES, MetadataConditionIn
from api.librechat.files import WAIT_SECONDS
from api.librechat.reading import MOST_FILES
from api.openai.chat import LONGEST_MESSAGE, LONGEST_SYSTEM_PROMPT, MOST_FIELDS, MOST_PARTS, ChatIn
from api.openai.embeddings import EmbeddingsIn
from api.strings import Key, Word
from commands.limit_bounds import Bound, Section, largest, of_type

_CHARS, _MB, _SECONDS = "characters", "MB", "s"

DOORS = Section(
    "APIs of others",
    (
        Bound("Body of `/v1/chat/completions`, `/v1/embeddings`", limits.MIB >> 20, "413", _MB),
        Bound("`model` of a chat, `knowledge_id` and `name` of a condition", of_type(Key), "422", _CHARS),
        Bound("`messages` of a chat", largest(ChatIn, "messages"), "422"),
        Bound("`content` of a message", LONGEST_MESSAGE, "422", _CHARS),
        Bound("The same in parts (`content`)", MOST_PARTS, "422"),
        Bound("Fields of a part (`content`)", MOST_FIELDS, "422"),
        Bound("Messages of the system together", LONGEST_SYSTEM_PROMPT, "422", _CHARS),
        Bound("`stream_options`", largest(ChatIn, "stream_options"), "422"),
        Bound("`max_completion_tokens`, `dimensions`", largest(ChatIn, "max_completion_tokens"), "422"),
        Bound("Answers to a chat (`n`)", largest(ChatIn, "n"), "422"),
        Bound("The last message, each `input`", "max_query_chars", "422"),
        Bound("`input` as a list", largest(EmbeddingsIn, "input"), "422"),
        Bound("`score_threshold`", 1, "422"),
        Bound("`conditions` of Dify's", largest(MetadataConditionIn, "conditions"), "422"),
        Bound("Several names (`name`) of a condition", MOST_NAMES, "422"),
        Bound("`role`, `input_type`, `comparison_operator`, `entity_id`", of_type(Word), "422", _CHARS),
        Bound("Body of `/v1/librechat/embed`, `/v1/librechat/text`", "max_upload_mb", "413"),
        Bound("`file_id`", "max_doc_id_chars", "422"),
        Bound("`k` of a query", "max_top_k", "422"),
        Bound("Files that LibreChat deletes at once", MOST_FILES, "422"),
        Bound(
            "Time that an upload of LibreChat's waits for a worker", WAIT_SECONDS, "503 with `Retry-After`", _SECONDS
        ),
    ),
)

"""The contextual header: what a chunk is from, put before the text that is embedded and never stored with it.

A chunk that says "it must be renewed every year" is found by a question about licences only if its vector
knows that it stands under "Licences". Pure and deterministic: the header is part of what embed_hash hashes.
"""

from __future__ import annotations

from domain import CountTokens

LONGEST_HEADER = 40
"""In tokens."""
_SEPARATOR = " > "
_LONGEST_CHARS_PER_TOKEN = 32


def header(
    title: str | None, section: tuple[str, ...], *, count_tokens: CountTokens, max_tokens: int = LONGEST_HEADER
) -> str:
    """``title > section > subsection`` on one line, of *max_tokens* tokens at most; "" where nothing is known.

    What does not fit is left out in this order: the outer headings, the title, the end of the last heading.
    """
    parts = _parts(title, section)
    while len(parts) > 1 and count_tokens(_SEPARATOR.join(parts)) > max_tokens:
        del parts[1 if len(parts) > 2 else 0]
    return _cut(_SEPARATOR.join(parts), max_tokens, count_tokens=count_tokens)


def embedded_text(span_text: str, header: str) -> str:
    """What the model is shown for a chunk. Without a header it is the chunk's text, unchanged."""
    return f"{header}\n\n{span_text}" if header else span_text


def _parts(title: str | None, section: tuple[str, ...]) -> list[str]:
    """Each part on one line, without the empty ones and without a heading that repeats the one before."""
    parts: list[str] = []
    for part in (title or "", *section):
        line = " ".join(part.split())
        if line and line not in parts[-1:]:
            parts.append(line)
    return parts


def _cut(line: str, max_tokens: int, *, count_tokens: CountTokens) -> str:
    line = line[: max_tokens * _LONGEST_CHARS_PER_TOKEN].rstrip()
    while line and count_tokens(line) > max_tokens:
        shorter = line[: len(line) * 3 // 4]
        line = (shorter.rpartition(" ")[0] or shorter).rstrip()
    return line

"""The contextual header: a chunk's title and headings, embedded in front of its text and not stored in it.

A question about licences finds the chunk "it must be renewed every year" only if its vector also covers its heading,
"Licences". Pure and deterministic: embed_hash covers the header.
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
    """Returns ``title > section > subsection`` on one line of at most *max_tokens* tokens; "" without any of them.

    If it is too long, it loses first the outer headings, then the title, then the end of the last heading.
    """
    parts = _parts(title, section)
    while len(parts) > 1 and count_tokens(_SEPARATOR.join(parts)) > max_tokens:
        del parts[1 if len(parts) > 2 else 0]
    return _cut(_SEPARATOR.join(parts), max_tokens, count_tokens=count_tokens)


def embedded_text(span_text: str, header: str) -> str:
    """Returns the text that is embedded for a chunk: the chunk's own text if there is no header."""
    return f"{header}\n\n{span_text}" if header else span_text


def _parts(title: str | None, section: tuple[str, ...]) -> list[str]:
    """Returns each part on one line, without empty parts and without repeats of the part before."""
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

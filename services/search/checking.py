"""What a question may be, the same for every door. Every refusal names the field."""

from __future__ import annotations

from dataclasses import dataclass

from domain import Mode
from errors import Invalid, ServiceError
from services.index.names import check_name
from services.search.question import Question

MAX_QUERIES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLimits:
    """What the settings allow of a question. *default_mode* is for one that names no mode."""

    top_k: int
    query_chars: int
    name_chars: int
    default_mode: Mode
    has_reranker: bool


def choose_mode(mode: Mode | None, limits: QuestionLimits, *, has_words: bool = True, has_vector: bool = False) -> Mode:
    """*mode* where it is given. A vector alone implies its nearest neighbours; with words beside it, both sides."""
    if mode is not None or not has_vector:
        return mode or limits.default_mode
    return "hybrid" if has_words else "dense"


def checked(question: Question, limits: QuestionLimits, *, field: str = "query") -> Question:
    """The same question, if it may be searched for; *field* is what the door calls its text. Raises Invalid."""
    check_place(question.place, question.embedding_version, limits)
    _check_size(question, limits)
    if question.rerank and not limits.has_reranker:
        raise Invalid(
            "This service has no reranker: set RERANK_MODEL_NAME or RERANK_BASE_URL, or leave rerank out.",
            param="rerank",
        )
    if question.vector is not None:
        _check_with_vector(question)
    _check_texts(question, limits, field)
    _check_min_score(question)
    return question


def check_place(place: tuple[str, str], embedding_version: str | None, limits: QuestionLimits) -> None:
    """Where to search. Raises Invalid."""
    names = {"tenant_id": place[0], "namespace": place[1], "embedding_version": embedding_version}
    for field, name in names.items():
        if name is not None:
            check_name(field, name, limits.name_chars)


def check_length(
    name: str, text: str, limits: QuestionLimits, *, param: str, error: type[ServiceError] = Invalid
) -> None:
    if len(text) > limits.query_chars:
        raise error(
            f"{name} has {len(text)} characters; at most {limits.query_chars} are read (MAX_QUERY_CHARS).", param=param
        )


def _check_size(question: Question, limits: QuestionLimits) -> None:
    size = question.top_k * question.group_size
    if size > limits.top_k:
        product = "top_k is" if question.group_size == 1 else "top_k times group_size is"
        raise Invalid(f"{product} {size}; at most {limits.top_k} is served (MAX_TOP_K).", param="top_k")
    if len(question.queries) > MAX_QUERIES:
        raise Invalid(
            f"queries has {len(question.queries)} questions; at most {MAX_QUERIES} are fused.", param="queries"
        )


def _check_texts(question: Question, limits: QuestionLimits, field: str) -> None:
    """A vector alone, or queries alone, make a question too."""
    is_vector_alone = question.vector is not None and question.mode == "dense"
    if question.query or not (question.queries or is_vector_alone):
        _check_text(field, question.query or "", limits)
    for number, text in enumerate(question.queries):
        _check_text(f"queries.{number}", text, limits)


def _check_text(field: str, text: str, limits: QuestionLimits) -> None:
    if not text.strip():
        raise Invalid(f"{field} is empty: say what to look for.", param=field)
    check_length(field, text, limits, param=field)


def _check_min_score(question: Question) -> None:
    if question.min_score is not None and question.min_score > question.highest_score:
        where = f"mode {question.mode}{' with several queries' if question.mode == 'keyword' else ''}"
        raise Invalid(
            f"min_score is {question.min_score:g}, but nothing scores more than 1 in {where}.", param="min_score"
        )


def _check_with_vector(question: Question) -> None:
    """Beside a vector a query is for its words, and there is one at the most."""
    mode, has_words = question.mode, question.query is not None
    if question.queries:
        raise Invalid("A vector is searched with one query beside it at the most: leave queries out.", param="queries")
    if has_words and mode != "hybrid":
        raise Invalid(
            f"Mode {mode} looks for query or for vector, not for both: leave one out, or send mode hybrid.",
            param="query",
        )
    if not has_words and (mode != "dense" or question.rerank):
        raise Invalid(
            "A vector has no words: it is searched with mode dense, and not reranked, unless query has words beside "
            "it (mode hybrid).",
            param="vector",
        )

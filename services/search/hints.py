"""Says why a search found nothing, or little. Costs nothing where it found enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from domain import Ids
from models import Doc, DocStatus, Project, Revision
from services.search.fusing import RankedList, fuse
from services.search.question import Hint, Passage, Question
from text.filters import BUILT_IN, METADATA, All, Condition, Exists, Filter, conditions
from text.words import query_words

MOST_COUNTED = 1000
DOCS_WITH_KEYS = 50
WORDS_NAMED = 5
NOTHING_PUBLISHED = Hint("nothing_published", "Nothing was published in this namespace yet.")

Matches = Callable[[Filter], Ids]
"""The chunks that a filter matches."""


def hints(
    session: Session,
    project: Project,
    question: Question,
    lists: Sequence[RankedList],
    passages: Sequence[Passage],
    matches: Matches,
) -> tuple[Hint, ...]:
    """To a caller who may see a part of the namespace they speak of nothing else."""
    if len(passages) >= question.top_k:
        return ()
    if question.visibility is None:
        reasons = [] if passages else list(_reasons(session, project, question, lists, matches))
        return (*reasons, *processing(session, project))
    if passages:
        return ()
    if not len(matches(question.visibility)):
        return (NOTHING_PUBLISHED,)
    visibility = question.visibility
    return tuple(_reasons(session, project, question, lists, lambda filters: matches(All((visibility, filters)))))


def processing(session: Session, project: Project) -> Iterator[Hint]:
    """Documents that were accepted and cannot be found yet. The literal lets the index of those not ready be used."""
    waiting = select(Doc.doc_id).where(
        Doc.team_id == project.team_id,
        Doc.project_id == project.namespace_id,
        Doc.status.in_([DocStatus.UPLOADED, DocStatus.PROCESSING]),
        Doc.status != literal_column("'ready'"),
        Doc.deleted_at.is_(None),
    )
    count = session.scalar(select(func.count()).select_from(waiting.limit(MOST_COUNTED).subquery()))
    if count:
        documents = "1 document" if count == 1 else f"{count} documents"
        some = f"{MOST_COUNTED} or more documents" if count == MOST_COUNTED else documents
        yield Hint("processing", f"{some} of this namespace cannot be found before a worker is done with them.")


def _reasons(
    session: Session, project: Project, question: Question, lists: Sequence[RankedList], matches: Matches
) -> Iterator[Hint]:
    best = fuse(lists, question.fusion)
    if best and question.min_score is not None:
        message = f"The best chunk has score {best[0][1]:.3f}, below min_score {question.min_score:g}."
        yield Hint("below_min_score", message)
        return
    if question.filters is not None and not len(matches(question.filters)):
        suggests = question.visibility is None
        yield from _about_filter(session, project, question.filters, matches, suggests=suggests)
    elif question.mode == "keyword":
        yield _about_words(question)


def _about_filter(
    session: Session, project: Project, filters: Filter, matches: Matches, *, suggests: bool
) -> Iterator[Hint]:
    keys = dict.fromkeys(condition.key for condition in conditions(filters))
    unknown = [key for key in keys if not len(matches(Condition(key, Exists())))]
    known = _known_keys(session, project) if unknown and suggests else []
    for key in unknown:
        nearest = get_close_matches(key.removeprefix(f"{METADATA}."), known, n=1)
        did_you_mean = f": did you mean {nearest[0]!r}?" if nearest else "."
        yield Hint("unknown_filter_key", f"No document here has the field {key!r} that filters name{did_you_mean}")
    if not unknown:
        yield Hint("no_match_of_filter", "No document here matches the filters.")


def _about_words(question: Question) -> Hint:
    words = list(dict.fromkeys(word for text in question.texts for word in query_words(text)))
    if not words:
        message = "The question has no letter and no digit, and mode keyword looks for words alone."
        return Hint("no_words", message)
    named = ", ".join(repr(word) for word in words[:WORDS_NAMED])
    among = " that matches the filters" if question.filters is not None else ""
    several = f"any of the words {named}" if len(words) > 1 else f"the word {named}"
    more = f" (and {len(words) - WORDS_NAMED} more)" if len(words) > WORDS_NAMED else ""
    return Hint("unknown_words", f"No passage{among} has {several}{more}; mode hybrid searches by meaning too.")


def _known_keys(session: Session, project: Project) -> list[str]:
    """Of the documents published last."""
    newest = (
        select(Revision.doc_metadata)
        .where(
            Revision.team_id == project.team_id,
            Revision.project_id == project.id,
            Revision.status == literal_column("'live'"),
        )
        .order_by(Revision.published_seq.desc())
        .limit(DOCS_WITH_KEYS)
    )
    return sorted({key for metadata in session.scalars(newest) for key in metadata} | BUILT_IN)

"""`manage.py eval`: files in; tables, a picture and a file of rankings out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from errors import Invalid
from services.evaluation.evaluating import Comparison, EvaluationRequest, Report
from services.evaluation.measuring import MEASURES, TEST
from services.evaluation.ranking import MODES
from text.judgements import read_qrels, read_queries, read_runs, write_runs

PICTURES = (".png", ".svg")
INCHES = (8.0, 4.5)
SMALLEST_P = 0.001

Read = TypeVar("Read")
Table = tuple[list[str], Sequence[tuple[object, ...]]]


def read_evaluation(
    place: tuple[str, str],
    *,
    queries: Path,
    qrels: Path,
    modes: Sequence[str] | None,
    embedding_version: str | None,
    against: Path | None,
) -> EvaluationRequest:
    """Raises Invalid, naming the file, where one cannot be read. Earlier rankings are named after their file."""
    earlier = read_file(against, read_runs) if against else {}
    return EvaluationRequest(
        *place,
        queries=read_file(queries, read_queries),
        qrels=read_file(qrels, read_qrels),
        modes=modes or MODES[:1],
        embedding_version=embedding_version,
        earlier={f"{against.name}: {tag}": run for tag, run in earlier.items()} if against else {},
    )


def check_outputs(*, plot: Path | None, save: Path | None) -> None:
    """Raises Invalid, before the long work starts."""
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise Invalid(f"--plot {plot} must end in {' or '.join(PICTURES)}.")
    for path in (plot, save):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            reason = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
            raise Invalid(f"{path} cannot be written: {reason}.")


def tables(report: Report) -> Iterator[Table]:
    """The figures of each setting; then, if there are several, their differences from the first."""
    rows = [(each.mode, *(f"{value:.4f}" for value in each.figures.values())) for each in report.settings]
    yield ["", *MEASURES], rows
    names = list(dict.fromkeys(each.mode for each in report.comparisons))
    compared = [
        (
            f"{name} - {report.settings[0].mode}",
            *(_difference(each) for each in report.comparisons if each.mode == name),
        )
        for name in names
    ]
    if compared:
        yield ["difference (p)", *MEASURES], compared


def remarks(report: Report) -> Iterator[str]:
    exact = "exact" if report.is_exact else "by a graph"
    yield f"{len(report.judged.queries)} queries; searched {report.embedding_version}, seq {report.seq}, {exact}"
    if report.comparisons:
        yield f"p: {TEST}; not corrected for several comparisons"
    for note in report.notes:
        yield f"note: {note}"


def save(report: Report, path: Path) -> None:
    """The rankings, as a TREC run that --against reads."""
    runs = {each.mode: each.run for each in report.settings}
    with writing(path):
        path.write_text("".join(write_runs(runs)), encoding="utf-8")


def plot(report: Report, path: Path) -> None:
    """A group of bars for each measure, a bar for each setting, as high as the mean."""
    from matplotlib.figure import Figure

    figure = Figure(INCHES, layout="constrained")
    axes = figure.add_subplot(ylim=(0, 1.08), title=f"{len(report.judged.queries)} queries")
    width = 0.8 / len(report.settings)
    patches = []
    for number, setting in enumerate(report.settings):
        places = [group + width * (number - (len(report.settings) - 1) / 2) for group in range(len(MEASURES))]
        bars = axes.bar(places, list(setting.figures.values()), 0.95 * width)
        axes.bar_label(bars, fmt="%.3f", fontsize="small")
        patches.append(bars.patches[0])
    axes.set_xticks(range(len(MEASURES)), list(MEASURES))
    axes.set_ylabel("mean")
    names = [f" {each.mode}" for each in report.settings]  # a name that begins with _ would be left out
    for text in figure.legend(patches, names, loc="outside lower center", ncols=3).get_texts():
        text.set_parse_math(False)  # a name may contain a dollar sign
    with writing(path):
        figure.savefig(path)


def read_file(path: Path, parse: Callable[[str], Read]) -> Read:
    try:
        return parse(path.read_bytes().decode())
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8.") from error
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}.") from error


def _difference(compared: Comparison) -> str:
    chance = "-" if compared.p_value is None else f"{compared.p_value:.3f}"
    return f"{compared.difference:+.4f} ({f'<{SMALLEST_P}' if chance == '0.000' else chance})"

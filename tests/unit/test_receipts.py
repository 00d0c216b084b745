"""Receipts of erasures: whatever is changed in one, or taken out of the chain, is noticed without the service."""

from __future__ import annotations

import copy
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domain import Json
from errors import Invalid
from services.erasure.names import NameKeys, as_keys
from services.erasure.receipts import (
    FIRST,
    OUT_OF_SCOPE,
    ReceiptSigner,
    digest_of,
    fingerprint,
    verify_ledger,
    verify_receipt,
)


def content(number: int) -> Json:
    stores = [{"store": "chunks", "found": 3, "erased": 3, "left": 0, "verified": "counted again"}]
    scope = {"tenant": "ab" * 16, "namespace": None, "documents": 1, "document_names": ["cd" * 16]}
    return {
        "format": 1,
        "id": f"erasure-{number}",
        "reason": None,
        "requested_at": "2026-11-30T20:00:00+00:00",
        "scope": scope,
        "stores": stores,
        "search": {"searches": 1, "hits": 0},
        "out_of_scope": list(OUT_OF_SCOPE),
    }


def chain(signer: ReceiptSigner, count: int) -> Json:
    receipts: list[Json] = []
    for number in range(1, count + 1):
        previous = digest_of(receipts[-1]) if receipts else FIRST
        receipts.append(signer.sign({**content(number), "number": number, "previous": previous}))
    head = signer.sign({"number": count, "digest": digest_of(receipts[-1]) if receipts else FIRST})
    return {"receipts": receipts, "head": head}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))
    else:
        yield path


def changed(value: Any) -> list[Any]:
    """The value with one character changed, at its beginning and at its end."""
    if isinstance(value, str) and value:
        other: Callable[[str], str] = lambda character: "B" if character == "A" else "A"  # noqa: E731
        return [other(value[0]) + value[1:], value[:-1] + other(value[-1])]
    return [1 if value in (0, None, "") else 0]


def test_one_changed_character_in_any_field_is_noticed(tmp_path: Path) -> None:
    signer = ReceiptSigner(tmp_path / "key")
    ledger = chain(signer, 1)
    assert verify_ledger(ledger) == 1
    for path in leaves(ledger):
        *above, last = path
        for value in changed(_at(ledger, path)):
            copied = copy.deepcopy(ledger)
            _at(copied, tuple(above))[last] = value
            with pytest.raises(Invalid):
                verify_ledger(copied)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_receipt_that_is_taken_out_of_the_chain_is_noticed(tmp_path: Path, number: int) -> None:
    ledger = chain(ReceiptSigner(tmp_path / "key"), 3)
    assert verify_ledger(ledger) == 3
    del ledger["receipts"][number]
    with pytest.raises(Invalid):
        verify_ledger(ledger)


def test_a_receipt_of_another_key_is_not_the_operators(tmp_path: Path) -> None:
    own, foreign = ReceiptSigner(tmp_path / "own"), ReceiptSigner(tmp_path / "foreign")
    receipt = own.sign(content(1))
    for key in (receipt["public_key"], fingerprint(receipt["public_key"])):
        verify_receipt(receipt, public_key=key)
        with pytest.raises(Invalid, match="another key"):
            verify_receipt(foreign.sign(content(1)), public_key=key)


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    signer = ReceiptSigner(tmp_path / "key")
    first, second = signer.sign({}), ReceiptSigner(tmp_path / "key").sign({})
    assert first == second
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert ReceiptSigner(tmp_path / "none", secret=(tmp_path / "key").read_text().strip()).sign({}) == first
    with pytest.raises(Invalid, match="32 bytes"):
        ReceiptSigner(tmp_path / "none", secret="abc").sign({})


@pytest.mark.parametrize(
    "content_", [{}, {"receipts": []}, {"receipts": 3, "head": {}}, {"head": {}, "receipts": [{}]}]
)
def test_what_is_no_receipt_is_named_so(content_: Json) -> None:
    with pytest.raises(Invalid):
        verify_ledger(content_)
    with pytest.raises(Invalid):
        verify_receipt(content_)


def test_names_are_keyed_and_never_meet() -> None:
    keys, others = NameKeys(b"1" * 32), NameKeys(b"2" * 32)
    names = {keys.document("a", "b", "c"), keys.document("a", "b\x00c", ""), others.document("a", "b", "c")}
    assert len(names) == 3
    assert keys.tenant("a") != keys.namespace("a", "")
    assert as_keys(b"".join(sorted(names))) == sorted(names)
    assert "document" not in json.dumps([each.hex() for each in names])

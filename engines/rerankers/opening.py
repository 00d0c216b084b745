"""Opens the reranker that a configuration names."""

from __future__ import annotations

from dataclasses import dataclass, field

from engines.rerankers.base import Reranker
from engines.rerankers.cross_encoder import CrossEncoderReranker
from engines.rerankers.remote_reranker import RemoteReranker, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerConfig:
    """With a *base_url* the model runs there. *depth* candidates are reranked within *timeout_seconds*, or none."""

    model_name: str = ""
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    shape: Shape = "tei"
    depth: int = 50
    timeout_seconds: float = 5.0

    @property
    def is_set(self) -> bool:
        return bool(self.model_name or self.base_url)


def open_reranker(config: RerankerConfig) -> Reranker:
    """Blocks while weights are downloaded and loaded. Raises RerankerUnavailable."""
    if config.base_url:
        return RemoteReranker(
            config.base_url,
            shape=config.shape,
            model=config.model_name,
            api_key=config.api_key,
            timeout_seconds=config.timeout_seconds,
        )
    return CrossEncoderReranker(config.model_name)

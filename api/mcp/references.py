"""How an assistant names a document: the id that a search returns is what fetch takes. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

from domain import Json

SCHEME = "datafactory://"
TEMPLATE = f"{SCHEME}{{namespace}}/{{doc_id}}"


class DocReference(NamedTuple):
    """``namespace/doc_id``. A namespace with a slash in its name is percent-encoded; a doc_id stands as it is."""

    namespace: str | None
    doc_id: str

    @classmethod
    def parse(cls, text: str) -> DocReference:
        """Without a slash it is a doc_id alone."""
        namespace, slash, doc_id = text.partition("/")
        return cls(unquote(namespace), doc_id) if slash else cls(None, text)

    def __str__(self) -> str:
        name = (self.namespace or "").replace("%", "%25").replace("/", "%2F")
        return f"{name}/{self.doc_id}"

    @classmethod
    def of_uri(cls, uri: str) -> DocReference | None:
        """None: it is no URI of a document."""
        namespace, slash, doc_id = uri.removeprefix(SCHEME).partition("/")
        return cls(unquote(namespace), unquote(doc_id)) if uri.startswith(SCHEME) and slash else None

    @property
    def uri(self) -> str:
        return f"{SCHEME}{quote(self.namespace or '', safe='')}/{quote(self.doc_id)}"

    def url(self, metadata: Json | None) -> str:
        """Where the document came from, else its URI."""
        source = (metadata or {}).get("url")
        return source if isinstance(source, str) else self.uri

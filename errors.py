"""What can go wrong, in the service's own words. The HTTP face decides the status of each."""

from __future__ import annotations


class ServiceError(Exception):
    """Base of every error that the service raises on purpose. The message is for whoever asked.

    *param* names the field of the request that is to blame, where there is one.
    """

    code = "error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NotFound(ServiceError):
    """There is no such thing in this tenant's namespace."""

    code = "not_found"


class Unauthenticated(ServiceError):
    """An API key is needed, and none was sent, or not one that counts."""

    code = "invalid_api_key"


class Forbidden(ServiceError):
    """The key is good, but not for this."""

    code = "forbidden"


class RateLimited(ServiceError):
    """The key, or its team, has asked too often. *seconds* from now it may ask again; *limit* is how often it may."""

    code = "rate_limited"

    def __init__(self, message: str, *, limit: int, seconds: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.seconds = seconds


class Invalid(ServiceError):
    """The request can never succeed as it stands."""

    code = "invalid_request"


class Unstorable(Invalid):
    """The database cannot hold a value of the request, and never will. *reason* is what its driver says."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The database cannot hold a value of this request: {reason}.")
        self.reason = reason


class TooLarge(ServiceError):
    """The request is over a limit that the operator can set."""

    code = "too_large"


class Conflict(ServiceError):
    """The request does not fit the state that things are in."""

    code = "conflict"


class PreconditionFailed(ServiceError):
    """If-Match or If-None-Match was not met."""

    code = "precondition_failed"


class VersionUnavailable(Conflict):
    """A namespace is indexed under an embedding version that this process cannot make vectors of."""

    code = "embedding_version_unavailable"


class VersionMismatch(Conflict):
    """The question is for another embedding version than the one that serves."""

    code = "embedding_version_mismatch"


class ModelUnavailable(ServiceError):
    """The embedding model cannot be had: no weights, no network, or a server that does not answer."""

    code = "model_unavailable"


class RerankerUnavailable(ServiceError):
    """The reranker cannot be had, or does not answer as one. Searches go on without it and say so."""

    code = "reranker_unavailable"


class EmbeddingRefused(ServiceError):
    """The embedding server refuses these texts for good; asking again would not help."""

    code = "embedding_refused"


class LlmUnavailable(ServiceError):
    """The language model's server is not there, or too busy; asking later may help."""

    code = "llm_unavailable"


class LlmFailed(ServiceError):
    """The language model's server refused the request, or what it answered is no answer."""

    code = "llm_failed"


class LlmTooSlow(ServiceError):
    """The language model's server did not answer in the time that it is given."""

    code = "llm_too_slow"


class DatabaseUnavailable(ServiceError):
    """The database cannot be opened, read or written now."""

    code = "database_unavailable"


class Interrupted(DatabaseUnavailable):
    """The database broke a transaction off and kept nothing of it: the same may be tried again at once."""


class StorageFull(ServiceError):
    """There is not enough free disk to accept more; deleting still works."""

    code = "storage_full"


class LostLease(ServiceError):
    """The job was given to another worker, or cancelled, while this one still held it."""

    code = "lost_lease"


class JobCancelled(ServiceError):
    """Somebody asked for this job to be cancelled."""

    code = "cancelled"


class WorkerStopping(ServiceError):
    """The worker was told to stop: the job goes back to the queue."""

    code = "stopping"


class GivesWay(ServiceError):
    """The job has had its share of the worker, and another tenant's waits: it goes back to the queue."""

    code = "gives_way"


class DamagedIndex(ServiceError):
    """A checkpoint's file is missing, or is not what its row says. It is never opened then."""

    code = "damaged_index"


class MissingIndex(DamagedIndex):
    """The file is not in this folder."""


class IndexStoreUnavailable(ServiceError):
    """The folder of checkpoints cannot be made or written."""

    code = "index_store_unavailable"


class Overloaded(ServiceError):
    """More is asked for than can be answered now."""

    code = "overloaded"


class Unreadable(ServiceError):
    """A file cannot be turned into text; sending it again would not help."""

    code = "unreadable_file"


class BlobStoreUnavailable(ServiceError):
    """Where raw files are kept cannot be reached, read or written."""

    code = "blob_store_unavailable"


class FetchDisabled(ServiceError):
    """The operator did not allow the service to fetch from the network."""

    code = "fetch_disabled"


class FetchFailed(ServiceError):
    """What a URL names could not be had from its server."""

    code = "fetch_failed"


class Overtaken(Exception):
    """Somebody changed what a transaction was prepared for: prepare it again. It never leaves the services."""

"""Every error that the service raises on purpose. The HTTP face decides the status of each."""

from __future__ import annotations


class ServiceError(Exception):
    """Base of all errors. The message is for the client.

    *param* names the field of the request that is wrong, if there is one.
    """

    code = "error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NotFound(ServiceError):
    """It does not exist in this tenant's namespace."""

    code = "not_found"


class Unauthenticated(ServiceError):
    """An API key is required, and none was sent, or not a valid one."""

    code = "invalid_api_key"


class Forbidden(ServiceError):
    """The key is valid, but its scopes do not allow this."""

    code = "forbidden"


class RateLimited(ServiceError):
    """The key, its team or the tenant has reached its rate limit. *limit* are allowed, again in *seconds*."""

    code = "rate_limited"

    def __init__(self, message: str, *, limit: int, seconds: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.seconds = seconds


class Invalid(ServiceError):
    """The request can never succeed as it is."""

    code = "invalid_request"


class Unstorable(Invalid):
    """The database can never store a value of the request. *reason* is the driver's message."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The database cannot store a value of this request: {reason}.")
        self.reason = reason


class TooLarge(ServiceError):
    """The request exceeds a limit that the operator can set."""

    code = "too_large"


class QuotaExceeded(TooLarge):
    """The tenant's quota of documents, chunks or bytes is used up."""

    code = "quota_exceeded"


class DailyQuotaExceeded(RateLimited):
    """The tenant's quota of embedded chunks is used up for today."""

    code = "daily_quota_exceeded"


class Conflict(ServiceError):
    """The request conflicts with the current state."""

    code = "conflict"


class Gone(ServiceError):
    """It is not kept any more, so that whoever followed it has to start again."""

    code = "gone"


class Ended(Conflict):
    """It has ended or expired, and takes nothing more: trying again does not help."""

    code = "ended"


class PreconditionFailed(ServiceError):
    """If-Match or If-None-Match was not met."""

    code = "precondition_failed"


class VersionUnavailable(Conflict):
    """A namespace is indexed under an embedding version whose vectors this process cannot compute."""

    code = "embedding_version_unavailable"


class VersionMismatch(Conflict):
    """The question requires another embedding version than the current one."""

    code = "embedding_version_mismatch"


class ModelUnavailable(ServiceError):
    """The embedding model is not available: no weights, no network, or a server that does not answer."""

    code = "model_unavailable"


class RerankerUnavailable(ServiceError):
    """The reranker is not available, or its answer is invalid. Searches continue without it and say so."""

    code = "reranker_unavailable"


class EmbeddingRefused(ServiceError):
    """The embedding server refuses these texts for good; a retry would not help."""

    code = "embedding_refused"


class LlmUnavailable(ServiceError):
    """The language model's server is unreachable or too busy; a later retry may help."""

    code = "llm_unavailable"


class LlmFailed(ServiceError):
    """The language model's server refused the request, or its answer is invalid."""

    code = "llm_failed"


class LlmTooSlow(ServiceError):
    """The language model's server did not answer in time."""

    code = "llm_too_slow"


class DatabaseUnavailable(ServiceError):
    """The database cannot be opened, read or written now."""

    code = "database_unavailable"


class Interrupted(DatabaseUnavailable):
    """The database rolled a transaction back: it may be retried at once."""


class StorageFull(ServiceError):
    """There is not enough free disk space to accept more; deleting still works."""

    code = "storage_full"


class LostLease(ServiceError):
    """The job was given to another worker, or cancelled, while this one still held it."""

    code = "lost_lease"


class JobCancelled(ServiceError):
    """Somebody asked for this job to be cancelled."""

    code = "cancelled"


class WorkerStopping(ServiceError):
    """The worker is stopping: the job goes back to the queue."""

    code = "stopping"


class GivesWay(ServiceError):
    """The job has used up its slice, and another tenant's waits: it goes back to the queue."""

    code = "gives_way"


class DamagedIndex(ServiceError):
    """A checkpoint's file is missing, or does not match its row. It is then never opened."""

    code = "damaged_index"


class MissingIndex(DamagedIndex):
    """The file is not in this folder."""


class IndexStoreUnavailable(ServiceError):
    """The folder of checkpoints cannot be created or written."""

    code = "index_store_unavailable"


class Overloaded(ServiceError):
    """The service is overloaded: try again later."""

    code = "overloaded"


class Unreadable(ServiceError):
    """A file cannot be converted to text; sending it again would not help."""

    code = "unreadable_file"


class BlobStoreUnavailable(ServiceError):
    """The blob store cannot be reached, read or written."""

    code = "blob_store_unavailable"


class DamagedBackup(ServiceError):
    """A part of a backup is missing, or differs from its manifest."""

    code = "damaged_backup"


class DamagedExport(ServiceError):
    """The file of an export is cut short, or differs from its manifest."""

    code = "damaged_export"


class FetchDisabled(ServiceError):
    """The operator did not allow the service to fetch from the network."""

    code = "fetch_disabled"


class FetchFailed(ServiceError):
    """The server of a URL did not deliver the document."""

    code = "fetch_failed"


class Overtaken(Exception):
    """The state that a transaction was prepared for has changed: prepare it again. It never leaves the services."""

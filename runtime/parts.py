"""What a process is made of."""

from __future__ import annotations

from dataclasses import dataclass

from database import Database
from job_queue import JobQueue
from services.accounts import AccountService
from services.api_keys import KeyService
from services.asking import AskingService
from services.authentication import Authenticator
from services.browsing import BrowsingService
from services.diagnosing import DiagnosingService
from services.documents import DocumentService
from services.embedding import EmbeddingService
from services.evaluating import EvaluatingService
from services.fetching import FetchService
from services.idempotency import IdempotencyService
from services.indexing import IndexingService
from services.ingesting import IngestingService
from services.ingesting_files import FileIngestingService
from services.jobs import JobService
from services.observing import ObservingService
from services.pending_blobs import PendingBlobs
from services.query_executor import QueryExecutor
from services.query_log import QueryLog
from services.rate_limits import FailureLimiter, RateLimiter
from services.search import SearchService
from services.searching.reranking import RerankingService
from services.uploading import UploadService
from services.usage import UsageService
from services.verifying import VerifyingService
from services.versions import VersionService
from settings import Settings


@dataclass(frozen=True)
class Runtime:
    """What one process holds open. Made by open_runtime, handed on, never looked up."""

    settings: Settings
    database: Database
    queue: JobQueue
    embedding: EmbeddingService
    documents: DocumentService
    uploads: UploadService
    fetching: FetchService
    pending_blobs: PendingBlobs
    browsing: BrowsingService
    ingesting: IngestingService
    indexing: IndexingService
    jobs: JobService
    searching: SearchService
    reranking: RerankingService
    questions: QueryExecutor
    authentication: Authenticator
    accounts: AccountService
    keys: KeyService
    rate_limits: RateLimiter
    login_failures: FailureLimiter
    asking: AskingService
    query_log: QueryLog
    usage: UsageService
    evaluating: EvaluatingService
    idempotency: IdempotencyService
    files: FileIngestingService
    observing: ObservingService
    diagnosing: DiagnosingService
    verifying: VerifyingService
    versions: VersionService

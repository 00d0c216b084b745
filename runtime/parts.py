"""What a process is made of."""

from __future__ import annotations

from dataclasses import dataclass

from database import Database
from job_queue import JobQueue
from services.accounts.api_keys import KeyService
from services.accounts.authentication import Authenticator
from services.accounts.rate_limits import FailureLimiter, RateLimiter
from services.accounts.teams import AccountService
from services.answers.asking import AskingService
from services.answers.query_log import QueryLog
from services.answers.usage import UsageService
from services.evaluation.evaluating import EvaluatingService
from services.index.embedding import EmbeddingService
from services.index.indexing import IndexingService
from services.index.verifying import VerifyingService
from services.index.versions import VersionService
from services.ingest.browsing import BrowsingService
from services.ingest.documents import DocumentService
from services.ingest.fetching import FetchService
from services.ingest.ingesting import IngestingService
from services.ingest.jobs import JobService
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.uploading import UploadService
from services.operations.diagnosing import DiagnosingService
from services.operations.folders import FileIngestingService
from services.operations.idempotency import IdempotencyService
from services.operations.observing import ObservingService
from services.search.executor import QueryExecutor
from services.search.reranking import RerankingService
from services.search.searching import SearchService
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

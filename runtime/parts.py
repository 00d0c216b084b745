"""The parts of a process, wing by wing. Each wing's module turns settings into its part; opening.py joins them."""

from __future__ import annotations

from dataclasses import dataclass

from database.engine import Database
from engines.blobs.base import BlobStore
from engines.extraction.extractor import Extractor
from engines.keywords.base import KeywordStore
from engines.vectors.base import VectorStore
from job_queue import JobQueue
from services.accounts.api_keys import KeyService
from services.accounts.authentication import Authenticator
from services.accounts.deriving import DerivingService
from services.accounts.rate_limits import FailureLimiter, RateLimiter
from services.accounts.sessions import SessionService
from services.accounts.teams import AccountService
from services.answers.asking import AskingService
from services.answers.query_log import QueryLog
from services.answers.usage import UsageService
from services.erasure.erasing import ErasingService
from services.erasure.ledger import ErasureLedger
from services.erasure.purging import PurgingService
from services.erasure.requests import ErasureService
from services.evaluation.evaluating import EvaluatingService
from services.evaluation.shadowing import Shadowing
from services.evaluation.version_comparing import ComparingService
from services.events.feed import EventFeed
from services.events.reading import EventReader
from services.index.embedding import EmbeddingService
from services.index.index_versions import IndexVersionService
from services.index.indexing import IndexingService
from services.index.publishing import Publisher
from services.index.quotas import QuotaService
from services.index.verifying import VerifyingService
from services.index.version_building import VersionBuilder
from services.index.versions import VersionService
from services.ingest.browsing import BrowsingService
from services.ingest.deleting import DeletingService
from services.ingest.describing import DescribingService
from services.ingest.documents import DocumentService
from services.ingest.fetching import FetchService
from services.ingest.ingesting import IngestingService
from services.ingest.jobs import JobService
from services.ingest.mirror_building import MirrorBuilding
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.previewing import PreviewService
from services.ingest.retrying import RetryingService
from services.ingest.uploading import UploadService
from services.operations.audit import AuditService
from services.operations.compressing import CompressingService
from services.operations.diagnosing import DiagnosingService
from services.operations.exporting import ExportService
from services.operations.exposing import ExposingService
from services.operations.folders import FileIngestingService
from services.operations.idempotency import IdempotencyService
from services.operations.importing import ImportService
from services.operations.observing import ObservingService
from services.operations.scheduled_backups import ScheduledBackups
from services.operations.workers import WorkerService
from services.search.checking import QuestionLimits
from services.search.executor import QueryExecutor
from services.search.reranking import RerankingService
from services.search.searching import SearchService
from services.stores.batches import BatchService
from services.stores.expiring import StoreExpiry
from services.stores.files import FileService
from services.stores.store_files import StoreFileService
from services.stores.stores import StoreService
from services.stores.uploads import UploadPartsService
from services.webhooks.courier import Courier
from services.webhooks.hooks import WebhookService
from services.webhooks.outbox import HookOutbox
from settings import Settings


@dataclass(frozen=True)
class Index:
    vectors: VectorStore
    keywords: KeywordStore
    embedding: EmbeddingService
    publisher: Publisher
    indexing: IndexingService
    versions: VersionService
    index_versions: IndexVersionService
    building: VersionBuilder
    verifying: VerifyingService


@dataclass(frozen=True)
class Ingest:
    blobs: BlobStore
    extractor: Extractor
    documents: DocumentService
    browsing: BrowsingService
    pending_blobs: PendingBlobs
    uploads: UploadService
    previews: PreviewService
    fetching: FetchService
    ingesting: IngestingService
    jobs: JobService
    retrying: RetryingService
    quotas: QuotaService
    mirrors: MirrorBuilding
    deleting: DeletingService
    describing: DescribingService


@dataclass(frozen=True)
class Search:
    limits: QuestionLimits
    searching: SearchService
    reranking: RerankingService
    questions: QueryExecutor


@dataclass(frozen=True)
class Answers:
    asking: AskingService
    query_log: QueryLog
    usage: UsageService


@dataclass(frozen=True)
class Evaluation:
    evaluating: EvaluatingService
    comparing: ComparingService
    shadowing: Shadowing


@dataclass(frozen=True)
class Webhooks:
    hooks: WebhookService
    outbox: HookOutbox
    courier: Courier


@dataclass(frozen=True)
class Events:
    reader: EventReader
    feed: EventFeed
    webhooks: Webhooks


@dataclass(frozen=True)
class Accounts:
    """*are_open*: with AUTH_MODE=open, anyone who reaches the port may do everything."""

    are_open: bool
    teams: AccountService
    keys: KeyService
    deriving: DerivingService
    authentication: Authenticator
    sessions: SessionService
    rate_limits: RateLimiter
    login_failures: FailureLimiter


@dataclass(frozen=True)
class Erasing:
    requests: ErasureService
    erasing: ErasingService
    purging: PurgingService
    ledger: ErasureLedger


@dataclass(frozen=True)
class Stores:
    files: FileService
    uploads: UploadPartsService
    stores: StoreService
    store_files: StoreFileService
    batches: BatchService
    expiry: StoreExpiry


@dataclass(frozen=True)
class Operations:
    audit: AuditService
    idempotency: IdempotencyService
    folders: FileIngestingService
    workers: WorkerService
    backups: ScheduledBackups
    compressing: CompressingService
    exporting: ExportService
    importing: ImportService
    observing: ObservingService
    exposing: ExposingService
    diagnosing: DiagnosingService


@dataclass(frozen=True)
class Runtime:
    """Everything that one process holds open. Created by open_runtime and passed on, never looked up."""

    settings: Settings
    database: Database
    queue: JobQueue
    index: Index
    events: Events
    ingest: Ingest
    search: Search
    answers: Answers
    accounts: Accounts
    evaluation: Evaluation
    erasure: Erasing
    operations: Operations
    stores: Stores

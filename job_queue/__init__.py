"""The job queue: a table, a lease, and few verbs.

create_job and cancel join the caller's transaction. Every write of a worker is one statement on the condition
that the job is still that worker's, in that attempt: one that was only slow cannot overwrite its successor. A
worker that dies holds nothing but a lease, which runs out.

queue.py     the verbs: asking for work, looking at it, doing it, keeping the house
claims.py    a job in the hands of a worker: how one is taken, and the writes on that condition
leases.py    a claim that is kept alive while the work is done
"""

from job_queue.claims import CANCELLED, Claim
from job_queue.leases import Lease
from job_queue.queue import FINISHED, JobQueue

__all__ = ["CANCELLED", "FINISHED", "Claim", "JobQueue", "Lease"]

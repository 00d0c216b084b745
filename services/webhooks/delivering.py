"""Serves one webhook for a turn: makes deliveries of new events, sends what is due, records every answer."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from random import uniform
from threading import Event

from domain import DeliveryStatus, Json
from engines.web.poster import PostAnswer, Poster
from metrics import count_delivery
from models import EventRow, utc_now
from services.webhooks.outbox import DueDelivery, HookClaim, HookOutbox, TryOutcome
from services.webhooks.signing import signed_headers

PAUSES = (5, 300, 1800, *(3600 * hours for hours in (2, 5, 10, 14, 20, 24)))
"""Seconds after the first try, the second and so on; after the last one the delivery has failed."""
JITTER = 0.1
LONGEST_PAUSE_SECONDS = 86_400.0
LONGEST_HOLD_SECONDS = 300.0
HOLD_SHARE = 0.1
TURN_SECONDS = 5.0
DELIVERIES_PER_READ = 20
GONE = 410
OVERLOADED = (408, 425, 429)


@dataclass(frozen=True)
class DeliveringService:
    """The pauses are PAUSES times *pace*."""

    outbox: HookOutbox
    poster: Poster
    pace: float = 1.0

    def serve(self, claim: HookClaim, must_stop: Event) -> int:
        """Returns how many deliveries were tried. Ends with the first failure that others would share."""
        ends_at, count, position = time.monotonic() + TURN_SECONDS, 0, claim.position
        while True:
            taken = self.outbox.take_events(claim, position)
            if taken is None:
                break
            position = taken
            due = self.outbox.due(claim, limit=DELIVERIES_PER_READ)
            for delivery in due:
                answer, outcome = self._try(claim, delivery)
                count += 1
                if not self.outbox.note(claim, delivery, outcome):
                    return count
                if outcome.is_failure and _concerns_all(answer):
                    self.outbox.release(claim, hold_seconds=self._hold(claim, answer))
                    return count
                if must_stop.is_set() or time.monotonic() > ends_at:
                    break
            if not due or must_stop.is_set() or time.monotonic() > ends_at:
                break
        self.outbox.release(claim, hold_seconds=0)
        return count

    def _try(self, claim: HookClaim, delivery: DueDelivery) -> tuple[PostAnswer, TryOutcome]:
        if delivery.event is None:
            count_delivery("dropped")
            return PostAnswer(None), TryOutcome(status=DeliveryStatus.DROPPED)
        body = body_of(delivery.event, delivery)
        headers = signed_headers(
            body,
            message_id=message_id(delivery.event),
            timestamp=int(utc_now().timestamp()),
            secrets=claim.secrets,
        )
        answer = self.poster.post(claim.url, body, headers)
        outcome = self._judged(delivery, answer)
        retried = outcome.status == DeliveryStatus.PENDING
        count_delivery("retried" if retried else "gone" if outcome.is_gone else outcome.status)
        return answer, outcome

    def _judged(self, delivery: DueDelivery, answer: PostAnswer) -> TryOutcome:
        answered: Json = {"answer_status": answer.status, "answer_excerpt": answer.excerpt or None}
        if answer.is_success:
            return TryOutcome(status=DeliveryStatus.DELIVERED, **answered)
        error = answer.error or f"The receiver answers {answer.status}."
        is_last = delivery.attempts >= len(PAUSES) or answer.status == GONE
        if is_last:
            return TryOutcome(status=DeliveryStatus.FAILED, is_gone=answer.status == GONE, error=error, **answered)
        pause = self.pace * PAUSES[delivery.attempts] * uniform(1, 1 + JITTER)  # noqa: S311
        pause = max(pause, min(answer.retry_after_seconds or 0, LONGEST_PAUSE_SECONDS))
        return TryOutcome(status=DeliveryStatus.PENDING, pause_seconds=pause, error=error, **answered)

    def _hold(self, claim: HookClaim, answer: PostAnswer) -> float:
        """How long the receiver is left alone: the longer it fails the longer, and as long as it says."""
        since = claim.failing_since
        failing = 0.0 if since is None else (utc_now() - since).total_seconds()
        hold = max(self.pace * PAUSES[0], min(HOLD_SHARE * failing, LONGEST_HOLD_SECONDS))
        return max(hold, min(answer.retry_after_seconds or 0, LONGEST_PAUSE_SECONDS))


def message_id(event: EventRow) -> str:
    """The same on each try, and in each process. With the time, since numbers begin again after a restore."""
    return f"evt_{event.number}_{int(event.created_at.timestamp() * 1000):x}"


def body_of(event: EventRow, delivery: DueDelivery) -> bytes:
    names = {"event_id": str(event.number), "tenant_id": delivery.tenant_id, "namespace": delivery.namespace}
    timestamp = event.created_at.isoformat().replace("+00:00", "Z")
    body = {"type": event.type, "timestamp": timestamp, "data": {**names, **event.data}}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _concerns_all(answer: PostAnswer) -> bool:
    """Whether the next delivery would most probably fail too: of an answer 400 that is not known."""
    return answer.status is None or answer.status >= 500 or answer.status in OVERLOADED

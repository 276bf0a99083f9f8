"""The result of an attempt: the manifest found, checked against the order, sealed; or another try.

The manifest in the bucket is the result, never what the cluster says of the Job.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import Invalid, ObjectNotFound, VerificationError
from forensics_core.operator import sealing, statuses
from forensics_core.operator.beginning import Beginning
from forensics_core.operator.completeness import refusal
from forensics_core.operator.desk import Desk
from forensics_core.operator.ending import Ending
from forensics_core.operator.manifests import Found, Unreadable
from forensics_core.operator.outcomes import Outcome, outcome
from forensics_core.operator.reconcile import Abandon, LookAtPod, LookForManifest, Observed
from forensics_core.operator.supervision import Supervision
from forensics_core.operator.thaw import thaw

REPLACED = "the manifest is not the one that was found first"
ORDER_LOST = "The work order is gone, so the manifest cannot be checked against it."


class Conclusion:
    """Concludes attempts."""

    def __init__(
        self, desk: Desk, beginning: Beginning, ending: Ending, supervision: Supervision
    ) -> None:
        self._desk = desk
        self._beginning = beginning
        self._ending = ending
        self._supervision = supervision
        self._manifests = desk.manifests

    async def look_for_manifest(self, step: LookForManifest, observed: Observed) -> None:
        """Take the manifest, or decide what its absence means."""
        if await self.take_manifest(observed, retry=step.retry):
            return
        checkpoint = observed.checkpoint
        self._desk.followers.forget(observed.worker)
        await thaw(self._desk, checkpoint)
        if checkpoint.spec.cancel:
            await self._ending.give_up(
                observed, "Cancelled", "Cancelled before anything was stored whole."
            )
            return
        ended = outcome(observed.job, observed.worker)
        await self._without_manifest(observed, ended, retry=step.retry and ended.retry)

    async def abandon(self, step: Abandon, observed: Observed) -> None:
        """Take the Job of a worker away that does not start, and say why."""
        checkpoint = observed.checkpoint
        why = await self._supervision.why_not_started(observed)
        await self._desk.jobs.delete(
            checkpoint.status.job_name, checkpoint.metadata.namespace, missing_ok=True
        )
        late = replace(why, message=f"The collector did not start: {why.message}")
        await self._without_manifest(observed, late, retry=step.retry and why.retry)

    async def _without_manifest(self, observed: Observed, ended: Outcome, *, retry: bool) -> None:
        """Begin another attempt, or give up."""
        checkpoint = observed.checkpoint
        if retry:
            await self._desk.delete_order(checkpoint)
            await self._once_more(observed, f"{ended.reason}: {ended.message}")
            return
        attempts = checkpoint.status.attempt
        message = f"{ended.message} (attempt {attempts} of {self._desk.settings.max_attempts})"
        await self._ending.give_up(observed, ended.reason, message)

    async def _once_more(self, observed: Observed, why: str) -> None:
        """Say why the attempt failed, and begin another."""
        checkpoint = observed.checkpoint
        self._desk.say(checkpoint, "AttemptFailed", why, warning=True)
        again = LookAtPod(checkpoint.status.attempt + 1, why)
        await self._beginning.look_at_pod(again, observed)

    async def take_manifest(self, observed: Observed, *, retry: bool) -> bool:
        """Find the manifest and say so: the pod may go. Return whether there is one.

        One that was cut short by an interruption is not taken yet if another attempt may have more.
        """
        store = await self._desk.reader(observed.checkpoint)
        try:
            with self._desk.sparing(observed.checkpoint):
                async with self._manifests.find(store) as found:
                    if found is None:
                        return False
                    again = retry and await self._may_have_more(observed, found)
                    if not again:
                        await self._take(observed, found)
        except Unreadable as error:
            await self._ending.give_up(observed, "ManifestUnreadable", str(error))
            return True
        if again:
            self._desk.followers.forget(observed.worker)
            why = f"{statuses.INTERRUPTED}: the collector was stopped. What it had is stored at "
            await self._once_more(observed, why + observed.checkpoint.status.location)
        return True

    async def _may_have_more(self, observed: Observed, found: Found) -> bool:
        """Whether the capture was interrupted, and the pod is still there to be captured again."""
        if observed.checkpoint.spec.cancel or not statuses.interrupted(found.bundle):
            return False
        pod = await self._desk.pod(observed.checkpoint)
        return pod is not None and pod["metadata"]["uid"] == observed.checkpoint.status.pod_uid

    async def _take(self, observed: Observed, found: Found) -> None:
        """Say that the pod may go, once the manifest was compared with all there is to compare.

        A pod that was killed cannot be taken back: nothing unchecked may say so.
        """
        checkpoint = observed.checkpoint
        ordered = await self._desk.order(checkpoint)
        if ordered is None:
            await self._ending.give_up(observed, "OrderLost", ORDER_LOST)
            return
        wrong = await sealing.differences(self._desk, checkpoint, found, *ordered)
        if wrong:
            await self._refuse(observed, wrong)
            return
        try:
            status = statuses.captured(checkpoint, found.bundle, observed.now)
        except ValueError as error:
            raise _unfit(error) from error
        try:
            written = await self._desk.write(checkpoint, status)
        except Invalid as error:
            raise _unfit(error) from error
        self._desk.followers.forget(observed.worker)
        self._desk.say(checkpoint, "Captured", f"{status.size} stored: the pod may be killed.")
        self._observe_duration(written, observed.now)
        await self._finish(replace(observed, checkpoint=written), found)

    async def _refuse(self, observed: Observed, wrong: list[str]) -> None:
        shown = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if wrong[5:] else "")
        message = f"The evidence is not as ordered: {shown}."
        reason = refusal(wrong, cancelled=observed.checkpoint.spec.cancel)
        await self._ending.give_up(observed, reason, message)

    async def seal(self, observed: Observed) -> None:
        """Check, sign and finish a bundle whose manifest was found before."""
        sha256 = observed.checkpoint.status.manifest_sha256
        store = await self._desk.reader(observed.checkpoint)
        try:
            with self._desk.sparing(observed.checkpoint):
                async with self._manifests.find(store, sha256) as found:
                    if found is not None:
                        await self._seal_found(observed, found)
                        return
        except Unreadable as error:
            await self._ending.give_up(observed, "ManifestLost", f"It was replaced: {error}")
            return
        message = "The manifest is not stored any more."
        await self._ending.give_up(observed, "ManifestLost", message)

    async def _seal_found(self, observed: Observed, found: Found) -> None:
        checkpoint = observed.checkpoint
        ordered = await self._desk.order(checkpoint)
        if ordered is None:
            await self._without_order(observed, found)
            return
        if found.bundle.manifest_sha256 != checkpoint.status.manifest_sha256:
            wrong = [REPLACED]
        else:
            wrong = await sealing.differences(self._desk, checkpoint, found, *ordered)
        if wrong:
            await self._refuse(observed, wrong)
        else:
            await self._finish(observed, found)

    async def _without_order(self, observed: Observed, found: Found) -> None:
        """Go on after a crash between the order's end and the status: our seal says it was checked.

        It has to be over the manifest of this very attempt: whoever can write there may have put a
        sealed bundle of another one in its place. Without it nothing can be said any more.
        """
        if await self._was_checked(observed.checkpoint, found):
            await self._conclude(observed, found, sealed=True)
            return
        await self._ending.give_up(observed, "OrderLost", ORDER_LOST)

    async def _was_checked(self, checkpoint: PodCheckpoint, found: Found) -> bool:
        if not statuses.is_of(checkpoint, found.bundle):
            return False
        key = await self._desk.key()
        if key is None:
            return False
        try:
            await sealing.check_seal(await self._desk.reader(checkpoint), found.data, key)
        except (ObjectNotFound, VerificationError):
            return False
        return True

    async def _finish(self, observed: Observed, found: Found) -> None:
        try:
            sealed = await self._sign(observed.checkpoint, found)
        except VerificationError as error:
            await self._ending.give_up(observed, "NotSealed", str(error))
            return
        if sealed:
            await self._desk.delete_orders(observed.checkpoint)
        await self._conclude(observed, found, sealed=sealed)

    async def _conclude(self, observed: Observed, found: Found, *, sealed: bool) -> None:
        checkpoint = observed.checkpoint
        capture = found.bundle.statement.predicate
        status = statuses.complete(checkpoint, capture, sealed, observed.now)
        written = await self._desk.write(checkpoint, status)
        if not sealed:
            # Until now only the order could tell that the manifest is the one that was asked for.
            await self._desk.delete_orders(checkpoint)
        self._desk.metrics.stored.inc(status.bytes)
        self._desk.done(written, "Partial" if capture.partial else "Complete")
        note = f"Evidence is {'sealed' if sealed else 'stored'} at {status.location}, manifest "
        self._desk.say(checkpoint, "Complete", f"{note}sha256:{status.manifest_sha256}")

    async def _sign(self, checkpoint: PodCheckpoint, found: Found) -> bool:
        key = await self._desk.key()
        if key is None:
            return False
        destination = await self._desk.writer(checkpoint)
        store = await self._desk.reader(checkpoint)
        await sealing.seal_bundle(destination, store, found.data, key)
        return True

    def _observe_duration(self, checkpoint: PodCheckpoint, now: datetime) -> None:
        start = checkpoint.status.start_time or now
        self._desk.metrics.duration.observe((now - start).total_seconds())


def _unfit(error: Exception) -> Unreadable:
    """Return the error of a manifest that says what no status can hold, in a line."""
    return Unreadable(f"The manifest says what cannot be: {' '.join(str(error).split())[:300]}")

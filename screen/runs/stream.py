"""The stream of one run: sources in, one committed row for each of them out.

    sources ─ pool ─→ squares ─ batcher ─→ outputs ─→ rows in the ledger

Rows are committed as they come; their order is that of the listing, which the ledger holds. What was screened
before (in this folder, in an earlier night's ledger, or as another file of the same film) keeps its result.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from screen.backends import Batcher, Outputs
from screen.codes import UNREACHABLE, Reason, Status, Warn
from screen.decode import Decoded, DecodePool, Outcome
from screen.discover import PassedOver, Pause, Source, Step
from screen.errors import ScreenError
from screen.film import Identity, Unscreened
from screen.ledger import Heatmap, Inference, Known, Ledger, Row, Timing
from screen.runs.identifiers import Identifiers, IdentityFile
from screen.runs.part import Listing, Part
from screen.runs.progress import Counts, Progress
from screen.runs.stopping import Stop

_BROKEN_FROM, _BROKEN_SHARE = 20, 0.05
"""More reader errors than both, of the files that were looked at: not the files are at fault."""
_ENOUGH_TO_JUDGE = round(_BROKEN_FROM / _BROKEN_SHARE)
"""Files; of fewer, the share says little until all were looked at."""
_COMMIT_ROWS = 64
_COMMIT_SECONDS = 1.0


@dataclass(slots=True)
class Pending:
    """A row that waits for the network, and rows of the same film that wait for its result."""

    row: Row
    token: str
    timing: Timing
    twins: list["Pending"] = field(default_factory=list)


@dataclass(slots=True)
class Screening:
    """One run's stream.

    part: which sources are screened; None: all. listing: of all parts' sources, if this is one.
    before_first_result: called once, before anything new is put into the ledger.
    check_inputs: called for each file that cannot be reached, with their number in a row; raises InputError
    if nothing can be reached any more.
    """

    ledger: Ledger
    pool: DecodePool
    batcher: Batcher[Pending]
    known: Known
    part: Part | None
    identifiers: Identifiers
    identity_file: IdentityFile | None
    weights_digest: str
    retry_failed: bool
    progress: Progress
    stop: Stop
    before_first_result: Callable[[], None]
    check_inputs: Callable[[Source, int], None]
    counts: Counts = field(default_factory=Counts)
    listing: Listing = field(default_factory=Listing)
    reused_films: int = 0
    passed_over: int = 0
    read_seconds: float = 0.0
    square_seconds: float = 0.0
    hash_seconds: float = 0.0
    _decodings: int = 0
    _reader_errors: int = 0
    _fault_at: str = ""
    _in_network: dict[tuple[str, str], Pending] = field(default_factory=dict)
    _unreached: int = 0
    _uncommitted: int = 0
    _last_commit: float = 0.0
    _changed: bool = False

    def run(self, steps: Iterator[Step]) -> None:
        """Screen all sources; after a signal only what is in flight. Everything is committed in the end."""
        self.ledger.clear_listing()
        self._last_commit = time.monotonic()
        try:
            for finished in self.pool.map(self._to_decode(steps)):
                for source, outcome in finished:
                    self._decoded(source, outcome)
                self._inferred(self.batcher.finished())
                self.progress.tick(self.counts)
            self._inferred(self.batcher.flush())
            if not self.stop.signal:
                self._check_works()
        finally:
            # Also on the way out of an error: what is finished need not be done again.
            if self._changed:
                self._commit()

    def _to_decode(self, steps: Iterator[Step]) -> Iterator[Source | None]:
        """Those that have no result yet, until a signal comes; all are listed, the others settled at once.

        None while the list has nothing for us.
        """
        while not self.stop.signal:
            step = next(steps, None)
            if step is None:
                return
            if isinstance(step, PassedOver):
                self._pass_over(step)
            elif step is Pause.WAITING:
                self._finish_waiting()
                yield None
            elif isinstance(step, Source):
                place = self._place(step)
                if place is not None and self._is_new(step, place):
                    yield step
            self.progress.tick(self.counts)

    def _pass_over(self, folder: PassedOver) -> None:
        """Said for the first one: a folder of nights may hold a thousand."""
        self.passed_over += 1
        if self.passed_over == 1:
            why = "an earlier run's reports: such folders are no input"
            self.progress.event("passed_over", folder=self.identifiers.file(folder.key), why=why)

    def _finish_waiting(self) -> None:
        """Whoever hands us paths may wait for the results of those that we have."""
        if not self.pool.in_flight:
            self._inferred(self.batcher.flush())
            if self._uncommitted:
                self._commit()

    def _place(self, source: Source) -> int | None:
        """Where it is to stand; None if it is another part's."""
        if self.part is None:
            return self.counts.listed  # without gaps, though a list may name a file again
        place = self.listing.add(source.key)
        return place if self.part.has(source.key) else None

    def _is_new(self, source: Source, place: int) -> bool:
        """List it; False if it has a result, or gets one without being read."""
        file = self.identifiers.file(source.key)
        token = self.identifiers.token(source.change_token)
        # For pictures; `none` has none.
        path = None if self.identifiers.mode == "none" else source.path.absolute()
        if not self.ledger.list_file(place, file, token, path, secret=self.identifiers.hides):
            return False
        self.counts.listed += 1
        if source.problem is not None:
            self._check_reachable(source, source.problem)
            if self.identity_file is not None:
                self.identity_file.add(file, source.key, Identity(), Identity())
            self._put(self._if_known(Row(file, source.problem.status, source.problem), token), token)
        elif status := self.ledger.standing(file, token, retry_failed=self.retry_failed):
            self._count(status)
            self.counts.reused += 1
            self.reused_films += status is Status.SCREENED
        else:
            return True
        return False

    def _decoded(self, source: Source, outcome: Outcome) -> None:
        file = self.identifiers.file(source.key)
        token = self.identifiers.token(source.change_token)
        timing = Timing(outcome.read_seconds, outcome.square_seconds)
        self.read_seconds += timing.read
        self.square_seconds += timing.square
        self.hash_seconds += outcome.hash_seconds
        film = outcome.result
        self._decodings += 1
        identity = self.identifiers.identity(film.identity)
        if self.identity_file is not None:
            self.identity_file.add(file, source.key, identity, film.identity)
        row = row_from_film(file, replace(film, identity=identity))
        if isinstance(film, Decoded):
            self._unreached = 0
            self._screen(film, Pending(row, token, timing))
        else:
            self._check_reachable(source, film.reason)
            if film.reason is Reason.READER_ERROR:
                self._reader_errors += 1
                self._fault_at = film.detail
                if self.counts.reused + self._decodings >= _ENOUGH_TO_JUDGE:
                    self._check_works()
            elif self.identifiers.hides:
                row = replace(row, detail="")  # a decoder's complaint may quote a path
            self._put(self._if_known(row, token), token, timing)

    def _check_works(self) -> None:
        """Raises ScreenError if so many files met a fault of ours that the installation is broken."""
        # What has a result from before counts too: a second start looks at the failed files alone.
        files = self.counts.reused + self._decodings
        if self._reader_errors > max(_BROKEN_FROM, _BROKEN_SHARE * files):
            raise ScreenError(
                f"{self._reader_errors} of {files} files met a fault of this program, the last one "
                f"{self._fault_at}: 'screen doctor' may say what is broken; install it again, or report this"
            )

    def _if_known(self, row: Row, token: str) -> Row:
        """A failure that an earlier night had too is marked: it is nothing new to look after."""
        if row.status is Status.FAILED and self.known.has_failed(row.file, token, row.reason):
            return replace(row, warnings=(*row.warnings, str(Warn.KNOWN)))
        return row

    def _check_reachable(self, source: Source, reason: Reason) -> None:
        """Before a file is given up that could not be reached: is it this file, or everything?"""
        self._unreached = self._unreached + 1 if reason in UNREACHABLE else 0
        if self._unreached:
            self.check_inputs(source, self._unreached)

    def _screen(self, film: Decoded, pending: Pending) -> None:
        """Find the film's result, or send it through the network."""
        row = pending.row
        content = (row.identity.sop_instance_uid, row.pixel_digest)
        # Earlier nights first: whether a film is known must not hang on which of its files came first.
        if (found := self.known.find(row)) is not None:
            self.reused_films += 1
            code = Warn.KNOWN if found.same_identity else Warn.IDENTITY_DIFFERS
            known = replace(
                row,
                warnings=(*row.warnings, str(code)),
                inference=found.inference,
                listed_before=found.listed,
                decided_before=found.decided,
            )
            self.ledger.put_earlier_objects(found.objects)
            self._put(known, pending.token, pending.timing)
        elif (first := self._in_network.get(content)) is not None:
            first.twins.append(pending)
        elif (twin := self.ledger.same_content(*content)) is not None:
            self._put(replace(row, inference=twin.inference), pending.token, pending.timing)
        else:
            self._in_network[content] = pending
            self._inferred(self.batcher.add(film.square, pending))

    def _inferred(self, results: list[tuple[Pending, Outputs, int]]) -> None:
        for pending, outputs, index in results:
            inference = inference_from_outputs(outputs, index, self.weights_digest)
            self.counts.inferred += 1
            del self._in_network[pending.row.identity.sop_instance_uid, pending.row.pixel_digest]
            for each in (pending, *pending.twins):
                self._put(replace(each.row, inference=inference), each.token, each.timing)

    def _put(self, row: Row, token: str, timing: Timing | None = None) -> None:
        if not self._changed:
            self._changed = True
            self.before_first_result()
        self.ledger.put(row, token, timing)
        self._count(row.status)
        if row.status is Status.FAILED:
            self.progress.event("failed", file=row.file, reason=str(row.reason), detail=row.detail)
        self._uncommitted += 1
        if self._uncommitted >= _COMMIT_ROWS or time.monotonic() - self._last_commit >= _COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        if self.identity_file is not None:
            self.identity_file.flush()
        self.ledger.commit()
        self._uncommitted = 0
        self._last_commit = time.monotonic()

    def _count(self, status: Status) -> None:
        self.counts.done += 1
        self.counts.skipped += status is Status.SKIPPED
        self.counts.failed += status is Status.FAILED


def row_from_film(file: str, film: Decoded | Unscreened) -> Row:
    """What reading made of a file; without the network's part."""
    if isinstance(film, Unscreened):
        return Row(
            file=file,
            status=film.status,
            reason=film.reason,
            detail=film.detail,
            identity=film.identity,
            declared_chest=film.declared_chest,
        )
    return Row(
        file=file,
        status=Status.SCREENED,
        warnings=film.warnings,
        identity=film.identity,
        declared_chest=film.declared_chest,
        pixel_digest=film.pixel_digest,
        decoder=film.decoder,
        decode_policy=str(film.policy),
        geometry=film.geometry,
    )


def inference_from_outputs(outputs: Outputs, index: int, weights_digest: str) -> Inference:
    """One film's part of a batch's outputs."""
    return Inference(
        logits=tuple(float(logit) for logit in outputs.logits[index]),
        gate=float(outputs.gate[index]),
        distance=float(outputs.distance[index]),
        heatmap=Heatmap.pack(outputs.heatmap[index]),
        weights_digest=weights_digest,
    )

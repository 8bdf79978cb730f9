"""One writer a dump where there is no ``flock``: a claim that its holder renews, in a key beside the dump.

``<dump>.lease`` says who holds it and how often it was renewed. It is written by conditional writes alone (only if the key is as it was last
seen), so of two that claim a dump one succeeds. A holder renews its claim every ``renew`` seconds. Who finds a claim watches it: if it changes the
holder lives, and the newcomer is refused; if it does not for ``expire`` seconds, the holder is gone and the claim is taken over. No clocks
are compared. A holder that could not renew for ``doubt`` seconds (it was stopped, or the network was) renews before it writes again, and ends if
another has taken its claim. A holder that ran on this very machine and is no longer there is known to be gone at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import tensorstore as ts

from ..errors import UserError
from .location import NOTHING, REFUSED
from .lock import Holder, _now

logger = logging.getLogger(__name__)
SUFFIX = ".lease"
TRIES = 10  # times that a claim is written where there is none, before it is said that the store refuses it


@dataclass(frozen=True)
class Pace:
    """Seconds: between renewals, after which a holder is in doubt, after which a claim that nobody renewed is taken over, between looks."""

    renew: float = 15.0
    doubt: float = 30.0
    expire: float = 60.0
    look: float = 3.0


@dataclass(frozen=True)
class Claim:
    """What the key holds: the holder, its machine (boot and process namespace), a token of its own, and the number of renewals."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None
    purpose: str | None = None
    machine: str | None = None
    token: str | None = None
    renewed: int = 0

    @staticmethod
    def read(raw: bytes) -> Claim:
        """The claim that a key holds; what could not be read is ``None``."""
        try:
            found = json.loads(raw)
            return Claim(**{name: found.get(name) for name in Claim.__dataclass_fields__})
        except (ValueError, TypeError, AttributeError):
            return Claim()

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @property
    def holder(self) -> Holder:
        return Holder(self.pid, self.host, self.since, self.purpose)


def this_machine() -> str | None:
    """What tells this machine, since its start, and this container from all others; ``None`` where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def is_gone(claim: Claim) -> bool:
    """Whether the holder was a process of this machine that is no longer there."""
    if claim.pid is None or claim.machine is None or claim.machine != this_machine():
        return False
    try:
        os.kill(claim.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class Lease:
    """The claim on one dump.

    Args:
        kv: the key-value store that holds the key.
        key: of the claim.
        name: the dump, for messages.
        purpose: ``training``.
        instead: what the user can do if another process holds it, for the message.
        pace: how often it is renewed and looked at.
        clock: seconds that never go back.
        wait: waits for some seconds.
        gone: whether a claim's holder is known not to be there.
    """

    def __init__(
        self,
        kv: ts.KvStore,
        key: str,
        name: str,
        purpose: str,
        instead: str,
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        gone: Callable[[Claim], bool] = is_gone,
    ) -> None:
        self.kv, self.key, self.name, self.instead, self.pace = kv, key, name, instead, pace
        self._clock, self._wait, self._gone = clock, wait, gone
        self._claim = Claim(
            os.getpid(), socket.gethostname(), _now(), purpose, this_machine(), f"{uuid.uuid4().hex}", 0
        )
        self._generation: bytes | None = None
        self._taken_by: str | None = None
        self._renewed_at = 0.0
        self._mutex = threading.Lock()
        self._ended = threading.Event()

    @property
    def held(self) -> bool:
        """Whether this process holds the claim, as far as it knows."""
        return self._generation is not None and self._taken_by is None

    def acquire(self) -> None:
        """Take the claim, once nobody else holds it.

        Raises:
            UserError: another process does.
            ValueError: the store cannot be read or written.
        """
        if self.held:
            return
        seen: bytes | None = None
        since, tries = 0.0, 0
        while True:
            found = self.kv.read(self.key).result()
            generation = found.stamp.generation
            if found.state == "missing":
                if self._write(generation):
                    break
                tries += 1
                self._require_writable(tries)
                continue
            claim = Claim.read(found.value)
            if self._gone(claim):
                if self._write(generation):
                    break
                continue
            if seen is None:
                seen, since = generation, self._clock()
                logger.info(
                    f"{self.name} is claimed by {claim.holder}; waiting up to {self.pace.expire:.0f} s to see whether it still runs"
                )
            elif generation != seen:
                raise UserError(
                    f"the dump at {self.name} is in use by {claim.holder}; wait until it ends, or {self.instead}"
                )
            elif self._clock() - since >= self.pace.expire:
                logger.warning(
                    f"{claim.holder} gave no sign for {self.pace.expire:.0f} s: its claim on {self.name} is taken over"
                )
                if self._write(generation):
                    break
                continue
            self._wait(self.pace.look)
        if self.kv.write(self.key, self._claim.write(), if_equal=NOTHING).result().generation != REFUSED:
            logger.warning(
                f"the store of {self.name} does not heed conditional writes: that a second run does not record into it is up to you"
            )
            self._generation = self.kv.read(self.key).result().stamp.generation
        thread = threading.Thread(target=self._keep, name="dump-lease", daemon=True)
        thread.start()

    def _require_writable(self, tries: int) -> None:
        """A conditional write into a bucket that is not there looks as if another had been first: an unconditional one says what is wrong."""
        if self.kv.read(self.key).result().state == "missing":
            if tries >= TRIES:
                raise UserError(
                    f"the store of {self.name} refuses conditional writes, by which two writers are kept apart; choose another --record-dir"
                )
            self.kv.write(f"{self.key}.probe", b"").result()
            self.kv.write(f"{self.key}.probe", None).result()

    def _write(self, generation: bytes) -> bool:
        """Write the claim if the key is still as it was seen; whether it was written."""
        stamp = self.kv.write(self.key, self._claim.write(), if_equal=generation).result()
        if stamp.generation == REFUSED:
            found = self.kv.read(
                self.key
            ).result()  # a write that was sent again, its first answer lost, is refused as well
            if found.state == "missing" or Claim.read(found.value).token != self._claim.token:
                return False
            stamp = found.stamp
        self._generation, self._renewed_at = stamp.generation, self._clock()
        return True

    def _renew(self, older: float = 0.0) -> None:
        """Renew the claim if it was last renewed more than ``older`` seconds ago. In an outage this lasts as long as tensorstore tries."""
        with self._mutex:
            if self._generation is None or self._taken_by is not None or self._clock() - self._renewed_at < older:
                return
            self._claim = Claim(**{**asdict(self._claim), "renewed": self._claim.renewed + 1})
            if not self._write(self._generation):
                found = self.kv.read(self.key).result()
                known = found.state != "missing"  # else whoever took it has ended
                self._taken_by = str(Claim.read(found.value).holder) if known else "another process"

    def _keep(self) -> None:
        while not self._ended.wait(self.pace.renew):
            with contextlib.suppress(ValueError, OSError):  # said by `require` when it is time to write
                self._renew()

    def require(self, now: bool = False) -> None:
        """Check that the claim is still held, without a request where it was renewed lately and ``now`` is off.

        Raises:
            UserError: another process has taken it over.
            ValueError: it cannot be renewed.
        """
        if self._taken_by is None and (now or self._clock() - self._renewed_at > self.pace.doubt):
            self._renew(0.0 if now else self.pace.doubt)
        if self._taken_by is not None:
            raise UserError(
                f"{self.name} was taken over by {self._taken_by}, for this process gave no sign for {self.pace.expire:.0f} s; "
                "nothing more is recorded; end one of the two"
            )

    def release(self) -> None:
        """Give the claim up; its key is deleted if it is still this process's."""
        self._ended.set()
        if self._claim.pid != os.getpid():
            return
        if not self._mutex.acquire(timeout=self.pace.look):
            return  # a renewal does not get through: others will see that there is none
        try:
            if self.held:
                with contextlib.suppress(ValueError, OSError):
                    self.kv.write(self.key, None, if_equal=self._generation).result()
            self._generation = None
        finally:
            self._mutex.release()

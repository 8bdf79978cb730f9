"""Lines to rows of the table, on several cores, in order, in bounded memory.

The result does not depend on the number of workers nor on how the lines are cut into batches.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corpora import bpe
from corpora.dictionary import EOS
from corpora.errors import CorpusError
from corpora.passages import fingerprint, halve, is_heading

BATCH_CHARACTERS = 1 << 18
_BEFORE_POOL = 6  # batches done in this process first: a small corpus is finished before workers would have started
_IN_FLIGHT = 3  # batches a worker may have waiting: bounds the memory

Line = tuple[int, str]  # number of the document, stripped text


@dataclass(frozen=True)
class Rules:
    """What happens to a line. `row_of` is (50257,), the row of each BPE id."""

    row_of: NDArray[np.uint16]
    max_tokens: int  # BPE tokens an example may have, </s> not counted
    headings_may_repeat: bool  # a heading is kept although it is in the held-out text too
    held_out: frozenset[bytes] | None  # fingerprints that must not occur; None where the lines are held out themselves


@dataclass(frozen=True)
class Encoded:
    """One batch of examples."""

    rows: NDArray[np.uint16]  # the examples one after the other, each ending with </s>
    sizes: NDArray[np.int64]  # (example,) rows of each, </s> counted
    words: NDArray[np.int64]  # (example,) words between white space
    documents: NDArray[np.int64]  # (example,) number of its document
    fingerprints: tuple[bytes, ...]  # of the lines, where they are held out; else empty
    characters: int  # of the lines that came in
    long_lines: int  # lines that were cut into several examples
    dropped: int  # lines left out because they are in the held-out text


class Encoder:
    """Encodes batches of lines under `Rules`; lives in each worker."""

    def __init__(self, rules: Rules) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread a worker
        self.rules = rules
        self.tokenizer = bpe.load()
        self.longest = rules.max_tokens * bpe.LONGEST_TOKEN  # characters; a longer text has too many tokens for certain

    def ids(self, texts: list[str]) -> list[list[int]]:
        """BPE ids of each text."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def pieces(self, text: str) -> list[tuple[str, list[int]]]:
        """The text in pieces of at most `max_tokens` BPE ids: halved at sentence ends until each is short enough."""
        if len(text) <= self.longest:
            ids = self.ids([text])[0]
            if len(ids) <= self.rules.max_tokens:
                return [(text, ids)]
        first, second = halve(text)
        return self.pieces(first) + self.pieces(second)

    def __call__(self, lines: list[Line]) -> Encoded:
        prints: list[bytes] = []
        kept = lines
        if self.rules.held_out is None:
            prints = [
                fingerprint(text) for _, text in lines if not (self.rules.headings_may_repeat and is_heading(text))
            ]
        elif self.rules.held_out:
            kept = [line for line in lines if fingerprint(line[1]) not in self.rules.held_out]
        examples: list[list[int]] = []
        words: list[int] = []
        documents: list[int] = []
        long_lines = 0
        whole = iter(self.ids([text for _, text in kept if len(text) <= self.longest]))
        for document, text in kept:
            ids = next(whole) if len(text) <= self.longest else None
            if ids is not None and len(ids) <= self.rules.max_tokens:
                pieces = [(text, ids)]
            else:
                pieces = self.pieces(text)
                long_lines += 1
            for piece, piece_ids in pieces:
                examples.append(piece_ids)
                words.append(len(piece.split()))
                documents.append(document)
        sizes = np.fromiter((len(ids) + 1 for ids in examples), dtype=np.int64, count=len(examples))
        rows = np.full(int(sizes.sum()), EOS, dtype=np.uint16)
        is_id = np.ones(len(rows), dtype=bool)
        is_id[np.cumsum(sizes) - 1] = False
        flat = np.fromiter((index for ids in examples for index in ids), dtype=np.int64, count=int(is_id.sum()))
        rows[is_id] = self.rules.row_of[flat]
        return Encoded(
            rows=rows,
            sizes=sizes,
            words=np.asarray(words, dtype=np.int64),
            documents=np.asarray(documents, dtype=np.int64),
            fingerprints=tuple(prints),
            characters=sum(len(text) for _, text in lines),
            long_lines=long_lines,
            dropped=len(lines) - len(kept),
        )


def batches(lines: Iterable[Line], characters: int = BATCH_CHARACTERS) -> Iterator[list[Line]]:
    """Cut a stream of lines into batches of about so many characters."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line[1]) + 1
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_worker: Encoder | None = None


def _start_worker(rules: Rules) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the command itself ends the workers
    parent = multiprocessing.parent_process()

    def die_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=die_with_parent, daemon=True).start()  # kill -9 of the command leaves no worker behind
    _worker = Encoder(rules)


def _work(batch: list[Line]) -> Encoded:
    assert _worker is not None
    return _worker(batch)


def encode(lines: Iterable[Line], rules: Rules, workers: int) -> Iterator[Encoded]:
    """Encode a stream of lines in order. With more than one worker, processes are started once the stream proves long.

    Raises CorpusError when a worker dies (killed for its memory, for instance).
    """
    stream = batches(lines)
    here = Encoder(rules)
    done = 0
    while workers < 2 or done < _BEFORE_POOL:
        batch = next(stream, None)
        if batch is None:
            return
        yield here(batch)
        done += 1
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(rules,)
    )
    waiting: deque[Future[Encoded]] = deque()
    try:
        for batch in stream:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by a worker that this starts
            waiting.append(pool.submit(_work, batch))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            if len(waiting) >= workers * _IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise CorpusError("a worker process died (killed for lack of memory?); run again with --workers 1") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

"""The recording's options, shared by all tasks."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from ..errors import UserError
from .schedule import SYNTAX, Schedule
from .windows import KEYFRAMES, LOSSLESS


@dataclass
class RecordingConfig(FairseqDataclass):
    record_dir: str = field(
        default="",
        metadata={
            "help": "folder of the dump to write, e.g. runs/E1/base/seed1/dump.zarr, or a URL (s3://, gs://, file://: docs/remote.md); empty: no recording"
        },
    )
    record_tables: str = field(
        default="",
        metadata={
            "help": "comma list of patterns (* and ?) of the parameters to record; empty: every table with one row per token"
        },
    )
    record_statistics: str = field(
        default="every:1",
        metadata={"help": f"updates at which statistics of the table are computed: {SYNTAX}"},
    )
    record_movement: str = field(
        default="every:10",
        metadata={
            "help": "updates at which the costlier statistics are computed as well, and at every snapshot: correlations with frequency, "
            "drift from update 0, size and common direction of the last update (which need a copy of the table before the step)"
        },
    )
    record_traces: str = field(
        default="log2,every:10", metadata={"help": "updates at which the traced rows are recorded"}
    )
    record_snapshots: str = field(
        default="log2,every:1000", metadata={"help": "updates at which whole tables are recorded"}
    )
    record_windows: str = field(
        default="none",
        metadata={
            "help": "updates at which whole tables are recorded encoded, which takes about a half (lossless) or a thirteenth (lossy) of a snapshot's "
            "space where updates follow one another, e.g. every:1 or window:1000:1200"
        },
    )
    record_window_encoding: str = field(
        default=LOSSLESS,
        metadata={
            "help": "of --record-windows: lossless, or lossy: an entry errs by at most half of --record-window-step"
        },
    )
    record_window_step: float = field(
        default=0.2,
        metadata={
            "help": "of lossy windows: the step to whose multiples entries are rounded, as a share of the root mean square of an update's entries"
        },
    )
    record_window_keyframes: int = field(
        default=0,
        metadata={
            "help": "updates from one snapshot that stands for itself to the next in windows, so the most that is decoded to read one; "
            "0: 16 if lossless, 24 if lossy"
        },
    )
    record_exposure: str = field(
        default="log2,every:1000",
        metadata={
            "help": "updates at which it is recorded how often each token (visible, target, replacement) and each example was received so far"
        },
    )
    record_cause: str = field(
        default="none",
        metadata={
            "help": "updates at which it is recorded what moves the table: the gradient's sum over rows and by role and frequency group, the second "
            "moment against token count, and the parts of the mean update (docs/cause.md); needs a copy of the table before the step"
        },
    )
    record_moments: str = field(
        default="none",
        metadata={"help": "updates at which each row's optimiser moments and the size of its update are recorded"},
    )
    record_trace_state: str = field(
        default="none",
        metadata={"help": "updates at which the optimiser's moments of the traced rows are recorded, entry by entry"},
    )
    record_trace_tokens: str = field(
        default="",
        metadata={
            "help": "file with the tokens to trace: one a line, as the token's exact text (leading space included) or id:ROW; "
            "empty: words of common categories and a sample of each frequency group"
        },
    )
    record_trace_sample: int = field(
        default=16, metadata={"help": "rows traced of each frequency group beside the words, if no file is given"}
    )
    record_queue: int = field(
        default=4,
        metadata={
            "help": "snapshots, windows and traces that may wait for the writer; with the one that is written they bound the memory. "
            "What happens when so many wait: --record-when-behind"
        },
    )
    record_when_behind: ChoiceEnum(["block", "gap"]) = field(
        default="block",
        metadata={
            "help": "when the queue is full: block, training waits for the writer; gap, snapshots, windows and traces of that update are left out, and the "
            "dump lists the gap. Statistics and exposure are always recorded"
        },
    )
    record_overwrite: bool = field(
        default=False, metadata={"help": "delete an existing dump at --record-dir and start anew"}
    )


SCHEDULES = ("statistics", "movement", "traces", "snapshots", "windows", "exposure", "cause", "moments", "trace_state")


@dataclass(frozen=True)
class Streams:
    """The schedules of a run, read and checked."""

    statistics: Schedule
    movement: Schedule
    traces: Schedule
    snapshots: Schedule
    windows: Schedule
    exposure: Schedule
    cause: Schedule
    moments: Schedule
    trace_state: Schedule

    def describes_statistics(self, update: int) -> bool:
        """Whether the statistics stream has a record at ``update``."""
        return update in self.statistics or self.describes_movement(update)

    def describes_movement(self, update: int) -> bool:
        """Whether that record holds the costlier statistics too: by their own schedule, and wherever there is a snapshot."""
        return bool(self.movement) and (update in self.movement or update in self.snapshots)


def check(config: RecordingConfig) -> Streams | None:
    """Read the options; ``None`` if recording is off.

    Raises:
        UserError: an option is malformed, or options contradict one another.
    """
    streams = Streams(*(Schedule.parse(getattr(config, f"record_{name}"), f"--record-{name}") for name in SCHEDULES))
    _check_windows(config)
    if not config.record_dir:
        if config.record_overwrite or config.record_trace_tokens or config.record_tables:
            raise UserError(
                "--record-overwrite, --record-tables and --record-trace-tokens need --record-dir; found none; add --record-dir DIR"
            )
        return None
    if not any(getattr(streams, name) for name in SCHEDULES if name != "exposure"):
        raise UserError(
            "--record-dir is given but every --record-* schedule is none; give one, or leave --record-dir out"
        )
    if config.record_trace_tokens and not (streams.traces or streams.trace_state):
        raise UserError(
            "--record-trace-tokens is given but --record-traces is none; give a schedule, or leave the file out"
        )
    if streams.movement and not streams.snapshots:
        raise UserError(
            "--record-movement measures drift from update 0 and needs its snapshot to go on after an interruption; found "
            "--record-snapshots none; give at least --record-snapshots at:0, or --record-movement none"
        )
    if config.record_queue < 1:
        raise UserError(f"--record-queue: expected at least 1, found {config.record_queue}")
    if config.record_trace_sample < 0:
        raise UserError(f"--record-trace-sample: expected at least 0, found {config.record_trace_sample}")
    return streams


def _check_windows(config: RecordingConfig) -> None:
    if config.record_window_encoding not in KEYFRAMES:
        raise UserError(
            f"--record-window-encoding: expected {' or '.join(KEYFRAMES)}, found {config.record_window_encoding!r}"
        )
    if not 0 < config.record_window_step <= 4:
        raise UserError(
            f"--record-window-step: expected a share of an update's size between 0 and 4, found {config.record_window_step}"
        )
    if config.record_window_keyframes < 0:
        raise UserError(f"--record-window-keyframes: expected at least 0, found {config.record_window_keyframes}")

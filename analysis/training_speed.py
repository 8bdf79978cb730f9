"""Training speed of the arms side by side, from runs/E4/speed.json (claim C6.3).

A round trains every arm on one and the same batch, in an order drawn anew, in one process. An arm's speed is its target tokens
over its seconds, both summed over rounds. Rounds are drawn with replacement, the same for all arms, so what slows a whole
round down (another process, a long batch) cancels in a ratio.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval
from claims import Estimate
from cli import NOT_IN_JSON
from streams import first_line
from translation_files import VERSION, TranslationError

FORMAT = "embedding-speed"
LEAST_ROUNDS = 8
RESAMPLES = 10_000
OVER = "rounds"


@dataclass(frozen=True)
class Speed:
    """speed.json: `seconds` float64 (rounds, arms), `tokens` target tokens float64 (rounds,), and what it was measured on.

    `rate` is target tokens a second by arm, `ratio` of an arm to `none` by arm; both None-free, with intervals over rounds.
    """

    arms: tuple[str, ...]
    rate: dict[str, Estimate]
    ratio: dict[str, Estimate]
    about: dict[str, Any]
    seconds: NDArray[np.float64] = field(metadata=NOT_IN_JSON)
    tokens: NDArray[np.float64] = field(metadata=NOT_IN_JSON)

    @property
    def rounds(self) -> int:
        return len(self.tokens)

    @property
    def enough(self) -> bool:
        return self.rounds >= LEAST_ROUNDS

    def by_round(self, arm: str) -> NDArray[np.float64]:
        """Speed of `arm` over that of `none` in each round, float64 (rounds,)."""
        return self.seconds[:, self.arms.index("none")] / self.seconds[:, self.arms.index(arm)]

    @property
    def signature(self) -> str:
        fields = {key: self.about.get(key) for key in ("corpus", "device", "threads", "precision")}
        corpus = fields["corpus"]
        fields["corpus"] = corpus.get("name") if isinstance(corpus, dict) else corpus
        fields |= {"rounds": self.rounds, "warm_up": self.about.get("warm_up")}
        return "|".join(f"{key}:{value}" for key, value in fields.items() if value is not None)


def read_speed(path: Path, *, resamples: int = RESAMPLES, seed: int = 0) -> Speed:
    """Read and measure speed.json. Raises TranslationError: missing, damaged, of another form, impossible numbers."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TranslationError(f"{path}: expected the arms' times, found no such file; time the arms") from None
    except (OSError, ValueError) as error:
        raise TranslationError(
            f"{path}: expected JSON, found a file that is cut short or damaged ({first_line(error)}); time the arms again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("format_version") != VERSION:
        raise TranslationError(
            f"{path}: expected format {FORMAT!r}, version {VERSION}; time the arms with this version"
        )
    try:
        arms = tuple(str(name) for name in content["arms"])
        seconds = np.array(content["seconds"], np.float64)
        tokens = np.array(content["target_tokens"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise TranslationError(
            f"{path}: expected arms, seconds and target_tokens, found another form ({first_line(error)}); time the arms again"
        ) from None
    if "none" not in arms or len(set(arms)) != len(arms):
        raise TranslationError(
            f"{path}: expected the arm none among different arms, found {', '.join(arms) or 'no arm'}"
        )
    if not len(tokens) or seconds.shape != (len(tokens), len(arms)):
        raise TranslationError(
            f"{path}: expected seconds of {len(tokens)} rounds x {len(arms)} arms, found the shape {seconds.shape}; time the arms again"
        )
    if not (np.isfinite(seconds).all() and np.isfinite(tokens).all() and (seconds > 0).all() and (tokens > 0).all()):
        raise TranslationError(f"{path}: times or tokens that are not above 0; time the arms again")
    return _measure(arms, seconds, tokens, content, resamples, seed)


def _measure(
    arms: tuple[str, ...],
    seconds: NDArray[np.float64],
    tokens: NDArray[np.float64],
    content: dict[str, Any],
    resamples: int,
    seed: int,
) -> Speed:
    rounds = len(tokens)
    drawn = np.random.default_rng(seed).integers(0, rounds, (resamples, rounds))
    sums, totals = seconds[drawn].sum(axis=1), tokens[drawn].sum(axis=1)

    def estimate(value: float, samples: NDArray[np.float64]) -> Estimate:
        return Estimate(float(value), percentile_interval(samples) if rounds > 1 else None, OVER)

    whole, none = seconds.sum(axis=0), arms.index("none")
    about = {key: value for key, value in content.items() if key not in ("seconds", "target_tokens", "source_tokens")}
    return Speed(
        arms=arms,
        rate={arm: estimate(tokens.sum() / whole[place], totals / sums[:, place]) for place, arm in enumerate(arms)},
        ratio={
            arm: estimate(whole[none] / whole[place], sums[:, none] / sums[:, place])
            for place, arm in enumerate(arms)
            if arm != "none"
        },
        about=about,
        seconds=seconds,
        tokens=tokens,
    )


def require_same(speed: Speed, path: Path, shape: dict[str, Any]) -> None:
    """Refuse times of other models than the runs'. Raises TranslationError."""
    settings = speed.about.get("settings")
    for name, value in (settings if isinstance(settings, dict) else {}).items():
        if shape.get(name) is not None and shape[name] != value:
            raise TranslationError(
                f"{path}: models with {name} {value} were timed, the runs have {shape[name]}; time the arms again"
            )

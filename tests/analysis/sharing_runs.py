"""Small runs of E4 with planted effects, file by file as docs/translation-format.md says; nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from synthetic_dump import frequency_groups, vocabulary

ROWS, DIM = 550, 64
SHAPE = {
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_embed_dim": DIM,
    "decoder_embed_dim": DIM,
    "encoder_ffn_embed_dim": 128,
    "decoder_ffn_embed_dim": 128,
    "encoder_normalize_before": False,
    "decoder_normalize_before": False,
    "encoder_learned_pos": False,
    "decoder_learned_pos": False,
    "layernorm_embedding": False,
    "rows": ROWS,
}
ENCODER = "encoder.embed_tokens.weight"
DECODER = "decoder.embed_tokens.weight"
OUTPUT = "decoder.output_projection.weight"
TABLES: dict[str, list[tuple[str, ...]]] = {
    "none": [(ENCODER,), (DECODER,), (OUTPUT,)],
    "decoder": [(ENCODER,), (DECODER, OUTPUT)],
    "all": [(ENCODER, DECODER, OUTPUT)],
}
SIDES = {ENCODER: "source", DECODER: "target", OUTPUT: "target"}
UPDATES = (0, 50, 100)


@dataclass(frozen=True)
class Planted:
    """How often an arm gets a word wrong: in any sentence, and beyond that for each share of rare words in the sentence.

    Arms of one `draw` and seed get the same words wrong as far as their chances agree.
    """

    wrong: float = 0.2
    wrong_rare: float = 0.0
    draw: int = 7


NONE, DECODED, ALL = Planted(), Planted(0.21), Planted(0.21, 0.5)
ARMS = {"none": NONE, "decoder": DECODED, "all": ALL}


@dataclass
class Corpus:
    """Test sentences: texts, and the counts of their words by side; a third has rare words, a third words of both sides."""

    sources: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    words: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    lengths: dict[str, list[int]] = field(default_factory=dict)
    rare: list[float] = field(default_factory=list)


def corpus(sentences: int = 600, seed: int = 0) -> Corpus:
    rng = np.random.default_rng(seed)
    made = Corpus(words={"source": [], "reference": []}, lengths={"source": [], "reference": []})
    for number in range(sentences):
        length = int(rng.integers(4, 22))
        rare = rng.random(length) < (0.0, 0.0, 0.25)[number % 3]
        both = rng.random(length) < (0.3 if number % 2 else 0.0)
        unseen = rare & (rng.random(length) < 0.3)
        counts = np.where(rare, rng.integers(1, 10, length), rng.integers(10, 5000, length)) * ~unseen
        other = np.where(both, rng.integers(1, 500, length), 0)
        digits = " 42" if number % 5 == 0 else ""
        made.sources.append(" ".join(_word("s", word) for word in rng.integers(0, 900, length)) + digits)
        made.references.append(" ".join(_word("t", word) for word in rng.integers(0, 900, length)) + ".")
        made.words["source"] += list(zip(counts.tolist(), other.tolist(), strict=True))
        made.words["reference"] += list(zip(other.tolist(), counts.tolist(), strict=True))
        made.lengths["source"].append(length)
        made.lengths["reference"].append(length)
        made.rare.append(float(rare.mean()))
    return made


def _word(start: str, number: int) -> str:
    """An invented word without digits."""
    return start + "".join("abcdefghij"[int(digit)] for digit in str(number))


def translate(made: Corpus, planted: Planted, seed: int) -> list[str]:
    """References in which words are replaced by wrong ones."""
    rng = np.random.default_rng([seed, planted.draw])
    result = []
    for text, rare in zip(made.references, made.rare, strict=True):
        words = text.split(" ")
        drawn = rng.random(len(words))
        chance = planted.wrong + planted.wrong_rare * rare
        result.append(" ".join("falsch" if value < chance else word for value, word in zip(drawn, words, strict=True)))
    return result


def by_name(shape: dict[str, Any], arm: str) -> dict[str, int]:
    """Every parameter of fairseq's transformer by name, tied ones once: what model.json's `by_name` holds."""
    sizes: dict[str, int] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        sizes[f"{name}.weight"], sizes[f"{name}.bias"] = inputs * outputs, outputs

    def norm(name: str, dim: int) -> None:
        sizes[f"{name}.weight"] = sizes[f"{name}.bias"] = dim

    for side in ("encoder", "decoder"):
        dim, inner = shape[f"{side}_embed_dim"], shape[f"{side}_ffn_embed_dim"]
        for layer in range(shape[f"{side}_layers"]):
            place = f"{side}.layers.{layer}"
            for attention in ("self_attn", "encoder_attn")[: 1 + (side == "decoder")]:
                read = shape["encoder_embed_dim"] if attention == "encoder_attn" else dim
                for name, inputs in (("k_proj", read), ("v_proj", read), ("q_proj", dim), ("out_proj", dim)):
                    linear(f"{place}.{attention}.{name}", inputs, dim)
                norm(f"{place}.{attention}_layer_norm", dim)
            linear(f"{place}.fc1", dim, inner)
            linear(f"{place}.fc2", inner, dim)
            norm(f"{place}.final_layer_norm", dim)
        if shape[f"{side}_normalize_before"]:
            norm(f"{side}.layer_norm", dim)
        if shape["layernorm_embedding"]:
            norm(f"{side}.layernorm_embedding", dim)
        if shape[f"{side}_learned_pos"]:
            sizes[f"{side}.embed_positions.weight"] = 1026 * dim
    for names in TABLES[arm]:
        sizes[names[0]] = shape["rows"] * shape["encoder_embed_dim"]
    return sizes


def write_model(folder: Path, arm: str, shape: dict[str, Any] = SHAPE, *, extra: int = 0) -> None:
    sizes = by_name(shape, arm)
    tables = [
        {"name": names[0], "aliases": list(names[1:]), "rows": shape["rows"], "dim": shape["encoder_embed_dim"]}
        for names in TABLES[arm]
    ]
    content = {
        "format": "embedding-model",
        "format_version": 1,
        "arch": "transformer",
        "parameters": sum(sizes.values()) + extra,
        "tables": tables,
        "shape": shape,
        "by_name": sizes,
    }
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")


def write_translation(
    folder: Path, made: Corpus, hypotheses: Sequence[str], *, update: int = 1200, **changed: Any
) -> None:
    place = folder / "translation"
    place.mkdir(parents=True, exist_ok=True)
    texts = {"sources": made.sources, "references": made.references, "hypotheses": hypotheses}
    for name, lines in texts.items():
        (place / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    arrays = {}
    for side in ("source", "reference"):
        counts = np.array(made.words[side], np.int64).reshape(-1, 2)
        arrays[f"{side}_offsets"] = np.concatenate([[0], np.cumsum(made.lengths[side])]).astype(np.int64)
        arrays[f"{side}_count_source"], arrays[f"{side}_count_target"] = counts[:, 0], counts[:, 1]
    np.savez(place / "words.npz", **arrays)
    about = {
        "format": "embedding-translation",
        "format_version": 1,
        "subset": "test",
        "sentences": len(made.sources),
        "languages": ["en", "de"],
        "corpus": {"name": "tiny-pairs", "dictionary_sha256": "d" * 64},
        "checkpoints": ["checkpoint_last.pt"],
        "update": update,
        "beam": 4,
        "lenpen": 1.0,
        "seconds": 3.5,
        "command": "invented",
    } | changed
    write_about(folder, about)


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """translation.json with the hashes of the files as they are."""
    place = folder / "translation"
    names = [f"{name}.txt" for name in ("sources", "references", "hypotheses")] + ["words.npz"]
    hashes = {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in names}
    (place / "translation.json").write_text(json.dumps({**about, "sha256": hashes}), encoding="utf-8")


def write_speed(
    runs: Path, ratios: dict[str, float] | None = None, *, rounds: int = 20, noise: float = 0.02, seed: int = 0
) -> Path:
    """speed.json below runs/E4: seconds of `none` vary by a third between rounds, the other arms' follow them."""
    rng = np.random.default_rng(seed)
    ratios = {"none": 1.0, "decoder": 1.06, "all": 1.12} if ratios is None else ratios
    tokens = rng.integers(1500, 2500, rounds)
    base = tokens / 4000 * rng.uniform(0.85, 1.15, rounds)
    seconds = np.stack([base / ratio * rng.normal(1, noise, rounds) for ratio in ratios.values()], axis=1)
    content = {
        "format": "embedding-speed",
        "format_version": 1,
        "arms": list(ratios),
        "seconds": seconds.tolist(),
        "target_tokens": tokens.tolist(),
        "source_tokens": tokens.tolist(),
        "warm_up": 2,
        "device": "cpu",
        "threads": 2,
        "precision": "bf16",
        "hardware": {"cores": 2},
        "corpus": "tiny-pairs",
        "settings": {},
    }
    path = runs / "E4" / "speed.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_log(folder: Path, end: float) -> None:
    """A log of label-smoothed cross entropy: losses that fall to `end` bits, and a validation BLEU."""
    lines: list[dict[str, Any]] = []
    for update in range(50, 1201, 50):
        nll = end + 6 * np.exp(-update / 300)
        inner = {"loss": nll + 1.2, "nll_loss": nll + 0.1, "wps": 4100.5, "ups": 2.0, "num_updates": update}
        lines.append({key: str(value) for key, value in inner.items()})
        if update % 200 == 0:
            valid = {"valid_loss": nll + 1.1, "valid_nll_loss": nll, "valid_bleu": 30 - 4 * nll}
            lines.append({key: str(value) for key, value in valid.items()} | {"valid_num_updates": str(update)})
    (folder / "log").mkdir(parents=True, exist_ok=True)
    (folder / "log" / "train.log").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def side_counts() -> dict[str, NDArray[np.int64]]:
    """Counts by side of the joint vocabulary: half of the tokens on both sides, a quarter on each alone, some on none."""
    texts = vocabulary(ROWS)
    real = np.array([not text.startswith("madeup") and not (text[0] == "<" and text[-1] == ">") for text in texts])
    rank = np.cumsum(real)
    count = np.where(real, (4000 / np.maximum(rank, 1) ** 1.1).astype(np.int64) + 1, 0)
    part = np.arange(ROWS) % 8
    never = rank > 500
    return {
        "source": np.where(never | (part >= 6), 0, count),
        "target": np.where(never | ((part >= 4) & (part < 6)), 0, count // 2 + 1) * real,
    }


def write_dump(folder: Path, arm: str, seed: int, *, updates: Sequence[int] = UPDATES, dictionary: str = "d") -> Path:
    """A translation dump: tables that share one meaning, each in a rotation of its own, rare rows along one direction."""
    path = folder / "dump.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=3)
    texts = vocabulary(ROWS)
    special = np.array([text[0] == "<" and text[-1] == ">" for text in texts])
    made_up = np.array([text.startswith("madeupword") for text in texts])
    by_side = side_counts()
    meaning = np.random.default_rng(99).normal(size=(ROWS, DIM)) * np.linspace(2, 0.2, DIM)
    for place, names in enumerate(TABLES[arm]):
        rng = np.random.default_rng([seed, place, len(arm)])
        sides = {SIDES[name] for name in names}
        side = "both" if len(sides) > 1 else sides.pop()
        counts = by_side["source"] + by_side["target"] if side == "both" else by_side[side]
        group, groups = frequency_groups(counts, special, made_up)
        node = root.require_group("tables").create_group(names[0])
        node.attrs.update({"name": names[0], "aliases": list(names[1:]), "rows": ROWS, "dim": DIM, "side": side})
        (path / "tables" / names[0] / "tokens.json").write_text(json.dumps(texts), encoding="utf-8")
        constant = node.create_group("rows")
        constant.attrs["groups"] = groups
        columns = {"row": np.arange(ROWS), "count": counts, "counted": ~special & ~made_up, "group": group}
        for key, array in (columns | {f"count_{name}": found for name, found in by_side.items()}).items():
            constant.create_array(key, data=array)
        rotation = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
        seen = np.log1p(counts) / np.log1p(counts).max()
        direction = rng.normal(size=DIM)
        trained = (seen[:, None] * meaning) @ rotation + 2.0 * (1 - seen)[:, None] * direction
        noise = rng.normal(0, 0.35, (ROWS, DIM))
        frames = [
            rng.normal(0, 0.3, (ROWS, DIM)) + trained * update / max(updates[-1], 1) + noise for update in updates
        ]
        values = np.stack(frames)
        values[:, 1] = 0
        stream = node.create_group("snapshots")
        stream.create_array("values", data=values.astype(np.float32), chunks=(1, ROWS, DIM))
        stream.create_array("update", data=np.array(updates, np.int64))
    exposure = root.create_group("exposure")
    for side, counters in (("source", ("visible",)), ("target", ("visible", "target"))):
        stream = exposure.create_group(side)
        for number, name in enumerate(counters, 1):
            both = np.stack([by_side[side] * number, by_side[side] * 2 * number])
            stream.create_array(name, data=both.astype(np.uint32))
        stream.create_array("update", data=np.array([50, 100]))
    corpus_attrs = {"name": "tiny-pairs", "dictionary_sha256": dictionary * 64, "languages": ["en", "de"]}
    root.attrs.update(
        {
            "format": "embedding-dump",
            "format_version": 1,
            "versions": {"fairseq_ext": "0.1.0"},
            "tables": [names[0] for names in TABLES[arm]],
            "corpus": corpus_attrs | {"unigram_entropy_bits": 9.5},
            "run": {"task": "translation", "arch": "transformer", "seed": seed, "precision": "bf16"},
        }
    )
    return path


def make_run(
    runs: Path, arm: str, seed: int = 1, *, planted: Planted | None = None, made: Corpus | None = None, **options: Any
) -> Path:
    """One run below runs/E4. Options: dump, log, translated, model (all True), finished=True, and those of `write_translation`."""
    folder = runs / "E4" / arm / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    made = corpus() if made is None else made
    about = {
        "experiment": "E4",
        "arm": arm,
        "seed": seed,
        "profile": "smoke",
        "finished": options.pop("finished", True),
    }
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    if options.pop("log", True):
        write_log(folder, {"none": 4.0, "decoder": 4.1, "all": 4.4}[arm] + 0.05 * seed)
    if options.pop("dump", True):
        write_dump(folder, arm, seed)
    if options.pop("model", True):
        write_model(folder, arm)
    if options.pop("translated", True):
        write_translation(folder, made, translate(made, planted or ARMS[arm], seed), **options)
    return folder


def make_experiment(runs: Path, seeds: Sequence[int] = (1,), **options: Any) -> Path:
    """All three arms and speed.json; the folder runs/E4."""
    made = options.pop("made", None) or corpus()
    for arm in ARMS:
        for seed in seeds:
            make_run(runs, arm, seed, made=made, **options)
    write_speed(runs)
    return runs / "E4"

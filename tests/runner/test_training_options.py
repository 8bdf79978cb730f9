"""The options of the E1 training, as scripts/train_e1.sh gives them, through fairseq's own parser with this plug-in."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments import run
from experiments.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[2]
PARSE = """
import json, sys
from fairseq import options
for line in sys.stdin:
    words = json.loads(line)
    words[words.index("--user-dir") + 1] = sys.argv[1]
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=words)
    print("parsed", json.dumps(vars(args), default=str))
"""

pytestmark = pytest.mark.train


def arguments(folder: Path, variables: dict[str, str], script: str = "scripts/train_e1.sh", *options: str) -> str:
    """What a training script gives to fairseq-train, as a JSON list."""
    fake = folder / "fairseq-train"
    fake.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    fake.chmod(0o755)
    return subprocess.run(
        ["bash", script, *options],
        cwd=ROOT,
        env={**os.environ, **variables, "DEVICE": "cpu", "FAIRSEQ_TRAIN": str(fake)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """fairseq's reading of each profile's training, and of train_e1.sh as it is (`plain`)."""
    folder = tmp_path_factory.mktemp("options")
    lines = {"plain": arguments(folder, {"RUN": str(folder / "plain")})}
    for name in PROFILES:
        context = run.make_context(run.parser().parse_args(["--profile", name, "--runs", str(folder / name)]))
        stage = next(stage for stage in run.all_stages(context, ["E1"]) if stage.run)
        assert shlex.split(stage.line())[-2:] == ["bash", "scripts/train_e1.sh"]
        lines[name] = arguments(folder, dict(stage.env))
        if PROFILES[name].repetition:
            for stage in run.all_stages(context, ["E3"]):
                if stage.run:
                    lines[f"{name} {stage.run.arm}"] = arguments(folder, dict(stage.env), stage.command[1])
        for experiment in ("E2", "E4", "E5"):
            for stage in run.all_stages(context, [experiment]):
                if stage.run:
                    words = arguments(folder, dict(stage.env), *stage.command[1:])
                    lines[f"{name} {experiment} {stage.run.arm}"] = words
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "fairseq_ext")],
        input="".join(lines.values()),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = [
        json.loads(line.removeprefix("parsed ")) for line in done.stdout.splitlines() if line.startswith("parsed ")
    ]
    return dict(zip(lines, results, strict=True))


def test_the_arms_of_e3_differ_in_their_sampling_alone(parsed):
    for profile in ("standard", "gpu"):
        size = PROFILES[profile].repetition
        arms = {arm.name: parsed[f"{profile} {arm.name}"] for arm in size.arms}
        for arm in size.arms:
            found = arms[arm.name]
            assert (found["sample_pool"], found["sample_repeat"]) == (arm.pool, arm.repeat)
            assert (found["sample_fraction"], found["sample_order"]) == (arm.fraction, arm.order)
            assert (found["sample_tokens_per_update"], found["max_update"]) == (size.tokens, size.updates)
            assert (found["encoder_layers"], found["encoder_embed_dim"]) == (size.layers, size.dim)
        places = ("sample_", "save_dir", "record_dir", "log_file", "tensorboard")
        rest = [{k: v for k, v in found.items() if not k.startswith(places)} for found in arms.values()]
        assert all(other == rest[0] for other in rest)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_arms_of_e5_differ_in_the_rule_of_their_tables_alone(parsed, profile):
    size = PROFILES[profile].cause
    names = [(arm, arm, False) for arm in size.arms] + [(f"{arm}-untied", arm, True) for arm in size.untied]
    arms = {name: dict(parsed[f"{profile} E5 {name}"]) for name, _, _ in names}
    rules = {"coupled": "coupled_adam", "amsgrad": "embedding_amsgrad", "sgd": "embedding_sgd", "nodecay": "undecayed_adam",
             "centred": "centered_adam"}  # fmt: skip
    remedies = ("cosine", "gating")
    for name, arm, untied in names:
        found = arms[name]
        assert found["optimizer"] == rules.get(arm, "fused_adam")
        assert found["criterion"] == ("remedied_masked_lm" if arm in remedies else "masked_lm")
        assert found["untie_weights_roberta"] is untied
        assert (found.get("cosine_regularization", 0), found.get("gradient_gating", False)) == (
            float(arm == "cosine"),
            arm == "gating",
        )
        if arm == "sgd":
            assert (found["embedding_lr_scale"], found["embedding_momentum"]) == (float(size.sgd_lr_scale), 0.9)
        assert (found["weight_decay"], found["adam_betas"], found["adam_eps"]) == (0.01, "(0.9,0.98)", 1e-6)
        assert (found["autocast"], found["fast_head"], found["tied_gradient"]) == ("off", True, True)
        assert (found["sample_tokens_per_update"], found["max_update"]) == (size.tokens, size.updates)
        assert (found["encoder_layers"], found["encoder_embed_dim"]) == (size.layers, size.dim)
        assert (found["record_cause"], found["record_moments"]) == (size.cause, size.moments)
        assert (found["record_trace_state"], found["record_snapshots"]) == (size.trace_state, size.snapshots)
        assert f"E5/{name}/seed" in found["record_dir"]
    own = ("optimizer", "criterion", "untie_", "embedding_", "cosine_", "gradient_gating", "gating_", "save_dir", "record_dir", "log_file",
           "tensorboard")  # fmt: skip
    rest = [{k: v for k, v in found.items() if not k.startswith(own)} for found in arms.values()]
    assert all(other == rest[0] for other in rest)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_arms_of_e4_differ_in_their_sharing_alone(parsed, profile):
    size = PROFILES[profile].sharing
    arms = {arm: parsed[f"{profile} E4 {arm}"] for arm in size.arms}
    shared = ("share_decoder_input_output_embed", "share_all_embeddings")
    assert {arm: [found[name] for name in shared] for arm, found in arms.items()} == {
        "none": [False, False],
        "decoder": [True, False],
        "all": [False, True],
    }
    for arm, found in arms.items():
        assert (found["task"], found["arch"]) == ("embedding_translation", size.arch)
        assert (found["max_update"], found["max_tokens"]) == (size.updates, size.tokens)
        assert (found["decoder_layers"], found["decoder_embed_dim"]) == (size.layers, size.dim)
        assert f"E4/{arm}/seed" in found["record_dir"]
        assert found["keep_interval_updates"] >= size.average
    places = ("share_", "save_dir", "record_dir", "log_file", "tensorboard")
    rest = [{k: v for k, v in found.items() if not k.startswith(places)} for found in arms.values()]
    assert all(other == rest[0] for other in rest)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_arms_of_e2_differ_in_their_text_alone(parsed, profile):
    size = PROFILES[profile].layers
    arms = {arm: parsed[f"{profile} E2 {arm}"] for arm in size.arms}
    assert arms["shuffled"]["data"] == f"{arms['base']['data']}-shuffled"
    for arm, found in arms.items():
        assert (found["task"], found["encoder_layers"], found["encoder_embed_dim"]) == (
            "embedding_masked_lm",
            12,
            size.dim,
        )
        assert (found["max_update"], found["max_tokens"] or 0) == (size.updates, size.tokens)
        assert found["encoder_normalize_before"] == ("--encoder-normalize-before" in size.options)
        assert (found["dropout"], found["attention_dropout"]) == (size.dropout, size.dropout)
        assert found["record_snapshots"] == size.snapshots
        assert f"E2/{arm}/seed" in found["record_dir"]
    places = ("data", "save_dir", "record_dir", "log_file", "tensorboard")
    rest = [{k: v for k, v in found.items() if not k.startswith(places)} for found in arms.values()]
    assert all(other == rest[0] for other in rest)


@pytest.mark.parametrize("profile", PROFILES)
def test_fairseq_understands_the_training_of_every_profile(parsed, profile):
    found, size = parsed[profile], PROFILES[profile].base
    assert (found["task"], found["optimizer"], found["arch"]) == ("embedding_masked_lm", "fused_adam", "roberta_base")
    assert (found["max_update"], float(found["total_num_update"]), found["warmup_updates"]) == (
        size.updates,
        size.updates,
        size.warmup,
    )
    assert (found["encoder_layers"], found["encoder_embed_dim"], found["batch_size"]) == (
        size.layers,
        size.dim,
        size.batch,
    )
    assert (found["record_snapshots"], found["record_traces"]) == (size.snapshots, size.traces)
    assert found["record_dir"].endswith("E1/base/seed1/dump.zarr")
    assert found["required_batch_size_multiple"] == 1
    assert found["cpu"] is True


def test_the_script_without_variables_is_the_quick_profile(parsed):
    paths = ("record_dir", "save_dir", "log_file", "tensorboard_logdir", "data")
    plain, quick = ({k: v for k, v in parsed[name].items() if k not in paths} for name in ("plain", "quick"))
    assert plain == quick


def test_the_hydra_example_is_the_same_training(parsed):
    config = OmegaConf.load(ROOT / "examples/hydra/e1.yaml")
    assert OmegaConf.select(config, "criterion") == parsed["plain"]["criterion"]
    checked = 0
    for section in ("common", "task", "model", "dataset", "optimizer", "lr_scheduler", "optimization", "checkpoint"):
        for key, value in OmegaConf.to_container(config[section], resolve=False).items():
            if key in ("_name", "data", "user_dir", "max_positions") or (isinstance(value, str) and "runs/" in value):
                continue
            if isinstance(value, str) and value.startswith("${hydra:"):
                continue
            value = config.optimization.max_update if value == "${optimization.max_update}" else value
            found = parsed["plain"][key]
            same = value == found or (not isinstance(value, list | bool) and str(float(value)) == str(float(found)))
            assert same, f"{section}.{key}: {value} in the example, {found} in train_e1.sh"
            checked += 1
    assert checked > 25

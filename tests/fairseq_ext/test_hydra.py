"""fairseq-hydra-train with a YAML file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import TABLE, USER_DIR, assert_whole, load

CONFIG = """# @package _group_
common: {{seed: 1, cpu: true, log_format: json, log_interval: 1, user_dir: {user_dir}}}
checkpoint: {{save_dir: {run}/checkpoints, no_epoch_checkpoints: true}}
task:
  _name: embedding_masked_lm
  data: {corpus}
  sample_break_mode: eos
  tokens_per_sample: 64
  record_dir: {run}/dump.zarr
  record_traces: every:2
  record_snapshots: log2
  record_cause: {cause}
criterion: {criterion}
dataset: {{batch_size: 14, required_batch_size_multiple: 1, num_workers: 0, disable_validation: true}}
optimizer: {{{optimizer}, adam_betas: "(0.9, 0.98)", adam_eps: 1e-6, weight_decay: 0.01}}
lr_scheduler: {{_name: polynomial_decay, warmup_updates: 2, total_num_update: 100}}
optimization: {{lr: [0.005], max_update: 5}}
model:
  _name: roberta
  max_positions: 64
  encoder_layers: 2
  encoder_embed_dim: 32
  encoder_ffn_embed_dim: 64
  encoder_attention_heads: 2
"""


def train(corpus: Path, folder: Path, optimizer: str, criterion: str, cause: str) -> dict[str, Any]:
    """Train by a YAML file; returns what was recorded."""
    config, run = folder / "config", folder / "run"
    config.mkdir()
    given = {"optimizer": f"_name: {optimizer}", "criterion": criterion, "cause": cause}
    (config / "tiny.yaml").write_text(CONFIG.format(user_dir=USER_DIR, run=run, corpus=corpus, **given))
    done = subprocess.run(
        [Path(sys.executable).with_name("fairseq-hydra-train"), "--config-dir", config, "--config-name", "tiny"],
        cwd=folder,
        env=dict(os.environ, OMP_NUM_THREADS="1", HYDRA_FULL_ERROR="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return assert_whole(run / "dump.zarr")


@pytest.mark.train
def test_a_yaml_file_trains_and_records(corpus: Path, tmp_path: Path) -> None:
    found = train(corpus, tmp_path, "fused_adam", "{_name: masked_lm}", "none")
    assert found[f"tables/{TABLE}/traces/update"].tolist() == [0, 2, 4]
    assert found[f"tables/{TABLE}/snapshots/update"].tolist() == [0, 1, 2, 4]


@pytest.mark.train
def test_a_yaml_file_names_a_rule_for_the_tables_and_what_is_recorded_of_it(corpus: Path, tmp_path: Path) -> None:
    rule = "embedding_sgd, embedding_lr_scale: 3.0, embedding_momentum: 0.5"
    found = train(corpus, tmp_path, rule, "{_name: masked_lm}", "every:2")
    assert found[f"tables/{TABLE}/cause/update"].tolist() == [2, 4]
    mean, coupled = (found[f"tables/{TABLE}/cause/{name}"] for name in ("update_mean", "update_coupled"))
    np.testing.assert_allclose(mean, coupled, rtol=1e-4, atol=1e-7)
    assert np.abs(mean).max() > 1e-6


@pytest.mark.train
def test_a_yaml_file_names_the_remedies(corpus: Path, tmp_path: Path) -> None:
    options = "cosine_regularization: 1.0, gradient_gating: true, gating_memory: 3, gating_threshold: 0.5"
    train(corpus, tmp_path, "fused_adam", f"{{_name: remedied_masked_lm, {options}}}", "none")
    kept = load(tmp_path / "run/checkpoints/checkpoint_last.pt")
    assert kept["cfg"]["criterion"]["cosine_regularization"] == 1.0
    assert kept["extra_state"]["EmbeddingMaskedLMTask"]["kept"]["gating"]["updates"].tolist() == [3, 4, 5]

"""Starts fairseq's commands quickly: imports them once, then forks a process for each request.

fairseq takes six seconds to import, a test run of forty updates one. Each request is a line of JSON on stdin,
`{"program", "arguments", "environment", "folder", "stdout", "stderr"}`, answered by the new process's id, or `{"wait": pid}`, answered
by its exit status (negative: the signal that ended it). The forked process leaves this file at its end, as a script does, so that
`SystemExit`, tracebacks and `atexit` work as they do for the installed commands. fairseq_ext is not imported before the fork.
"""

import faulthandler
import json
import os
import runpy
import signal
import sys

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what is logged on import is no answer

# isort: off
import fairseq_cli.train  # noqa: E402  (first, because it sets the log up)
import fairseq_cli.preprocess  # noqa: E402
import fairseq_cli.validate  # noqa: E402
import scipy.stats  # noqa: E402, F401  (slow to import, as what follows)
import torch._dynamo  # noqa: E402  (which the first optimiser imports)
import torch.distributed.fsdp  # noqa: E402
import torch.utils.tensorboard  # noqa: E402, F401
from fairseq import options  # noqa: E402
from fairseq.dataclass.utils import convert_namespace_to_omegaconf  # noqa: E402
# isort: on


def run_module(name: str) -> None:
    """As ``python -m`` does."""
    runpy.run_module(name, run_name="__main__")


PROGRAMS = {
    "preprocess": fairseq_cli.preprocess.cli_main,
    "train": fairseq_cli.train.cli_main,
    "validate": fairseq_cli.validate.cli_main,
    "recording": lambda: run_module("fairseq_ext.recording"),
    "replay": lambda: run_module("fairseq_ext.replay"),
}


def warm_up() -> None:
    """Make a configuration once: the first one takes twice as long as those after it."""
    words = "x --task masked_lm --criterion masked_lm --arch roberta_base --optimizer adam --lr-scheduler fixed".split()
    convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), words))


def serve() -> dict:
    """Answer requests; returns in the child alone, with its request."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif (answer := os.fork()) == 0:
            return request
        print(answer, file=ANSWERS, flush=True)
    sys.exit(0)


def redirect(descriptor: int, path: str) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(opened, descriptor)
    os.close(opened)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm_up()
    request = serve()
    os.setsid()
    ANSWERS.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    redirect(0, os.devnull)
    redirect(1, request["stdout"])
    redirect(2, request["stderr"])
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = [f"fairseq-{request['program']}", *request["arguments"]]
    sys.exit(PROGRAMS[request["program"]]())

"""A process that is tied to its parent is gone soon after it, whatever killed the parent."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pipeline import parent_death

pytestmark = pytest.mark.skipif(not parent_death.IS_LINUX, reason="the kernel's signal is Linux's")
STAGE = "import time; from pipeline.parent_death import die_with_parent as tie; tie(); print('up', flush=True); time.sleep(60)"
STARTER = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"


def is_alive(process: psutil.Process, *, wait_s: float) -> bool:
    """Whether a process still runs after `wait_s`; one that nobody has buried yet does not."""
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def start():
    """Start a command below another process; the answer is both of them, and none outlives the test."""
    started = []

    def start_below(command: list[str], environment: dict[str, str]) -> tuple[psutil.Process, psutil.Process]:
        process = subprocess.Popen(
            [sys.executable, "-c", STARTER, *command], stdout=subprocess.PIPE, env={**os.environ, **environment}
        )
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        parent = psutil.Process(process.pid)
        [child] = parent.children()
        started.append(child)
        return parent, child

    yield start_below
    for process in reversed(started):
        if isinstance(process, subprocess.Popen):
            process.kill()
            process.communicate()
        elif process.is_running():
            process.kill()


def test_a_stage_dies_with_the_dvc_that_started_it(start):
    parent, child = start([sys.executable, "-c", STAGE], {"DVC_STAGE": "train@unet"})
    parent.kill()
    assert not is_alive(child, wait_s=10)


def test_a_stage_run_by_hand_outlives_its_shell(start, monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    parent, child = start([sys.executable, "-c", STAGE], {})
    parent.kill()
    assert is_alive(child, wait_s=0.5)


def test_a_stage_whose_dvc_is_gone_already_ends_itself():
    # a process group of its own, as if whoever started it had gone and a stranger adopted it
    environment = {**os.environ, "DVC_STAGE": "train@unet"}
    done = subprocess.run([sys.executable, "-c", STAGE], env=environment, start_new_session=True, capture_output=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


def test_a_tied_command_ends_with_the_process_that_tied_it():
    tied_sleep = (
        "import subprocess, sys; from pipeline.parent_death import tied\n"
        "child = subprocess.Popen(tied(['sleep', '60'])); print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", tied_sleep], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        assert not is_alive(child, wait_s=10)


def test_a_tied_command_does_not_start_where_its_parent_is_gone():
    command = parent_death.tied(["echo", "started"])
    command[command.index(str(os.getpid()))] = "1"  # the process that tied it is another one than its parent
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and "is gone" in done.stderr

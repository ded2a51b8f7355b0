"""The flow in a small DVC repository of its own, against a real local Prefect server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest

from pipeline import flow, parent_death

ROOT = Path(__file__).parent.parent
STAGE = """
import sys, time
from pathlib import Path
from pipeline.parent_death import die_with_parent
die_with_parent()
name, *partners = sys.argv[1:]
with open("begun.txt", "a") as file:
    file.write(name + "\\n")
Path(name + ".begun").touch()
end = time.monotonic() + 60
while not all(Path(one + ".begun").exists() for one in partners):
    if time.monotonic() > end:
        sys.exit("waited in vain for " + " ".join(partners))
    time.sleep(0.05)
if Path(name + ".fault").exists():
    sys.exit("a fault in " + name)
Path(name + ".out").write_text(name)
"""
# the two trainings wait for each other: one after the other they would never end
STAGES = """
stages:
  data: {cmd: python stage.py data, deps: [stage.py], outs: [data.out]}
  train:
    foreach: {a: b, b: a}
    do: {cmd: "python stage.py ${key} ${item}", deps: [data.out], outs: ["${key}.out"]}
  classical:
    foreach: [x, y]
    do: {cmd: "python stage.py ${item}", deps: [data.out], outs: ["${item}.out"]}
  evaluate_classical:
    foreach: [x, y]
    do: {cmd: "python stage.py score_${item}", deps: ["${item}.out"], outs: ["score_${item}.out"]}
  report: {cmd: python stage.py report, deps: [a.out, b.out, score_x.out, score_y.out], outs: [report.out]}
"""
CHEAP_ONLY = STAGES.replace("a.out, b.out, ", "").replace(STAGES[STAGES.index("  train:") : STAGES.index("  classical:")], "")
ALL = ["data", "a", "b", "x", "y", "score_x", "score_y", "report"]


def environment(**more: str) -> dict[str, str]:
    """Without SHELL, as in a container or a cron job: DVC then takes sh, which stays between it and a stage."""
    inherited = {key: value for key, value in os.environ.items() if key != "SHELL" and not key.startswith("PREFECT_")}
    path = os.pathsep.join([str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])])
    return {**inherited, "PYTHONPATH": path, "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", **more}


def dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    dvc(tmp_path, "init", "--quiet")
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The environment of a client of a Prefect server that all tests here share."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port, "--no-ui"]
    address = f"http://127.0.0.1:{port}/api"
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            parent_death.tied(command, number=signal.SIGKILL), env=environment(**settings), stdout=log, stderr=log
        )
    try:
        wait_until(lambda: answers(f"{address}/health"), timeout_s=120)
        yield {**settings, "PREFECT_API_URL": address}
    finally:
        process.kill()
        process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def wait_until(holds, *, timeout_s: float):
    """The first true answer of `holds`."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        answer = holds()
        if answer:
            return answer
        time.sleep(0.1)
    pytest.fail(f"nothing after {timeout_s} s")


def run_flow(folder: Path, settings: dict[str, str], *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline.flow", *options]
    return subprocess.run(command, cwd=folder, env=environment(**settings), capture_output=True, text=True, timeout=300)


def begun(folder: Path) -> Counter:
    return Counter((folder / "begun.txt").read_text().split())


def test_independent_stages_run_side_by_side_and_a_second_run_has_nothing_to_do(repository, server):
    first = run_flow(repository, server, "--slots", "2")
    assert first.returncode == 0, first.stderr
    assert begun(repository) == Counter(ALL)
    assert "Task run 'classical@x classical@y'" in first.stderr, "cheap stages share one call of DVC"
    assert "Running stage 'train@a'" in first.stderr, "the output of the stages is shown"
    assert json.loads(dvc(repository, "status", "--json")) == {}
    second = run_flow(repository, server)
    assert (second.returncode, second.stdout) == (0, "Nothing is stale.\n")
    assert begun(repository) == Counter(ALL)


def test_a_failed_stage_stops_what_needs_it_and_nothing_else(repository, server):
    (repository / "dvc.yaml").write_text(CHEAP_ONLY)
    (repository / "x.fault").touch()
    failed = run_flow(repository, server, "--retries", "1")
    assert failed.returncode == 1
    assert "failed: classical@x; not run, since they need it: evaluate_classical@x, report." in failed.stderr
    assert "a fault in x" in failed.stderr.split("error: ")[-1], "the message says why"
    assert begun(repository) == Counter({"data": 1, "x": 2, "y": 1, "score_y": 1})
    (repository / "x.fault").unlink()
    repaired = run_flow(repository, server)
    assert repaired.returncode == 0, repaired.stderr
    assert begun(repository) == Counter({"data": 1, "x": 3, "y": 1, "score_x": 1, "score_y": 1, "report": 1})
    assert json.loads(dvc(repository, "status", "--json")) == {}


@pytest.mark.skipif(not parent_death.IS_LINUX, reason="the signal at the parent's death is Linux's")
def test_a_killed_flow_leaves_no_process_behind(repository, tmp_path):
    (repository / "dvc.yaml").write_text(STAGES.replace("{a: b, b: a}", "{a: nobody, b: nobody}"))
    with (tmp_path / "flow.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "pipeline.flow"], cwd=repository, env=environment(), stderr=log)
    try:
        wait_until(lambda: (repository / "a.begun").exists() and (repository / "b.begun").exists(), timeout_s=240)
        below = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    commands = [" ".join(child.cmdline()) for child in below if is_alive(child)]
    assert len(below) >= 5, f"a server, two DVCs and two stages, not {commands}"
    wait_until(lambda: not any(is_alive(child) for child in below), timeout_s=20)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_nightly_deployment_is_scheduled(server):
    def ask(path: str, content: dict):
        request = urllib.request.Request(server["PREFECT_API_URL"] + path, json.dumps(content).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    ask("/work_pools/", {"name": "local", "type": "process"})
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    deployed = subprocess.run(command, cwd=ROOT, env=environment(**server), capture_output=True, text=True)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    # a newer sqlalchemy breaks the scheduler without a word: nothing but such a run shows that it works
    scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "deployments": {"name": {"any_": ["nightly"]}}}
    run = wait_until(lambda: ask("/flow_runs/filter", scheduled), timeout_s=90)[0]
    assert run["auto_scheduled"] and run["parameters"] == {"slots": 2, "retries": 2}
    assert run["expected_start_time"][11:16] == "03:00"


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, inside dvc
def test_stale_stages_come_with_those_they_wait_for(repository, monkeypatch):
    monkeypatch.chdir(repository)
    dvc(repository, "repro", "--single-item", "data")
    waits = flow.stale_stages()
    assert "data" not in waits
    assert waits["train@a"] == []
    assert waits["evaluate_classical@x"] == ["classical@x"]
    assert sorted(waits["report"]) == ["evaluate_classical@x", "evaluate_classical@y", "train@a", "train@b"]
    assert list(waits)[-1] == "report"


def test_cheap_stages_are_grouped_until_one_fails():
    ready = ["classical@x", "train@a", "evaluate_classical@z", "classical@y"]
    assert flow._next_call(ready, Counter()) == ["classical@x", "evaluate_classical@z", "classical@y"]
    assert flow._next_call(ready, Counter({"classical@y": 1})) == ["classical@x", "evaluate_classical@z"]
    assert flow._next_call(ready, Counter({"classical@x": 1})) == ["classical@x"]
    assert flow._next_call(ready[1:], Counter()) == ["train@a"]


def test_a_stale_lock_is_dropped_and_a_living_one_kept(repository):
    lock = repository / ".dvc/tmp/rwlock"
    lock.write_text('{"half a fi')
    (repository / "dvc").write_text("input()")
    with subprocess.Popen([sys.executable, "dvc"], cwd=repository, stdin=subprocess.PIPE) as other:
        flow.drop_stale_locks(repository)
        assert lock.exists()
        other.communicate(b"\n")
    flow.drop_stale_locks(repository)
    assert not lock.exists()
    flow.drop_stale_locks(repository)  # nothing there, nothing to do


def test_a_folder_without_dvc_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no \.dvc here; run from the root of the repository"):
        flow.stale_stages()

"""The stages of dvc.yaml as a Prefect flow: independent ones side by side, failed ones again.

The flow owns no graph and no cache: both are DVC's. It asks DVC what is stale and has `dvc repro --single-item` run it.
`python -m pipeline.flow` runs it here and now; `prefect.yaml` has a nightly deployment.
The only file that imports prefect or dvc.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from graphlib import TopologicalSorter
from pathlib import Path

SETTINGS = {  # prefect and dvc read them; a value from outside wins
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_HOME": str(Path.cwd() / ".prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
for _key, _value in SETTINGS.items():
    os.environ.setdefault(_key, _value)

import psutil  # noqa: E402
from prefect import flow, get_run_logger, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.context import refresh_global_settings_context  # noqa: E402
from prefect.futures import PrefectFuture, as_completed  # noqa: E402

from pipeline import parent_death  # noqa: E402

CHEAP = ("classical@", "evaluate_classical@")  # seconds each, as long as DVC takes to start
SERVER_TIMEOUT_S = 120


@flow(name="comparison")
def comparison(slots: int = 2, retries: int = 2) -> None:
    """Bring every stage of the repository in the current folder up to date.

    Parameters
    ----------
    slots : calls of DVC that run at the same time
    retries : how often a failed stage is tried again

    Raises
    ------
    ValueError : no DVC repository here, no slot.
    RuntimeError : a stage failed (all others that do not need it are finished), or DVC's status is not clean afterwards.
    """
    if slots < 1 or retries < 0:
        raise ValueError(f"slots={slots}, retries={retries}: wanted at least one slot and no negative number of retries")
    drop_stale_locks(Path.cwd())
    waits = stale_stages()
    try:
        failed = _run_all(waits, slots=slots, retries=retries)
    except BaseException:  # Ctrl-C, SIGTERM: Prefect would wait for the calls to end
        _stop_calls()
        raise
    left = stale_stages()
    if failed:
        blocked = sorted(left.keys() - failed.keys())
        after = f"; not run, since they need it: {', '.join(blocked)}" if blocked else ""
        causes = "\n".join(f"{stage}: {cause}" for stage, cause in failed.items())
        raise RuntimeError(
            f"failed: {', '.join(failed)}{after}. What is finished is kept; run again after the repair\n{causes}"
        )
    if left:
        raise RuntimeError(f"dvc status is not clean after the run: {', '.join(left)}; an input changed meanwhile? Run again")


def stale_stages() -> dict[str, list[str]]:
    """Every stage that DVC calls stale and every stage behind one, each with those of them that it waits for directly.

    Raises
    ------
    ValueError : the current folder is not the root of a DVC repository.
    """
    from dvc.repo import Repo

    if not Path(".dvc").is_dir():
        raise ValueError(f"{Path.cwd()}: no .dvc here; run from the root of the repository")
    with Repo(".", _wait_for_lock=True) as repo:
        graph = repo.index.graph  # edges lead from a stage to what it depends on
        needs = {stage.addressing: [other.addressing for other in graph.successors(stage)] for stage in graph}
        stale = set(repo.status())
    found: dict[str, list[str]] = {}
    for stage in TopologicalSorter(needs).static_order():
        behind = [need for need in needs[stage] if need in found]
        if stage in stale or behind:
            found[stage] = behind
    return found


def _run_all(waits: dict[str, list[str]], *, slots: int, retries: int) -> dict[str, str]:
    """Run all stages in the order of their graph; the answer is failed stage -> cause."""
    sorter = TopologicalSorter(waits)
    sorter.prepare()
    ready: list[str] = []
    running: dict[PrefectFuture, list[str]] = {}
    tries: Counter[str] = Counter()
    failed: dict[str, str] = {}
    while True:
        ready += sorter.get_ready()
        while ready and len(running) < slots:
            call = _next_call(ready, tries)
            ready = [stage for stage in ready if stage not in call]
            running[reproduce.submit(" ".join(call), call)] = call
        if not running:
            return failed
        future = next(as_completed(list(running)))
        future.wait()  # "completed" is the call: its final state comes with the wait
        call = running.pop(future)
        if future.state.is_completed():
            sorter.done(*call)
            continue
        tries.update(call)
        for stage in call:  # of a group some may be done; DVC skips those
            if len(call) > 1 or tries[stage] <= retries:
                ready.append(stage)
            else:
                failed[stage] = future.state.message or "no cause given"


def _next_call(ready: list[str], tries: Counter[str]) -> list[str]:
    """The first ready stage; a cheap one with all other cheap ones that have not failed yet."""
    first = ready[0]
    if not first.startswith(CHEAP) or tries[first]:
        return [first]
    return [stage for stage in ready if stage.startswith(CHEAP) and not tries[stage]]


@task(task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def reproduce(label: str, stages: list[str]) -> None:
    """Have DVC run the stages, and only these; their output goes to the log, under `label`.

    Raises
    ------
    RuntimeError : a stage failed; with the last lines of its output.
    """
    log = get_run_logger()
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--keep-going", "--single-item", *stages]
    last: deque[str] = deque(maxlen=12)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": _environment()}
    with subprocess.Popen(parent_death.tied(command), **options) as process:
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip().rpartition("\r")[2]  # of a progress bar its last state
            if line:
                log.info("%s", line)
                last.append(line)
    if process.returncode:
        raise RuntimeError(f"dvc ended with {process.returncode}; its last lines:\n" + "\n".join(last))


def _environment() -> dict[str, str]:
    """What DVC gets: `python` in a stage's command is this one, and the shell that starts it becomes the stage.

    Bash does so, other shells stay in between and outlive a killed DVC, and the stage with them.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    bash = shutil.which("bash")
    return {**os.environ, "PATH": path} | ({"SHELL": bash} if bash else {})


def _stop_calls() -> None:
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "--wait-for-lock" in child.cmdline():
                child.terminate()


def drop_stale_locks(root: Path) -> None:
    """Delete `.dvc/tmp/rwlock` unless another DVC works here.

    DVC drops entries of dead processes from it, but a number that another process has by now blocks it for ever, and a
    half-written file stops it.
    """
    from dvc.repo import Repo

    lock = root / ".dvc/tmp/rwlock"
    if lock.exists():
        with Repo(root, _wait_for_lock=True).lock:  # nobody begins a stage meanwhile
            if not _other_dvc(root):
                lock.unlink(missing_ok=True)


def _other_dvc(root: Path) -> bool:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_dvc = any(Path(part).name == "dvc" for part in process.cmdline()[:4])
            if is_dvc and process.pid != os.getpid() and Path(process.cwd()).is_relative_to(root):
                return True
    return False


def start_local_server() -> None:
    """Start a Prefect server that is gone when this process is; does nothing where PREFECT_API_URL names one.

    Prefect would start one by itself, but a flow that is killed leaves that one behind.

    Raises
    ------
    RuntimeError : the server does not come up.
    """
    if os.environ.get("PREFECT_API_URL"):
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    with (home / "server.log").open("w") as log:
        tied = parent_death.tied(command, number=signal.SIGKILL)
        # Ctrl-C goes to the whole session: the server must live on to hear how the flow ended
        server = subprocess.Popen(tied, stdout=log, stderr=log, start_new_session=True)
    _wait_for(server, f"http://127.0.0.1:{port}/api/health", home / "server.log")
    refresh_global_settings_context()  # prefect read the environment when it was imported


def _wait_for(server: subprocess.Popen, address: str, log: Path) -> None:
    end_s = time.monotonic() + SERVER_TIMEOUT_S
    while time.monotonic() < end_s and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the Prefect server did not start; {log} says why")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.flow", description="Bring all stages up to date, side by side.")
    parser.add_argument("--slots", type=int, default=2, help="stages at the same time (default: 2)")
    parser.add_argument("--retries", type=int, default=2, help="how often a failed stage is tried again (default: 2)")
    arguments = parser.parse_args(argv)
    try:
        if stale_stages():
            start_local_server()
            comparison(slots=arguments.slots, retries=arguments.retries)
        else:
            print("Nothing is stale.")
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what is finished is kept, run again to continue", file=sys.stderr)
        return 130
    if Path("runs").is_dir():
        return subprocess.call([sys.executable, "-m", "pipeline.report"])
    return 0


if __name__ == "__main__":
    sys.exit(main())

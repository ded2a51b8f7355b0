"""Several processes train as one would: the same gradients, one that writes, a clear end where one is killed."""

import contextlib
import ipaddress
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest
import torch

from pipeline.training.fit import make_trainer
from pipeline.training.processes import Processes, joined, launch
from pipeline.training.state import Checkpoint
from tests.project import Project, small_params
from tests.test_training import FIT, assert_same
from tests.tiny import training_arrays
from tests.trains_on import STOPPED
from tests.trains_together import step


# normalised by pixels, and by sums over the whole batch
@pytest.mark.parametrize("loss", [pytest.param("cross_entropy", marks=pytest.mark.slow), "dice"])
def test_two_processes_have_the_gradient_of_one_with_the_whole_batch(tmp_path, loss):
    training_arrays(tmp_path / "data")  # rotated, so that the shares have different numbers of labelled pixels
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run([*together, "tests.trains_together", str(tmp_path), loss], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = step(tmp_path, loss, {}, Processes())
    weights = torch.load(tmp_path / "together.pt", weights_only=True)
    for name, tensor in alone.items():  # at a rate of 1 the weights differ by as much as the gradients
        torch.testing.assert_close(weights[name], tensor, atol=1e-9, rtol=0)


def test_the_shares_of_a_batch_make_the_batch():
    batch = list(range(7))
    shares = [Processes(3, rank).share(batch) for rank in range(3)]
    assert sorted(itertools.chain(*shares)) == batch and [len(share) for share in shares] == [3, 2, 2]


def test_a_batch_too_small_for_all_is_refused(tmp_path):
    arrays = training_arrays(tmp_path / "data")
    with pytest.raises(ValueError, match=r"batch_size: 3 is that of all 2 processes together.*give at least 4"):
        make_trainer({**FIT, "batch_size": 3}, arrays, Checkpoint(tmp_path), seed=0, processes=Processes(2, 0))


def test_alone_nothing_is_exchanged(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(threads=1) as processes:
        rows = torch.ones(2, 3, requires_grad=True)
        assert processes.together(rows) is rows
        assert processes.gathered("mine") == ["mine"]
        assert processes.is_first and torch.get_num_threads() == 1


def test_two_processes_that_are_stopped_go_on_to_the_same_bits(tmp_path, monkeypatch):
    training_arrays(tmp_path / "data", val=8)  # two batches: each process validates one
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(ValueError, match="one of the 2 training processes failed or was killed"):
        launch(2, "tests.trains_on", [str(tmp_path), "killed"])
    assert 2 <= torch.load(tmp_path / "killed/last.pt", weights_only=True)["progress"]["step"] < 6
    launch(2, "tests.trains_on", [str(tmp_path), "goes on"])
    assert not any((tmp_path / "temporary").iterdir())
    for name in ("killed", *STOPPED):
        stopped, whole = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in (name, f"{name}, whole"))
        assert_same(stopped["updates"]["network"], whole["updates"]["network"])
        assert stopped["progress"]["history"] == whole["progress"]["history"], name
        [best] = tmp_path.glob(f"{name}/best-*")  # the averaged weights, where there is an average
        assert best.read_bytes() == (tmp_path / f"{name}, whole" / best.name).read_bytes(), name


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    params = small_params()
    params["networks"]["unet"]["fit"] |= {"epochs": 60, "training": {"processes": 2, "average": 0.9}}
    project = Project(tmp_path_factory.mktemp("together") / "project", params)
    project.repro("augment")
    return project


@pytest.fixture(scope="module")
def training(project):
    """A stage whose two processes train, its checkpoint, and where it has listened until that was there."""
    stage = subprocess.Popen(
        ["dvc", "repro", "-s", "train@unet"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    addresses = set()

    def saved():
        assert stage.poll() is None, stage.stderr.read()
        addresses.update(listening(stage))
        return next(project.folder.glob("checkpoints/unet/*/last.pt"), None)

    try:
        yield stage, wait_for(saved), addresses
    finally:
        if stage.poll() is None:
            os.killpg(stage.pid, signal.SIGKILL)
        stage.communicate()


def test_they_listen_on_the_loopback_alone(training):
    _, _, addresses = training
    assert addresses and all(ipaddress.ip_address(address).is_loopback for address in addresses), addresses


def test_a_killed_process_ends_the_run_and_one_process_goes_on(project, training):
    stage, state, _ = training
    writers = {one.pid: one.environ()["RANK"] for one in workers(stage)}
    assert sorted(writers.values()) == ["0", "1"]
    victim = next(pid for pid, rank in writers.items() if rank == "1")
    os.kill(victim, signal.SIGKILL)
    message = stage.communicate(timeout=90)[1]
    assert stage.returncode != 0
    assert "one of the 2 training processes failed or was killed" in message
    assert "The last checkpoint is kept" in message
    done = torch.load(state, weights_only=True)["progress"]["epoch"]
    assert 0 < done < 60
    resumed = project.run(sys.executable, "-m", "stages.train", "unet", check=False)  # processes: 2 again
    assert resumed.returncode == 0 and "goes on at step" in resumed.stderr


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_stopped(project):
    params = project.params()
    params["networks"]["unet"]["fit"]["epochs"] = 61  # another training
    project.write_params(params)
    before = set(project.folder.glob("checkpoints/unet/*"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    stage = subprocess.Popen(
        [*torchrun, "-m", "stages.train", "unet"],  # as a user may start it
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: [path for path in project.folder.glob("checkpoints/unet/*/last.pt") if path.parent not in before])
    finally:
        os.killpg(stage.pid, signal.SIGKILL)
        stage.wait()
    params["networks"]["unet"]["fit"]["training"] = {"processes": 1, "average": 0.9}
    project.write_params(params)
    resumed = project.run(sys.executable, "-m", "stages.train", "unet", check=False)
    assert resumed.returncode == 0 and "goes on at step" in resumed.stderr
    assert len((project.folder / "runs/unet/history.csv").read_text().splitlines()) == 62  # with its heading


def workers(stage: subprocess.Popen) -> list[psutil.Process]:
    family = psutil.Process(stage.pid).children(recursive=True)
    return [one for one in family if "stages.train" in one.cmdline() and "RANK" in one.environ()]


def listening(stage: subprocess.Popen) -> set[str]:
    """The addresses on which a stage's processes listen now."""
    sockets = []
    for one in psutil.Process(stage.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            sockets += one.net_connections("inet")
    return {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}


def wait_for(condition, *, timeout_s: float = 300.0):
    """What `condition` gives, once it gives something."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError("waited in vain")

"""A command that a fork of another process runs is like one that runs by itself."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest
from forked_program import address_in

from pipeline.process.fork_server import client, server, wire
from pipeline.process.fork_server.address import address_of
from pipeline.process.fork_server.server import _Job, _Server

PROGRAM = Path(__file__).with_name("forked_program.py")
ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts clients; in the end no process of the address is left."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def begin(*arguments: str, idle_s: int = 600, **options: object) -> subprocess.Popen[str]:
        options.setdefault("env", environ)
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [sys.executable, str(PROGRAM), str(tmp_path), str(idle_s), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    yield begin
    for process in psutil.process_iter():
        try:
            if str(tmp_path) in process.cmdline():
                process.kill()
        except psutil.Error:
            continue


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="hg") as folder:
        yield Path(folder)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def pids_of(process: subprocess.Popen[str]) -> tuple[psutil.Process, psutil.Process]:
    """The process that runs the command, and the server."""
    assert process.stdout is not None
    command, parent = map(int, process.stdout.readline().split())
    return psutil.Process(command), psutil.Process(parent)


def test_folder_mask_environment_streams_and_code_are_the_clients(
    tmp_path: Path, start: Start
) -> None:
    for nth, word in enumerate(("one", "zwei \udcff", "日本")):
        folder = tmp_path / f"folder {nth}"
        folder.mkdir()
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "WORD": word, "CODE": str(nth * 3)}
        process = start(
            "tell", "a b", "", stdin=subprocess.PIPE, cwd=folder, env=environ, umask=0o27 + nth
        )
        with process:
            out, err = process.communicate(f"typed {nth}", timeout=120)
        mask = oct(0o27 + nth)
        assert out == f"{folder} {mask} {word!a} typed {nth} a b \n"
        assert (process.returncode, err) == (nth * 3, "aside\n")


def test_limits_and_cores_are_the_clients(start: Start) -> None:
    import resource

    def less() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    everywhere = ended(start("limits"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert everywhere[1] == f"{(soft, hard)} {sorted(os.sched_getaffinity(0))}\n"
    code, out, _ = ended(start("limits", preexec_fn=less))
    assert (code, out) == (0, f"(77, 99) [{min(os.sched_getaffinity(0))}]\n")
    # It was the fork's alone.
    assert ended(start("limits")) == everywhere


def test_commands_of_one_moment_share_one_server(start: Start) -> None:
    results = [ended(process) for process in [start("pids") for _ in range(6)]]
    pids = [out.split() for _, out, _ in results]
    assert len({pid for pid, _, _ in pids}) == 6
    assert len({server for _, server, _ in pids}) == 1
    # A group of its own: what is sent to it reaches no other command.
    assert {leads for _, _, leads in pids} == {"True"}
    assert [code for code, _, _ in results] == [0] * 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command(start: Start, number: signal.Signals) -> None:
    process = start("sleep")
    command, parent = pids_of(process)
    process.send_signal(number)
    code, _, err = ended(process)
    assert code == 128 + number
    assert "nothing half-done is visible; run the command again" in err
    assert not command.is_running()
    assert parent.is_running()


def test_a_command_goes_with_its_client(start: Start) -> None:
    process = start("sleep")
    command, parent = pids_of(process)
    process.kill()
    command.wait(60)
    assert parent.is_running()
    assert ended(start("pids"))[1].split()[1] == str(parent.pid)


def test_the_command_of_a_task_goes_with_the_process_of_the_task(
    tmp_path: Path, start: Start
) -> None:
    """Airflow starts the client in a session of its own, which nothing else would end."""
    parent = ended(start("pids"))[1].split()[1]
    line = [sys.executable, str(PROGRAM), str(tmp_path), "600", "sleep"]
    task = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import subprocess; subprocess.run({line!r}, start_new_session=True)",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "AIRFLOW_CTX_TASK_ID": "train"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with task:
        command, _ = pids_of(task)
        task.kill()
        psutil.wait_procs([command], timeout=60)
        assert not command.is_running()
    assert psutil.pid_exists(int(parent))


def test_one_that_does_not_go_is_ended_with_what_it_started(start: Start) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "KILL_S": "0.2"}
    process = start("stubborn", env=environ)
    command, parent = pids_of(process)
    (grandchild,) = command.children()
    process.kill()
    gone, _ = psutil.wait_procs([command, grandchild], timeout=60)
    assert {end.pid for end in gone} == {command.pid, grandchild.pid}
    assert parent.is_running()


def test_a_command_that_is_killed_says_so_by_its_code(start: Start) -> None:
    assert ended(start("die"))[0] == 128 + signal.SIGKILL


def test_when_the_server_is_killed_its_commands_end_and_the_next_starts_another(
    start: Start,
) -> None:
    process = start("sleep")
    command, parent = pids_of(process)
    parent.kill()
    code, _, err = ended(process)
    assert code == 128 + signal.SIGKILL
    assert "has ended: nothing half-done is visible; run the command again" in err
    # Whoever runs it again does not meet it; whom it falls to may not have looked yet.
    assert not command.is_running() or command.status() == psutil.STATUS_ZOMBIE
    code, out, _ = ended(start("pids"))
    assert code == 0
    assert out.split()[1] != str(parent.pid)


def test_an_idle_server_ends_and_leaves_no_file(tmp_path: Path, start: Start) -> None:
    _, out, _ = ended(start("pids", idle_s=1))
    parent = int(out.split()[1])
    if psutil.pid_exists(parent):
        psutil.wait_procs([psutil.Process(parent)], timeout=60)
    assert [file.name for file in address_in(tmp_path) if file.exists()] == []
    assert ended(start("pids", idle_s=1))[0] == 0


def test_a_lock_that_its_holder_removes_as_it_ends_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two would hold a lock of the same name, on two files."""
    path, attempts = tmp_path / "lock", []
    flock = server.fcntl.flock

    def flock_after_another_ends(file: BinaryIO, how: int) -> None:
        attempts.append(file)
        if len(attempts) == 1:
            path.unlink()
        flock(file, how)

    monkeypatch.setattr(server.fcntl, "flock", flock_after_another_ends)
    lock = server._locked(path)
    assert lock is not None
    with lock:
        assert len(attempts) == 2
        assert server._locked(path) is None


def test_one_that_connects_and_says_nothing_holds_up_nobody(tmp_path: Path, start: Start) -> None:
    parent = ended(start("pids"))[1].split()[1]
    silent = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for connection in silent:
        connection.connect(str(address_in(tmp_path).socket))
    silent[0].close()
    silent[1].sendall(b"\0\0\0\0\0\0\0\4[1,]")
    assert ended(start("pids"))[1].split()[1] == parent
    silent[1].close()


def test_a_client_whose_command_never_begins_can_be_ended(tmp_path: Path, start: Start) -> None:
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(address_in(tmp_path).socket))
        hanging.listen()
        process = start("sleep")
        connection, _ = hanging.accept()
        with connection:
            request = wire.receive(connection, len(wire.STREAMS))
            assert request is not None
            for stream in request[1]:
                os.close(stream)
            process.send_signal(signal.SIGTERM)
            assert ended(process)[0] == 128 + signal.SIGTERM


def test_a_command_that_ends_with_its_client_ends_no_other(tmp_path: Path) -> None:
    """Both are seen in one look, the command's end first."""
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX) as listener, subprocess.Popen(["true"]) as command:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        process = os.pidfd_open(command.pid)
        with _Server(listener, 600.0) as jobs:
            jobs.watch(_Job(command.pid, process, ours))
            select.select([process], [], [])
            theirs.close()
            assert jobs.commands(0.0) is None


def test_where_there_is_no_room_for_a_fork_the_client_runs_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", no_room)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        waiting.connect(str(tmp_path / "sock"))
        wire.send(waiting, {}, wire.STREAMS)
        with _Server(listener, 600.0) as jobs:
            assert jobs._accepted() is None
        assert wire.receive(waiting) is None


def test_where_no_server_can_be_had_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_START_S", 0.2)
    address = address_in(tmp_path)
    for command in (["/nowhere/python"], [sys.executable, "-c", "raise SystemExit(1)"]):
        assert client.run_by_server(["pids"], os.environ, address, command, tmp_path) is None
    gone = address_in(tmp_path / "missing")
    assert client.run_by_server(["pids"], os.environ, gone, [sys.executable], tmp_path) is None


def test_the_address_follows_code_and_environment(short: Path) -> None:
    code = short / "code"
    code.mkdir()
    module = code / "module.py"
    module.write_text("")
    os.utime(module, ns=(10**18, 10**18))
    environ = {"XDG_RUNTIME_DIR": str(short), "LANG": "C"}
    first = address_of(environ, (code,))
    assert first is not None
    assert address_of(environ, (code,)) == first
    # What a task is told changes nothing of what was imported.
    assert address_of({**environ, "FIRST": "2016", "AIRFLOW_CTX_DAG_ID": "x"}, (code,)) == first
    assert address_of({**environ, "OMP_NUM_THREADS": "1"}, (code,)) != first
    assert address_of({**environ, "LANG": "C.UTF-8"}, (code,)) != first
    os.utime(module, ns=(10**18 + 1, 10**18 + 1))
    changed = address_of(environ, (code,))
    assert changed not in (None, first)
    (code / "more.py").touch()
    os.utime(code / "more.py", ns=(10**17, 10**17))
    assert address_of(environ, (code,)) not in (None, first, changed)


def test_a_folder_that_others_may_write_to_is_not_used(short: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(short)}
    folder = short / f"hourglass-{os.getuid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    assert address_of(environ, ()) is None
    folder.chmod(0o700)
    assert address_of(environ, ()) is not None
    folder.rmdir()
    (short / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(short / "elsewhere")
    assert address_of(environ, ()) is None
    assert address_of({"XDG_RUNTIME_DIR": str(short / "missing")}, ()) is None
    long = short / ("x" * 90)
    long.mkdir()
    assert address_of({"XDG_RUNTIME_DIR": str(long)}, ()) is None

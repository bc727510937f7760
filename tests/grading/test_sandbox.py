"""What a learner's code can do in the grading sandbox, tried from inside, for root and for an ordinary user."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys

import ordinary
import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from labkit.common import InputError
from labkit.grading import processes, sandbox

INSIDE = """
import ctypes, fcntl, json, mmap, os, platform, socket, sys, threading
port, abstract, secret = json.loads(sys.argv[1])

def tried(action):
    try:
        return repr(action())
    except BaseException as error:
        return type(error).__name__

def fill(path, size):
    with open(path, "wb") as file:
        for _ in range(size // 1_000_000):
            file.write(bytes(1_000_000))

def fill_all():
    for number in range(40):
        fill(f"/tmp/{number}", 5_000_000)

def start_many():
    never, threads = threading.Event(), []
    try:
        for _ in range(200):
            threads.append(threading.Thread(target=never.wait, daemon=True))
            threads[-1].start()
    finally:
        never.set()

def connect(family, address):
    with socket.socket(family) as each:
        each.settimeout(3)
        each.connect(address)

def clone():
    made = libc.syscall(56 if platform.machine() == "x86_64" else 220, 0x10000011, 0, 0, 0, 0)
    if made == 0:
        os._exit(0)
    return made

libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
said = {
    "capabilities": status["CapEff"].strip() + status["CapPrm"].strip() + status["CapBnd"].strip(),
    "user": os.getuid(),
    "no new privileges": status["NoNewPrivs"].strip(),
    "environment": sorted(os.environ),
    "descriptors": sorted(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")),
    "processes": len([p for p in os.listdir("/proc") if p.isdigit()]),
    "tcp": tried(lambda: connect(socket.AF_INET, ("127.0.0.1", port))),
    "abstract": tried(lambda: connect(socket.AF_UNIX, "\\0" + abstract)),
    "outside": os.path.exists(secret),
    "home": os.path.exists("/root/.bashrc") or bool(os.path.isdir("/home") and os.listdir("/home")),
    "etc": os.path.exists("/etc/passwd") or os.path.exists("/etc/shadow"),
    "mount": libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None),
    "namespace": libc.unshare(0x10000000),
    "clone": clone(),
    "shared": tried(lambda: mmap.mmap(-1, 4096)),
    "zero": tried(lambda: open("/dev/zero", "rb")),
    "space": tried(lambda: mmap.mmap(-1, 60_000_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)),
    "first": tried(lambda: open("/proc/1/mem", "r+b")),
    "watch": libc.inotify_init1(0),
    "pages": libc.tee(os.pipe()[0], os.pipe()[1], 1, 0),
    "wide": tried(lambda: fcntl.fcntl(os.pipe()[1], 1031, 1 << 20)),
    "shown": [p for p in ("/usr/share/doc", "/usr/local/share", "/usr/include", sys.prefix + "/share") if os.path.exists(p)],
    "kernel": tried(lambda: open("/proc/sys/kernel/core_pattern", "w")),
    "one file": tried(lambda: fill("/tmp/large", 20_000_000)),
    "disk": tried(fill_all),
    "shared memory": tried(lambda: [fill(f"/dev/shm/{n}", 5_000_000) for n in range(40)]),
    "write": [p for p in ("/", "/usr", "/kit", "/dev", "/proc/sys", "/usr/bin/x") if os.access(p, os.W_OK)],
    "memory": tried(lambda: len(bytearray(4_000_000_000))),
    "threads": tried(start_many),
    "labkit": sorted(os.listdir("/kit/labkit") + os.listdir("/kit/labkit/exercises")),
}
print(json.dumps(said))
"""
EXPECTED = {
    "tcp": ("PermissionError",),
    "shared": ("PermissionError",),
    "zero": ("PermissionError",),
    "space": ("OSError",),
    "first": ("PermissionError",),
    "wide": ("PermissionError",),
}
EXPECTED |= {"abstract": ("ConnectionRefusedError",)}
EXPECTED |= {"one file": ("OSError",), "disk": ("OSError",), "shared memory": ("OSError",), "memory": ("MemoryError",)}
EXPECTED |= {"threads": ("RuntimeError",), "kernel": ("OSError", "PermissionError", "FileNotFoundError")}


def look(port, abstract, secret):
    """What INSIDE says from the sandbox of whoever runs this."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-S", "-c", INSIDE, json.dumps([port, abstract, secret])]
        command, options = sandbox.wrapped(command, sandbox.GRADE, "grade", stack)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def asked_as_one(arguments, folder):
    """`look` by a user who is not root."""
    command = ordinary.command([sys.executable, __file__, json.dumps(arguments)], folder)
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=ordinary.environment())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def outside(tmp_path):
    """A listening port, an abstract socket's name, and a file, all of this side."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    name = f"labkit-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + name)
        unix.listen()
        yield [tcp.getsockname()[1], name, str(secret)]


@pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
@pytest.mark.parametrize("who", ["whoever runs the tests", "an ordinary user"])
def test_nothing_outside_can_be_reached_and_every_limit_holds(who, outside, tmp_path):
    if who == "an ordinary user" and (os.getuid() != 0 or shutil.which("unshare") is None):
        pytest.skip("needs root, to become another user")
    said = look(*outside) if who != "an ordinary user" else asked_as_one(outside, tmp_path)
    assert set(said["capabilities"]) == {"0"} and said["user"] != 0 and said["no new privileges"] == "1"
    assert set(said["environment"]) <= set(sandbox._environment("grade")) | {"PWD", "LC_CTYPE", "OLDPWD", "SHLVL", "_"}
    assert not [each for each in said["descriptors"] if each.startswith("/") and not each.startswith(("/proc", "/dev"))]
    assert said["processes"] <= 4
    assert (said["outside"], said["home"], said["etc"], said["write"]) == (False, False, False, [])
    assert said["mount"] == said["namespace"] == said["clone"] == said["watch"] == said["pages"] == -1
    assert said["shown"] == []
    assert said["labkit"] == ["__init__.py", "__init__.py", "engine.py", "exercises", "kinds.py", "limits.py"]
    for what, errors in EXPECTED.items():
        assert said[what] in errors, (what, said[what])


def abandoned():
    """The processes of a sandbox whose bubblewrap was killed that are there two seconds later."""
    processes.prctl(processes.SUBREAPER, 1)
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-S", "-c", "print(flush=True); input()"]
        command, options = sandbox.wrapped(command, sandbox.GRADE, "grade", stack)
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        started.stdout.readline()
        inside = processes.tree(started.pid)
        started.kill()
        started.wait()
        there = []
        for each in inside:
            with contextlib.suppress(psutil.NoSuchProcess):
                there.append(psutil.Process(each))
        psutil.wait_procs(there, timeout=2)
        return len(inside), [each for each in inside if not processes.ended(each)]


@pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
@pytest.mark.parametrize("who", ["whoever runs the tests", "an ordinary user"])
def test_nothing_outlives_bubblewrap(who, tmp_path):
    if who == "an ordinary user" and os.getuid() != 0:
        pytest.skip("needs root, to become another user")
    count, left = abandoned() if who != "an ordinary user" else asked_as_one("abandoned", tmp_path)
    assert count >= 2 and left == []


def test_what_every_sandbox_shows_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "prefix"
    (folder / "lib" / "grades").mkdir(parents=True)
    monkeypatch.setattr(sandbox.sys, "base_prefix", str(folder))
    sandbox._system.cache_clear()
    try:
        with pytest.raises(InputError, match="which a learner's code can read"):
            sandbox.refuse_shown(folder / "lib" / "grades")
        sandbox.refuse_shown(folder / "elsewhere")
        assert sandbox.shows(sandbox.PACKAGE.parent) is None
    finally:
        sandbox._system.cache_clear()


TRY = """
import glob, os, socket
(folder,) = glob.glob("/tmp/lk-*")
for number, action in enumerate((
    lambda: open(f"{folder}/new", "w"),
    lambda: os.remove(f"{folder}/s-1"),
    lambda: os.symlink("/tmp", f"{folder}/link"),
    lambda: open(f"{folder}/connection.json", "a"),
    lambda: socket.create_connection(("127.0.0.1", %d), 3),
)):
    try:
        action()
        print("did", number)
    except OSError:
        print("refused")
"""


@pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
def test_the_kernel_of_a_whole_lab_answers_and_cannot_write_outside(outside):
    manager, client = start_new_kernel(kernel_name="labkit-sandbox")
    try:
        printed = []
        for _ in range(2):
            hook = lambda message: printed.append(message["content"].get("text", ""))
            assert (
                client.execute_interactive(TRY % outside[0], output_hook=hook, timeout=60)["content"]["status"] == "ok"
            )
            client.stop_channels()
            manager.restart_kernel(now=True)
            client = manager.client()
            client.start_channels()
            client.wait_for_ready(timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(printed).split() == ["refused"] * 10


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(abandoned() if asked == "abandoned" else look(*asked)))

"""Kernels under bubblewrap: a provisioner for `jupyter_client`, so that any tool that accepts a kernel's name can use
it.

Two kernelspecs use it. `labkit-grade` holds Python, the installed libraries without labkit, and what lies in `inside/`;
`labkit-sandbox` holds labkit and its labs too, to run somebody's whole lab. Neither has a network, a home, `/etc`,
other processes, or a place to write to except `/tmp` and `/dev/shm`, 64 MB each (2 GB for a whole lab). The kernel's
sockets are files in a folder of its own where it cannot write: it gets them already open.

Without a user namespace, root would be root inside as well, so root's sandboxes run under user ids that nobody else
has, one for each sandbox that runs at the same time. Bubblewrap sets no limits: `prlimit` does, inside, for each
process; when grading, `judge` sums up the memory of all together, twenty times a second.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Unicode

from labkit.cluster import ONE_THREAD
from labkit.common import InputError
from labkit.grading import seccomp

PACKAGE = Path(__file__).resolve().parents[1]
INSIDE = Path(__file__).resolve().parent / "inside"
KIT = (  # everything of labkit that a learner's code can see, and where
    (INSIDE / "first.py", "first.py"),
    (INSIDE / "kernel.py", "kernel.py"),
    (INSIDE / "stub.py", "labkit/__init__.py"),
    (INSIDE / "empty.py", "labkit/exercises/__init__.py"),
    (PACKAGE / "exercises" / "engine.py", "labkit/exercises/engine.py"),
    (PACKAGE / "exercises" / "kinds.py", "labkit/exercises/kinds.py"),
    (PACKAGE / "exercises" / "limits.py", "labkit/exercises/limits.py"),
)
SYSTEM = ("bin", "lib", "lib32", "lib64", "libx32", "local/lib", "share/zoneinfo")  # of /usr; the rest is not needed
FONTS = ("share/fonts", "share/fontconfig")  # of /usr too, for a whole lab
NEEDED = ("bwrap", "setpriv", "prlimit")
FIRST_USER, USERS = 60_706, 478  # 60706 … 61183 are not assigned to anybody (systemd.io/UIDS-GIDS)
MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What a sandbox may use: of memory a process, all processes of `/tmp` and `/dev/shm`, and so on."""

    memory_mb: int = 2_000
    space_mb: int | None = (
        40_000  # of addresses, used or not: tables of them take memory; torch with CUDA maps ten thousand
    )
    files_mb: int = 64  # of /tmp, and of /dev/shm
    file_mb: int = 8  # of any file
    processes: int = 32  # threads count
    open_files: int = 128


GRADE = Limits()
WHOLE_LAB = Limits(memory_mb=12_000, space_mb=None, files_mb=2_000, file_mb=1_000, processes=1_024, open_files=1_024)


@cache
def missing() -> str | None:
    """Why there can be no sandbox here, and what to do about it, in one line; None if there can be one."""
    if not sys.platform.startswith("linux"):
        return "the sandbox needs Linux; grade in a Linux machine, container or WSL 2"
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"the sandbox needs {', '.join(absent)}; `apt-get install bubblewrap util-linux` (or the equivalent on your system)"
    if (PACKAGE.parent / "pyproject.toml").exists() and (folder := shows(PACKAGE.parent)):
        return f"the kit lies in {folder}, which a learner's code can read; move it, or install it as a package"
    try:
        with contextlib.ExitStack() as stack:
            command, options = wrapped(["true"], Limits(), "grade", stack)
            tried = subprocess.run(command, capture_output=True, text=True, timeout=20, **options)
    except subprocess.TimeoutExpired:
        return "bubblewrap does not start within 20 s"
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"bubblewrap cannot make namespaces here ({said}); allow user namespaces, or run as root on the machine itself"
    return None


def require() -> None:
    """Raise `InputError` if there can be no sandbox."""
    if reason := missing():
        instead = "; or say --unsandboxed if you trust the learners' code enough to run it as yourself"
        raise InputError(reason + (instead if sys.platform.startswith("linux") else ""))


def wrapped(
    command: list[str], limits: Limits, layout: str, stack: contextlib.ExitStack, sockets: Path | None = None
) -> tuple[list[str], dict[str, Any]]:
    """(the command under bubblewrap, options for `Popen`). What is held open for it is closed with `stack`."""
    root = os.getuid() == 0
    arguments = [
        "bwrap",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--hostname",
        "sandbox",
        "--cap-drop",
        "ALL",
    ]
    if root:
        arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            arguments += ["--cap-add", capability]
    else:  # bubblewrap's own first process would be the same user's; root's is root's, who is nobody inside
        arguments += ["--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1"]
    for key, value in _environment(layout).items():
        arguments += ["--setenv", key, value]
    size = str(limits.files_mb * MB)
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]
    if layout == "grade":
        arguments += ["--ro-bind", "/dev/null", "/dev/zero"]  # mapped, it is memory that no limit counts
    arguments += _mounts(layout)
    if sockets is not None:
        parents = [str(parent) for parent in reversed(sockets.parents[:-2])]  # below /tmp
        arguments += [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]
        arguments += ["--ro-bind", str(sockets), str(sockets)]
    blocked = stack.enter_context(tempfile.TemporaryFile())
    blocked.write(seccomp.program(layout))
    blocked.flush()
    blocked.seek(0)
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--seccomp", str(blocked.fileno())]
    arguments.append("--")
    if root:
        user = _user(stack)
        arguments += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]
        arguments += ["--bounding-set=-all", "--no-new-privs", "--"]
        if sockets is not None:
            for path in (sockets, *sockets.iterdir()):
                os.chown(path, user, user)
    one = {"nproc": limits.processes, "fsize": limits.file_mb * MB, "data": limits.memory_mb * MB}
    if limits.space_mb is not None:  # a GPU's driver reserves terabytes of them
        one["as"] = limits.space_mb * MB
    one |= {"nofile": limits.open_files, "core": 0, "memlock": 0, "msgqueue": 0, "sigpending": limits.processes * 32}
    arguments += ["prlimit", *(f"--{name}={value}:{value}" for name, value in one.items()), "--"]
    first = "/kit/first.py" if layout == "grade" else str(INSIDE / "first.py")
    return [*arguments, sys.executable, "-S", first, *command], {"pass_fds": (blocked.fileno(),)}


def _user(stack: contextlib.ExitStack) -> int:
    """A user id that no other sandbox of this machine has while `stack` is open, so that limits count one sandbox only."""
    import fcntl  # there is none on Windows

    folder = Path("/run/labkit-sandboxes")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != 0 or stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise InputError(f"{folder} must be root's own folder; remove it")
    for number in range(USERS):
        file = open(folder / str(number), "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        stack.enter_context(file)
        return FIRST_USER + number
    raise InputError(f"{USERS} sandboxes run here already")


def _environment(layout: str) -> dict[str, str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "USER": "learner", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
    environment |= {"IPYTHONDIR": "/tmp/ipython", "MPLCONFIGDIR": "/tmp/matplotlib", "HF_HUB_OFFLINE": "1"}
    if layout == "grade":
        return environment | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(["/kit", *_libraries()])}
    if device := os.environ.get("LABKIT_DEVICE"):
        environment["LABKIT_DEVICE"] = device  # a whole lab can be checked on a GPU
    environment["FONTCONFIG_FILE"] = str(INSIDE / "fonts.conf")  # without one in `/etc` it complains on stderr
    return environment | {"LABKIT_HOME": "/tmp/labkit", "PYTHONPATH": str(PACKAGE.parent)}


@cache
def _libraries() -> list[str]:
    """The folders of installed packages. (The kernel of `labkit-grade` starts without `site`, which takes time.)"""
    return [
        path
        for path in sys.path
        if path and Path(path).is_dir() and Path(path).name in ("site-packages", "dist-packages")
    ]


@cache
def _system(layout: str) -> tuple[Path, ...]:
    """The folders and files outside labkit that a sandbox shows: programs, shared libraries, and the interpreter with
    its installed packages, but no prefix as a whole.
    """
    wanted = [Path("/usr", name) for name in (*SYSTEM, *(FONTS if layout == "lab" else ()))]
    wanted += [Path(name) for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64") if not os.path.islink(name)]
    wanted += [Path(sys.base_prefix, "lib"), Path(sys.executable), Path(sys.executable).resolve()]
    for each in (Path(sys.prefix, "pyvenv.cfg"), Path(sys.base_prefix), *map(Path, _libraries())):
        wanted += [each, each.resolve()] if each != Path(sys.base_prefix) else [each.resolve() / "lib"]
    shown: list[Path] = []
    for path in wanted:
        if path.exists() and not any(path.is_relative_to(other) for other in shown):
            shown.append(path)
    return tuple(shown)


def shows(path: Path, layout: str = "grade") -> Path | None:
    """The folder through which a sandbox would show `path` to a learner's code; None if it does not."""
    return next((each for each in _system(layout) if path.resolve().is_relative_to(each.resolve())), None)


def refuse_shown(*paths: Path, layout: str = "grade") -> None:
    """Raise `InputError` for a file or folder that every sandbox shows."""
    for path in paths:
        if (folder := shows(path, layout)) is not None:
            raise InputError(f"{path} lies in {folder}, which a learner's code can read; move it to another place")


@cache
def _mounts(layout: str) -> list[str]:
    arguments: list[str] = []
    bound: list[Path] = []

    def bind(source: Path, place: Path, how: str = "--ro-bind") -> None:
        for parent in reversed(place.parents[:-1]):  # bubblewrap would make them readable for root only
            if not any(parent.is_relative_to(other) for other in bound):
                arguments.extend(["--perms", "0755", "--dir", str(parent)])
        arguments.extend([how, str(source), str(place)])
        bound.append(place)

    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            arguments += ["--symlink", os.readlink(name), name]
    for path in _system(layout):
        bind(path, path)
    if layout == "grade":
        packages = [each for path in bound for each in path.glob("python3*/*-packages/labkit")]
        hidden = {*packages, *(Path(path, "labkit") for path in _libraries()), PACKAGE}
        for path in sorted(hidden):  # whatever labkit is among the folders that were bound
            if path.is_dir() and any(path.is_relative_to(other) for other in bound):
                arguments += ["--size", "4096", "--perms", "0555", "--tmpfs", str(path), "--remount-ro", str(path)]
        for source, name in KIT:
            bind(source, Path("/kit", name))
        return arguments
    for path in (PACKAGE, *(PACKAGE.parent / name for name in ("labs", "quizzes", "pyproject.toml"))):
        if path.exists() and not any(path.is_relative_to(other) for other in bound):
            bind(path, path)
    for device in sorted(Path("/dev").glob("nvidia*")):
        bind(device, device, "--dev-bind")
    if os.path.exists("/dev/nvidiactl"):
        bind(Path("/sys"), Path("/sys"))
    return arguments


def unwrapped(command: list[str], kit: Path) -> tuple[list[str], dict[str, str]]:
    """(the command of a grading kernel as yourself, its environment). The folder `kit` gets what `/kit` has in a
    sandbox.
    """
    for source, name in KIT:
        (kit / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, kit / name)
    environment = _environment("grade") | {"PYTHONPATH": os.pathsep.join([str(kit), *_libraries()])}
    return [sys.executable, "-S", str(kit / "kernel.py"), *command[1:]], environment


def _listeners(folder: Path, stack: contextlib.ExitStack) -> list[int]:
    """Descriptors of sockets that listen at `s-1` … `s-5`, for a kernel that is given them.

    So it needs no folder that it can write to, where it could fill the disk, or replace a socket with a link, which the
    next client would follow.
    """
    made = []
    for number in range(1, 6):
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(folder / f"s-{number}"))
        listener.listen()
        listener.setblocking(False)
        made.append(listener.fileno())
    return made


class QuickClient(BlockingKernelClient):
    """A client that is ready when the kernel has said so: jupyter_client's own would then wait for 0.2 s of silence."""

    def wait_for_ready(self, timeout: float | None = None) -> None:
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while time.monotonic() < end:
            asked = self.kernel_info()
            with contextlib.suppress(Empty):
                while self.get_shell_msg(timeout=1)["parent_header"].get("msg_id") != asked:
                    pass
                while not self._is_end(
                    self.get_iopub_msg(timeout=0.05), asked
                ):  # missed, if it came before we listened
                    pass
                return
            if not self.is_alive():
                raise RuntimeError("the kernel ended before it was ready")
        raise RuntimeError(f"the kernel was not ready in {timeout:g} s")

    @staticmethod
    def _is_end(message: dict[str, Any], asked: str) -> bool:
        idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
        return idle and message["parent_header"].get("msg_id") == asked


class SandboxProvisioner(LocalProvisioner):
    """Starts a kernel under bubblewrap. The kernelspec says which layout: `grade` or `lab`."""

    layout = Unicode("lab").tag(config=True)

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        bare = self.layout == "grade" and "LABKIT_UNSANDBOXED" in os.environ
        if not bare and (reason := missing()):
            raise InputError(reason)
        self._held = contextlib.ExitStack()
        place = os.environ.get(
            "LABKIT_SOCKETS"
        )  # paths of ≤ 107 bytes; by the number, `runner.sweep` knows whose it is
        sockets = Path(tempfile.mkdtemp(prefix="lk-" if place else f"lk-{os.getpid()}-", dir=place or "/tmp"))
        self._held.callback(shutil.rmtree, sockets, ignore_errors=True)
        manager: Any = self.parent
        manager.transport, manager.ip = "ipc", str(sockets / "s")
        manager.connection_file = str(sockets / "connection.json")
        if place:  # it belongs to a judge
            manager.client_factory = QuickClient
        for number, channel in enumerate(("shell", "iopub", "stdin", "hb", "control"), start=1):
            setattr(manager, f"{channel}_port", number)
        kwargs = await super().pre_launch(**kwargs)
        limits = GRADE if self.layout == "grade" else WHOLE_LAB
        command = kwargs.pop("cmd")
        self._listening = contextlib.ExitStack()
        listeners = _listeners(sockets, self._listening)
        command += map(str, listeners)
        if bare:
            command, environment = unwrapped(command, sockets.parent / "kit")
            return kwargs | {"cmd": command, "cwd": "/", "env": environment, "pass_fds": tuple(listeners)}
        command, options = wrapped(command, limits, self.layout, self._held, sockets)
        options["pass_fds"] += tuple(listeners)
        return kwargs | options | {"cmd": command, "cwd": "/", "env": {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}}

    async def post_launch(self, **kwargs: Any) -> None:
        await super().post_launch(**kwargs)
        self._listening.close()

    async def cleanup(self, restart: bool = False) -> None:
        await super().cleanup(restart=restart)
        if hasattr(self, "_held"):
            self._held.close()

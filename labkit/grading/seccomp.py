"""Which system calls a sandbox refuses: those that hold memory where no limit counts it, and risky interfaces of the
kernel.

A seccomp program is a list of instructions (linux/filter.h). This one compares the call's number with a list and
answers EPERM, or, for calls that libraries only try, ENOSYS; some calls are refused only for some arguments. On a
processor that is not listed nothing is refused.
"""

from __future__ import annotations

import platform
import struct

EPERM, ENOSYS = 1, 38
# name: (number on x86_64, on aarch64; linux/unistd.h)
REFUSED = {
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "inotify_init": (253, -1),  # of these a user has a certain number, which would be the instructor's
    "inotify_init1": (294, 26),
}
UNKNOWN = {"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)}
UNKNOWN |= {
    "clone3": (435, 435),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
}
NAMESPACES = (
    0x7E020000  # all of CLONE_NEW…; the flags of clone3 are in memory, so they cannot be checked (linux/sched.h)
)
SHARED_ANONYMOUS = 0x21  # pages that stay when they are not mapped, and that no limit counts (linux/mman.h)
UNIX = 1  # AF_UNIX: what other sockets hold back is the machine's memory
SIZE_OF_PIPE = 1031  # F_SETPIPE_SZ: more memory that is nobody's (linux/fcntl.h)
PIPES = {"vmsplice": (278, 75), "tee": (276, 77), "splice": (275, 76)}  # a pipe would hold pages that no process has
# name: (numbers, the argument, the bits of it that count, what they are, whether to refuse these or all others)
REFUSED_FOR = {"clone": ((56, 220), 0, NAMESPACES, 0, False)}
REFUSED_IN_GRADE = {
    "mmap": ((9, 222), 3, SHARED_ANONYMOUS, SHARED_ANONYMOUS, True),
    "socket": ((41, 198), 0, 0xFFFFFFFF, UNIX, False),
    "fcntl": ((72, 25), 1, 0xFFFFFFFF, SIZE_OF_PIPE, True),
}
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # linux/audit.h; the column above

LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def program(layout: str, machine: str | None = None) -> bytes:
    """The filter of a sandbox's layout for this processor, as bubblewrap's `--seccomp` reads it."""
    if (machine or platform.machine()) not in ARCHITECTURES:
        return _instruction(RETURN, ALLOW)
    architecture, column = ARCHITECTURES[machine or platform.machine()]
    steps = [_instruction(LOAD, 4), _instruction(EQUAL, architecture, 1, 0), _instruction(RETURN, KILL)]
    steps.append(_instruction(LOAD, 0))
    if column == 0:  # the x32 numbers are another way to the same calls
        steps += [_instruction(AT_LEAST, 0x40000000, 0, 1), _instruction(RETURN, KILL)]
    for calls, error in ((REFUSED, EPERM), (PIPES if layout == "grade" else {}, EPERM), (UNKNOWN, ENOSYS)):
        for numbers in (each for each in calls.values() if each[column] >= 0):
            steps += [_instruction(EQUAL, numbers[column], 0, 1), _instruction(RETURN, REFUSE | error)]
    for numbers, argument, bits, value, refuse in (
        REFUSED_FOR | (REFUSED_IN_GRADE if layout == "grade" else {})
    ).values():
        steps += [
            _instruction(EQUAL, numbers[column], 0, 5),
            _instruction(LOAD, 16 + 8 * argument),
            _instruction(AND, bits),
        ]
        steps += [_instruction(EQUAL, value, int(not refuse), int(refuse)), _instruction(RETURN, REFUSE | EPERM)]
        steps.append(_instruction(LOAD, 0))
    return b"".join([*steps, _instruction(RETURN, ALLOW)])


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)

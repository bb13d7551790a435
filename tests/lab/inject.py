#!/usr/bin/env python3
"""System calls that fail: strace lets the n-th call of a kind return an error, for every n after start-up. The
training ends in a defined way and goes on to the same bytes. Needs strace."""
import collections
import itertools
import re
import shutil
import subprocess
import sys

from lab import Lab, hidden_files, learned, remove

STEPS = 4
# Without brk: the kernel answers with the old break where it refuses, never with an error, and the C library
# takes an injected one for an address.
ERRORS = {
    "openat": ["EIO", "EMFILE", "EACCES"],
    "read": ["EIO", "EINTR"],
    "pread64": ["EIO", "EINTR"],
    "write": ["EIO", "ENOSPC", "EDQUOT", "EINTR"],
    "pwrite64": ["EIO"],
    "fsync": ["EIO", "EINTR", "ENOSPC", "EINVAL"],
    "rename": ["EIO", "EXDEV", "ENOSPC"],
    "close": ["EIO", "EINTR"],
    "unlink": ["EIO"],
    "flock": ["EINTR", "ENOLCK"],
    "ftruncate": ["EIO"],
    "mkdir": ["ENOSPC", "EEXIST"],
    "newfstatat": ["EIO"],
    "getdents64": ["EIO"],
    "readlink": ["EIO"],
    "fchmod": ["EPERM"],
    "lseek": ["EIO"],
    "mmap": ["ENOMEM"],
    "madvise": ["EINVAL"],
    "sched_getaffinity": ["EINVAL"],
    "clone3": ["EAGAIN"],
    "clone": ["EAGAIN"],
}


def all_faults(lab):
    """(call, error, n) for every call that the training makes after the program has begun, in a random order."""
    lab.run(lab.training(STEPS), wrapper=["strace", "-f", "-o", "calls"])
    total, at_start = collections.Counter(), None
    with open("calls") as calls:
        for line in calls:
            match = re.match(r"\d+\s+(\w+)\(", line)
            if match and 'data.npy"' in line and "execve" not in line and at_start is None:
                at_start = total.copy()  # until here the loader worked
            if match:
                total[match[1]] += 1
    if at_start is None:
        sys.exit("inject.py: strace shows no call that opens the data: may this process be traced?")
    kinds = []
    for call, errors in ERRORS.items():
        for error in errors:
            kinds.append([(call, error, n) for n in range(at_start[call] + 1, total[call] + 1)])
            lab.random.shuffle(kinds[-1])
    # One of each kind after the other, so that a short run has tried all kinds.
    return [fault for turn in itertools.zip_longest(*kinds) for fault in turn if fault]


def trial(lab, fault, whole):
    call, error, n = fault
    remove("run")
    inject = f"inject={call}:error={error}:when={n}"
    result = lab.run(lab.training(STEPS), wrapper=["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject])
    where = f"{call} ({error} at call {n}):"
    lab.check_exit(result, where)
    again = lab.run(lab.go_on(STEPS))
    if again.code != 0:
        lab.find(where, f"the run cannot be resumed: {again.err.strip()}; before: {result.err.strip()}")
    elif learned("run") != whole:
        lab.find(where, f"the resumed run has other bytes; before: exit {result.code} {result.err.strip()}")
    for path in hidden_files("run"):
        lab.find(where, "left", path)
    lab.trials += 1


def main():
    if not shutil.which("strace"):
        print("inject.py: strace is not installed")
        sys.exit("inject.py: 0 trials, 1 findings")
    lab = Lab(__doc__)
    lab.must(lab.training(STEPS, "whole"))
    whole = learned("whole")
    if subprocess.run(["strace", "-o", "/dev/null", lab.program, "--version"], capture_output=True).returncode:
        print("inject.py: tracing is not permitted here: nothing is tried")
        lab.finish()
    faults = all_faults(lab)
    print(f"{len(faults)} faults to choose from", flush=True)
    for fault in faults:
        if not lab.goes_on():
            break
        trial(lab, fault, whole)
    lab.finish()


if __name__ == "__main__":
    main()

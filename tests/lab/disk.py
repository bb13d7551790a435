#!/usr/bin/env python3
"""A full disk while training: one line names the file, old files stay whole, nothing is left, and with room
again the run goes on to the bytes of one that never met it. The disk is a tmpfs of random size, one that
fills up while the program runs, and one without inodes; where mounting is not permitted, a limit on the size
of a file."""
import atexit
import contextlib
import os
import resource
import subprocess
import sys
import time

from lab import Lab, Result, damaged_files, hidden_files, learned, remove

STEPS = 30
DISK = "disk"
RUN = f"{DISK}/run"


def mount(options):
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", DISK], stderr=subprocess.DEVNULL
    ).returncode == 0


def unmount():
    return subprocess.run(["umount", os.path.abspath(DISK)], stderr=subprocess.DEVNULL).returncode == 0


def may_mount():
    with contextlib.suppress(FileNotFoundError):
        return mount("size=1m") and unmount()
    return False


def train_while_it_fills(lab, arguments):
    """Another program takes what room there is, some time after the start."""
    process = lab.start(arguments)
    time.sleep(lab.random.uniform(0.02, 0.5))
    with contextlib.suppress(OSError), open(f"{DISK}/filler", "wb", buffering=0) as filler:
        for _ in range(4096):
            filler.write(bytes(4096))
    err = process.communicate()[1]
    return Result(arguments, process.returncode, err)


def limited_run(lab, arguments):
    limit = lab.random.choice([100, 20_000, 100_000, 800_000, lab.random.randrange(2_000_000)])


    def set_limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return f"limit of {limit} bytes", lab.run(arguments, preexec_fn=set_limit)


def full_run(lab, way, arguments):
    """-> what was tried, and how it ended."""
    if way == "limit":
        return limited_run(lab, arguments)
    if way == "size":
        options = f"size={lab.random.randrange(4, 700) * 4096}"
    elif way == "inodes":
        options = f"size=64m,nr_inodes={lab.random.randrange(2, 24)}"
    else:
        options = "size=8m"
    if not mount(options):
        sys.exit(f"disk.py: cannot mount a tmpfs of {options}")
    run = train_while_it_fills if way == "filling" else Lab.run
    return f"{way} {options}", run(lab, arguments)


def trial(lab, way, whole):
    tried, result = full_run(lab, way, lab.training(STEPS, RUN))
    where = f"disk ({tried}):"
    lab.check_exit(result, where)
    if result.code == 1 and "No space left" not in result.err and "File too large" not in result.err:
        lab.find(where, "the message does not say why:", result.err.strip())
    for damage in damaged_files(RUN):
        lab.find(where, damage)
    for path in hidden_files(RUN):
        lab.find(where, "left", path)
    if way != "limit":
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10000", DISK], check=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{DISK}/filler")
    again = lab.run(lab.go_on(STEPS, RUN))
    if again.code != 0 or learned(RUN) != whole:
        lab.find(where, f"with room again: exit {again.code}", again.err.strip())
    if way != "limit":
        unmount()
    remove(RUN)
    lab.trials += 1
    lab.counts[f"{way}: {'met' if result.code else 'not met'}"] += 1


def main():
    lab = Lab(__doc__)
    lab.must(lab.training(STEPS, "whole"))
    os.makedirs(DISK)
    ways = ["size", "filling", "inodes", "limit"]
    if may_mount():
        atexit.register(unmount)
    else:
        ways = ["limit"]
        print("disk.py: mounting a tmpfs is not permitted here: only limits on a file's size are tried")
    whole = learned("whole")
    while lab.goes_on():
        trial(lab, ways[lab.trials % len(ways)], whole)
    lab.finish()


if __name__ == "__main__":
    main()

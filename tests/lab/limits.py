#!/usr/bin/env python3
"""Odd surroundings: closed descriptors, full devices, and limits on processes, memory, files and the stack,
for every subcommand. One line and a defined exit, never a signal, never an endless wait."""
import os
import re
import resource

from lab import Lab, remove

NOBODY = 65534
COMMANDS = {
    "train": "train --out run --steps 2 --data data.npy --model tiny --batch 8",
    "sample": "sample --model whole --out x.png --count 4 --steps 2",
    "sample GIF": "sample --model whole --out x.gif --count 4 --steps 2",
    "info": "info",
    "info model": "info --model whole",
    "predict": "predict --model golden --in golden/in.safetensors --out y.safetensors --grad",
    "nowhere": "info --model nowhere",
}
ERR_IS_CLOSED = {"stderr full", "both full", *(f"without descriptors {c}" for c in ([2], [0, 2], [1, 2], [0, 1, 2]))}


def limit(kind, value):
    return lambda: resource.setrlimit(kind, (value, value))


def few_processes(count):
    """A limit on processes does not hold for root, so that the program has to run as somebody else."""

    def before():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (count, count))

    return before


def without(descriptors):
    def before():
        for descriptor in descriptors:
            os.close(descriptor)

    return before


def surroundings(lab):
    """name -> what changes them: arguments of Lab.run."""
    chosen = {}
    for closed in ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]):
        chosen[f"without descriptors {closed}"] = {"preexec_fn": without(closed)}
    full = open("/dev/full", "w")
    chosen["stdout full"] = {"stdout": full}
    chosen["stderr full"] = {"stderr": full}
    chosen["both full"] = {"stdout": full, "stderr": full}
    for threads in ("2", "40", "1000"):
        for count in (0, 3, 20):
            chosen[f"{count} processes for {threads} threads"] = {
                "preexec_fn": few_processes(count),
                "env": {"SFUMATO_THREADS": threads, "HOME": "/nonexistent"},
            }
    for megabytes in (30, 40, 50, 60, 70, 80, 90, 94, 100, 120, 150, 200, 300, 500):
        for threads in ("1", "64"):
            chosen[f"{megabytes} MB of addresses for {threads} threads"] = {
                "preexec_fn": limit(resource.RLIMIT_AS, megabytes << 20),
                "env": {"SFUMATO_THREADS": threads},
            }
    for count in (3, 4, 5, 6, 7, 8, 10):
        chosen[f"{count} descriptors"] = {"preexec_fn": limit(resource.RLIMIT_NOFILE, count)}
    for size in (0, 1, 1000, 100_000):
        chosen[f"files of {size} bytes"] = {"preexec_fn": limit(resource.RLIMIT_FSIZE, size)}
    for kilobytes in (64, 128, 1024):
        chosen[f"a stack of {kilobytes} KiB"] = {"preexec_fn": limit(resource.RLIMIT_STACK, kilobytes << 10)}
    return chosen


def never_began(result):
    """Whether the kernel or the dynamic loader gave up before main()."""
    return result.code == 127 and re.search(r"error while loading shared libraries|cannot allocate", result.err, re.I)


def trial(lab, name, change, command):
    remove("run")
    err_is_open = name not in ERR_IS_CLOSED
    try:
        result = lab.run(COMMANDS[command], **change)
    except OSError as error:  # the program could not even be started
        lab.counts[f"not started: {error.strerror}"] += 1
        return
    lab.trials += 1
    if never_began(result):
        lab.counts["ended by the dynamic loader"] += 1
        return
    lab.check_exit(result, f"{command} ({name}):", err_is_open)
    if command == "nowhere" and result.code == 0:
        lab.find(f"{command} ({name}): exit 0 without a model")


def main():
    lab = Lab(__doc__)
    lab.must(lab.training(4, "whole"))
    # Somebody else has to be able to run the program and to read the model.
    for root, _, _ in os.walk("."):
        os.chmod(root, 0o777)
    changes = surroundings(lab)
    pairs = [(name, command) for name in changes for command in COMMANDS]
    lab.random.shuffle(pairs)
    while pairs and lab.goes_on():
        name, command = pairs.pop()
        trial(lab, name, changes[name], command)
    lab.finish()


if __name__ == "__main__":
    main()

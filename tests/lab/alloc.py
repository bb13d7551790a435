#!/usr/bin/env python3
"""Exhausted memory: allocation number n of the process fails, once or from there on. The program ends in a
defined way, and a training can be resumed to the same bytes."""
import os
import pathlib
import re
import subprocess

from lab import Lab, learned, remove

STEPS = 4
COMMANDS = {
    "train": None,  # Lab.training
    "resume": None,
    "sample to PNG": "sample --model whole --out x.png --count 4 --steps 2",
    "sample to GIF": "sample --model whole --out x.gif --count 4 --steps 2",
    "sample to NPY": "sample --model whole --out x.npy --count 4 --steps 2",
    "info": "info --model whole",
    "predict": "predict --model golden --in golden/in.safetensors --out y.safetensors --grad",
}


def build_library():
    """fail_malloc.c as a shared library in the working directory."""
    source = pathlib.Path(__file__).with_name("fail_malloc.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", "fail_malloc.so", source, "-ldl"], check=True)
    return os.path.abspath("fail_malloc.so")


def prepare(lab, name):
    """-> the command's arguments, with its folder as it has to be."""
    if name == "train":
        remove("run")
        return lab.training(STEPS)
    if name == "resume":
        remove("run")
        lab.must(lab.training(STEPS) + " --stop-after 2")
        return "train --resume run"
    return COMMANDS[name]


def count_allocations(lab, name, env):
    lab.run(prepare(lab, name), env={**env, "COUNT_TO": "count"})
    return int(pathlib.Path("count").read_text())


def trial(lab, env, counts, whole):
    name = lab.random.choice(list(COMMANDS))
    # Near the start every allocation is another place in the code, later they repeat.
    last = counts[name] if lab.random.randrange(2) else min(counts[name], 2000)
    n, on = lab.random.randrange(1, last + 1), lab.random.randrange(2)
    threads = lab.random.choice("12")
    arguments = prepare(lab, name)
    result = lab.run(arguments, env={**env, "FAIL_AT": str(n), "FAIL_FROM": str(on), "SFUMATO_THREADS": threads})
    where = f"{name} (allocation {n} of {counts[name]}{' and all after' if on else ''}, {threads} threads):"
    # Nothing can be printed where there is no memory at all before main() begins.
    lab.check_exit(result, where, err_is_open=not (on and result.err == ""))
    if name in ("train", "resume"):
        again = lab.run(lab.go_on(STEPS))
        if again.code != 0 or learned("run") != whole:
            lab.find(where, f"with memory again: exit {again.code}", again.err.strip())
    lab.trials += 1


def main():
    lab = Lab(__doc__)
    lab.must(lab.training(STEPS, "whole"))
    whole = learned("whole")
    env = {"LD_PRELOAD": build_library()}
    counts = {name: count_allocations(lab, name, env) for name in COMMANDS}
    print("allocations:", re.sub(r"[{}']", "", str(counts)), flush=True)
    while lab.goes_on():
        trial(lab, env, counts, whole)
    lab.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""kill -9 at random moments. A training that is killed again and again, and resumed each time, ends with the
bytes of one that never was; a picture that `sample` replaces is the old one or the new one."""
import signal
import time

from lab import Lab, damaged_files, digest, hidden_files, learned, remove, step_of

STEPS = 60


def killed(lab, arguments, seconds):
    """Starts the program, kills it after that long. -> its exit code and what it said."""
    process = lab.start(arguments)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    err = process.stderr.read()
    return process.wait(), err


def check_finished(lab, whole):
    if learned("run") != learned("whole") or digest("run/samples/final.png") != whole:
        lab.find("a training that was killed and resumed has other bytes")
    for path in hidden_files("run"):
        lab.find("left after the end:", path)
    lab.counts["trainings that reached their end"] += 1
    remove("run")


def kill_training(lab, took, whole, last_step):
    """One kill. -> the step of the checkpoint it left."""
    # A third of the kills fall into the first moments, where the folder comes into being.
    wait = lab.random.uniform(0, 0.06) if lab.random.randrange(3) == 0 else lab.random.uniform(0, took / 2)
    code, err = killed(lab, lab.go_on(STEPS), wait)
    if code == 0:
        check_finished(lab, whole)
        return -1
    if code != -signal.SIGKILL:
        lab.find(f"exit {code} on going on after a kill:", err.strip())
        remove("run")
        return -1
    lab.trials += 1
    lab.counts["kills of a training"] += 1
    for damage in damaged_files("run"):
        lab.find("after a kill:", damage)
    step = step_of("run")
    if step < last_step:
        lab.find(f"after a kill the checkpoint went from step {last_step} back to {step}")
    return step


def kill_sample(lab, took, old, new):
    lab.must("sample --model whole --out x.png --count 30 --steps 1 --seed 0")
    sample = "sample --model whole --out x.png --count 30 --steps 1 --seed 1"
    code, err = killed(lab, sample, lab.random.uniform(0, took * 1.3))
    if code not in (0, -signal.SIGKILL):
        lab.find(f"sample: exit {code}:", err.strip())
    lab.trials += code != 0
    found = digest("x.png")
    lab.counts["kills of sample: old picture" if found == old else "kills of sample: new picture"] += 1
    if found not in (old, new):
        lab.find("sample: a picture that is neither the old nor the new one")


def main():
    lab = Lab(__doc__)
    begin = time.monotonic()
    lab.must(lab.training(STEPS, "whole"))
    took = time.monotonic() - begin
    whole = digest("whole/samples/final.png")
    pictures = []
    for seed in (0, 1):
        begin = time.monotonic()
        lab.must(f"sample --model whole --out x.png --count 30 --steps 1 --seed {seed}")
        pictures.append(digest("x.png"))
    sample_took = time.monotonic() - begin
    step = -1
    while lab.goes_on():
        if lab.trials % 5 == 4:
            kill_sample(lab, sample_took, *pictures)
        step = kill_training(lab, took, whole, step)
    lab.must(lab.go_on(STEPS))
    check_finished(lab, whole)
    lab.finish()


if __name__ == "__main__":
    main()

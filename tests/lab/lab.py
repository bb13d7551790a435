"""What the crash lab's scripts share: the program, a small training, its state on disk, and the count of
findings. Python's standard library only.

Each script is run as `SCRIPT.py [--seconds S] [--trials N] [--seed K]`: it ends after S seconds or N trials,
whichever comes first, prints what it found and, last, "N trials, F findings", and exits with 1 when F > 0.
The same seed makes the same trials in the same order."""
import argparse
import atexit
import collections
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILT = os.path.abspath(os.environ.get("SFUMATO", SOURCE / "build/sfumato"))
HANG = 60  # seconds after which a process counts as one that never ends


def write_npy(path, shape, data):
    """A u8 array as a .npy file of version 1.0."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + data)


def make_data():
    """data.npy: 40 pictures of 3 classes."""
    source = random.Random(0)
    write_npy(pathlib.Path("data.npy"), (40, 12, 12), bytes(source.randrange(256) for _ in range(40 * 144)))
    write_npy(pathlib.Path("data_labels.npy"), (40,), bytes(i % 3 for i in range(40)))


def read_tensors(path):
    """{name: bytes} of a safetensors file. Raises ValueError unless the file is whole."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors, end = {}, 0
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            tensors[name] = data[8 + length + first : 8 + length + last]
            end = max(end, last)
    if 8 + length + end != len(data):
        raise ValueError(f"{path}: {len(data)} bytes, not {8 + length + end}")
    return tensors


class Result:
    """How one process ended: `code` as subprocess has it (negative: by a signal; None: it hung)."""

    def __init__(self, command, code, err):
        self.command, self.code, self.err = command, code, err


class Lab:
    """One script's trials and findings, and its scratch folder, which is the working directory and holds the
    program, data.npy, its labels, and golden, a model with an input for `predict`."""

    def __init__(self, description):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--seconds", type=float, default=60)
        parser.add_argument("--trials", type=int, default=10**9)
        parser.add_argument("--seed", type=int, default=1)
        self.options = parser.parse_args()
        self.random = random.Random(self.options.seed)
        self.name = pathlib.Path(sys.argv[0]).name
        self.trials = self.findings = 0
        self.counts = collections.Counter()
        self.begin = time.monotonic()
        if not os.access(BUILT, os.X_OK):
            sys.exit(f"{self.name}: {BUILT} is not there: build it first, or name it in SFUMATO")
        self.folder = tempfile.mkdtemp(prefix="sfumato-lab-")
        atexit.register(self.clean_up)
        os.chdir(self.folder)
        self.program = shutil.copy(BUILT, os.path.join(self.folder, "sfumato"))
        shutil.copytree(SOURCE / "tests/golden/grey28", "golden")
        make_data()

    def clean_up(self):
        os.chdir("/")
        shutil.rmtree(self.folder, ignore_errors=True)

    def goes_on(self):
        """Whether another trial is due."""
        return self.trials < self.options.trials and time.monotonic() - self.begin < self.options.seconds

    def find(self, *words):
        self.findings += 1
        print("FINDING:", *words, flush=True)

    def finish(self):
        """Prints the counts and the last line, and exits."""
        for what, count in sorted(self.counts.items()):
            print(f"{count:8} {what}")
        print(f"{self.name}: {self.trials} trials, {self.findings} findings", flush=True)
        sys.exit(1 if self.findings else 0)

    # ---- processes

    def run(self, arguments, env=None, wrapper=(), **popen):
        """Runs the program with these arguments (a string or a list), after `wrapper`."""
        words = arguments.split() if isinstance(arguments, str) else [str(a) for a in arguments]
        command = [*wrapper, self.program, *words]
        environment = {**os.environ, "SFUMATO_THREADS": "1", **(env or {})}
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **popen}
        try:
            done = subprocess.run(command, env=environment, timeout=HANG, errors="replace", **popen)
        except subprocess.TimeoutExpired:
            return Result(command, None, "")
        return Result(command, done.returncode, done.stderr or "")

    def start(self, arguments):
        """Starts the program and does not wait for it."""
        return subprocess.Popen(
            [self.program, *arguments.split()],
            env={**os.environ, "SFUMATO_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            errors="replace",
        )

    def must(self, arguments):
        """Runs what has to succeed for the trials to mean anything."""
        result = self.run(arguments)
        if result.code != 0:
            sys.exit(f"{self.name}: {arguments}: exit {result.code}: {result.err}")

    def check_exit(self, result, where, err_is_open=True):
        """A defined exit: 0, or 1 with one line that says why. Anything else is a finding."""
        if result.code is None:
            self.find(where, f"did not end within {HANG} s")
        elif result.code not in (0, 1):
            self.find(where, f"exit {result.code}:", result.err.strip()[-300:])
        elif result.code == 1 and err_is_open:
            said = [line for line in result.err.split("\n") if line and not line.startswith("note: ")]
            if len(said) != 1 or not re.match(r"sfumato: .*", said[0]):
                self.find(where, "expected one line, got", repr(result.err[:300]))
        self.counts[f"{where.split()[0]}: exit {result.code}"] += 1

    # ---- a small training

    def training(self, steps, out="run"):
        """The arguments of a training that writes a checkpoint after every step."""
        return (
            f"train --out {out} --steps {steps} --checkpoint-every 0 --sample-every 0 --dropout 0.1"
            " --data data.npy --model tiny --batch 8"
        )

    def go_on(self, steps, run="run"):
        """The arguments that start the training or resume it, whichever its folder asks for."""
        started = os.path.exists(f"{run}/sfumato/run.json")
        return f"train --resume {run}" if started else self.training(steps, run)


def learned(run):
    """Hashes of all that a run has learned; not of the time it took."""
    state = read_tensors(f"{run}/sfumato/state.safetensors")
    del state["seconds"]
    parts = {name: hashlib.sha256(data).hexdigest() for name, data in state.items()}
    weights = pathlib.Path(run, "unet/diffusion_pytorch_model.safetensors").read_bytes()
    return {**parts, "the model's file": hashlib.sha256(weights).hexdigest()}


def step_of(run):
    """The step of a run's checkpoint; -1 before the first."""
    path = f"{run}/sfumato/state.safetensors"
    return struct.unpack("<q", read_tensors(path)["step"])[0] if os.path.exists(path) else -1


def damaged_files(run):
    """The files of a run that are there and not whole."""
    damaged = []
    for path in [*pathlib.Path(run).rglob("*.safetensors"), *pathlib.Path(run).rglob("*.json")]:
        if path.name.startswith("."):
            continue  # a temporary that a kill has left
        try:
            read_tensors(path) if path.suffix == ".safetensors" else json.loads(path.read_text())
        except (OSError, ValueError, struct.error) as error:
            damaged.append(f"{path}: {error}")
    return damaged


def hidden_files(folder):
    """Temporaries and locks that were left."""
    return [str(path) for path in pathlib.Path(folder).rglob(".*")]


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)


def digest(path):
    with contextlib.suppress(FileNotFoundError):
        return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    return None

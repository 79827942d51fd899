#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of quantized convolutional models: one table of float, round to nearest and each method, with agreement with float.

Calibration images and evaluated images never overlap. Models and labelled images are looked for in --data; what is absent is left out
with a line. Each row is one `ptqc compile` and one `ptqc eval --task topk --baseline` per fold; figures are over all folds.
"""

import argparse
import json
import lzma
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Fold:
    """Images to calibrate with and images to evaluate, as ranges of the two files."""
    calib: slice
    evaluated: slice


@dataclass(frozen=True)
class Task:
    model: str
    data: str            # folder under labelled/
    offset: int          # class = label + offset
    scale: float         # fed value = (x * scale - mean) / std
    mean: tuple
    std: tuple
    folds: tuple


# ImageNet: 500 pictures in one file; CIFAR-10: a file of its own for calibration.
ONE = (Fold(slice(400, 500), slice(0, 400)),)
BOTH = (*ONE, Fold(slice(0, 100), slice(400, 500)))
CIFAR = (Fold(slice(0, 256), slice(0, 2000)),)
TASKS = {
    "mobilenet_v1": Task("mobilenet_v1_0.25_224", "imagenet", 0, 1 / 127.5, (1,), (1,), ONE),
    "mobilenet_v2": Task("mobilenet_v2_1.0_224_tf2", "imagenet", 1, 1 / 127.5, (1,), (1,), BOTH),
    "resnet20": Task("resnet20_cifar10", "cifar10", 0, 1 / 255, CIFAR_MEAN, CIFAR_STD, CIFAR),
    "resnet8": Task("tiny_resnet8_cifar10", "cifar10", 0, 1, (0,), (1,), CIFAR),
}

RTN = ("--equalize", "off", "--bias-correction", "off")
METHODS = {
    "w8a8 rtn": ("--scheme", "w8a8", *RTN),
    "w8a8": ("--scheme", "w8a8"),
}


# ---- pictures ---------------------------------------------------------------------------------------------------------------

def read_array(path):
    packed = path.with_name(path.name + ".xz")
    if path.exists():
        return np.load(path)
    if packed.exists():
        with lzma.open(packed) as file:
            return np.load(file)
    return None


def pictures(root, name):
    """(pictures to evaluate, labels, pictures to calibrate with), or None."""
    folder = root / "labelled" / name
    file = "dev_224_u8.npy" if name == "imagenet" else "dev_u8.npy"
    evaluated = read_array(folder / file)
    calib = read_array(folder / "calib_u8.npy") if name == "cifar10" else evaluated
    if evaluated is None or calib is None:
        return None
    return evaluated, np.load(folder / "labels_dev.npy"), calib


def normalize(task, x):
    """As ptqc eval feeds them: f32, channels first."""
    x = (x.astype(np.float32) * np.float32(task.scale) - np.float32(task.mean)) / np.float32(task.std)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


# ---- one row ----------------------------------------------------------------------------------------------------------------

def run(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"{args[1]} ended with {done.returncode}")
    return done.stdout


def numbers(values):
    return ",".join(repr(float(v)) for v in values)


class Bench:
    def __init__(self, ptqc, work, threads):
        self.ptqc, self.work, self.threads = ptqc, work, ("-j", threads) if threads else ()

    def prepare(self, task, images):
        evaluated, labels, calib = images
        for i, fold in enumerate(task.folds):
            np.save(self.work / f"calib{i}.npy", normalize(task, calib[fold.calib]))
            np.save(self.work / f"data{i}.npy", evaluated[fold.evaluated])
            np.save(self.work / f"labels{i}.npy", labels[fold.evaluated])

    def evaluate(self, task, model, baseline, fold):
        out = run(self.ptqc, "eval", model, "--task", "topk", "--data", self.work / f"data{fold}.npy", "--labels",
                  self.work / f"labels{fold}.npy", "--label-offset", task.offset, "--baseline", baseline, f"--scale={task.scale!r}",
                  f"--mean={numbers(task.mean)}", f"--std={numbers(task.std)}", "--json", *self.threads)
        return json.loads(out)

    def row(self, task, model, args):
        """Sums over the folds of what eval told."""
        total = dict(samples=0, top1=0.0, float_top1=0.0, agreement=0.0, seconds=0.0, bytes=0)
        baseline = self.work / "float.ptqc"
        for fold in range(len(task.folds)):
            artifact, start = self.work / "row.ptqc", time.perf_counter()
            run(self.ptqc, "compile", model, "-o", artifact, "-f", "-q", "--calib", self.work / f"calib{fold}.npy", *args, *self.threads)
            total["seconds"] += time.perf_counter() - start
            told = self.evaluate(task, artifact, baseline, fold)
            total["samples"] += told["samples"]
            total["bytes"] = artifact.stat().st_size
            for key, name in (("top1", "top1"), ("float_top1", "baseline_top1"), ("agreement", "top1_agree")):
                total[key] += told[name] * told["samples"]
        for key in ("top1", "float_top1", "agreement"):
            total[key] /= total["samples"]
        return total


HEAD = "| model | method | images | float top-1 | top-1 | difference | agreement | bytes | compile s |\n|---|---|---|---|---|---|---|---|---|"


def line(name, method, r):
    return (f"| {name} | {method} | {r['samples']} | {r['float_top1']:.4f} | {r['top1']:.4f} | {r['top1'] - r['float_top1']:+.4f} "
            f"| {r['agreement']:.4f} | {r['bytes']:,} | {r['seconds']:.1f} |")


def measure(bench, root, names, methods):
    rows = []
    for name in names:
        task = TASKS[name]
        model = root / "models" / f"{task.model}.onnx"
        images = pictures(root, task.data) if model.exists() else None
        if images is None:
            print(f"{name}: model or pictures are absent in {root}", file=sys.stderr)
            continue
        bench.prepare(task, images)
        run(bench.ptqc, "compile", model, "-o", bench.work / "float.ptqc", "-f", "-q")
        for method, args in methods.items():
            try:
                row = bench.row(task, model, args)
            except RuntimeError as error:
                print(f"{name}, {method}: {error}", file=sys.stderr)
                continue
            rows.append(dict(model=name, method=method, arguments=list(args), **row))
            print(line(name, method, row), flush=True)
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--ptqc", required=True)
    p.add_argument("--data", type=Path, required=True, help="folder with models/ and labelled/")
    p.add_argument("--models", default=",".join(TASKS), help=f"of {', '.join(TASKS)}")
    p.add_argument("--methods", help="comma-separated names of rows (default: all)")
    p.add_argument("--extra", action="append", default=[], metavar="NAME=ARGS", help="one more row: arguments of ptqc compile")
    p.add_argument("--threads")
    p.add_argument("--json", type=Path)
    args = p.parse_args()
    methods = {k: v for k, v in METHODS.items() if args.methods is None or k in args.methods.split(",")}
    for extra in args.extra:
        name, _, text = extra.partition("=")
        methods[name] = tuple(text.split())
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        rows = measure(Bench(args.ptqc, Path(tmp), args.threads), args.data, args.models.split(","), methods)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of quantized models: one table of float, round to nearest (rtn) and each method, with the share of rtn's loss that the
method takes back.

A row is one `ptqc compile` and one `ptqc eval`, per fold. What is calibrated with and what is evaluated never overlap.

  result   top-1 of pictures, perplexity of texts
  loss     float's top-1 - top-1; nats per token over float
  s.e.     standard error of the loss, a paired difference: over pictures, over windows of a text
  agrees   equal decisions with float (of texts with --compare)
  removed  1 - loss(method) / loss(rtn) of texts; of pictures, where top-1 is too coarse, the same of decisions that differ from
           float's; of the same scheme

Models and data that are absent are left out with a line. Results of float models of texts stay in --cache for the next run.
"""

import argparse
import hashlib
import json
import lzma
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent

# ---- rows: scheme -> method -> further arguments of ptqc compile ----------------------------------------------------------------

PLAIN = ("--equalize", "off", "--bias-correction", "off")
W8A8 = {"rtn": PLAIN, "empirical": ("--bias-correction", "empirical"), "default": ()}
W4A8 = {"rtn": PLAIN, "default": ()} | {m: ("--method", m, "--scale-search", "mse") for m in ("adaround:from=gram", "adaround")}
PER_TENSOR = {
    "rtn": PLAIN,
    "bias": ("--equalize", "off"),
    "equalized": ("--bias-correction", "off"),
    "equalized+analytic": ("--bias-correction", "analytic"),
    "equalized+empirical": ("--bias-correction", "empirical"),
    "equalized+absorbed": ("--absorb-bias", "on", "--bias-correction", "off"),
    "equalized+absorbed+bias": ("--absorb-bias", "on"),
    "default": (),
}
CNN_ROWS = {
    "mobilenet_v1": {"w8a8": W8A8 | {"analytic": ("--bias-correction", "analytic")}},
    "mobilenet_v2": {"w8a8": W8A8, "w8a8:t:asym": PER_TENSOR, "w4a8:static": W4A8},
    "resnet20": {"w8a8": W8A8, "w4a8:static": W4A8},
    "resnet8": {"w8a8": W8A8, "w4a8:static": W4A8},
}


def by_method(*methods):
    """rtn and methods of language models by their names."""
    return {"rtn": ()} | {m: ("--method", m) for m in methods}


EVERY_INPUT = ("smoothquant:alpha=0.5:inputs=all", "smoothquant:inputs=all")

MINMAX = ("--observer", "minmax")

# Round to nearest alone: with these the published table of SmolLM2 has a row of each of its own.
PUBLISHED = ("w8a16:ch", "w8a16:g64:scale=f32", "w4a16:ch", "w4a16:g32", "w4a16:g96", "w4a16:g128", "w4a16:g192", "w4a16:g32:asym",
             "w4a16:g64:asym", "w3a16:ch", "w3a16:g32", "w3a16:g128")

LM_ROWS = {
    "smollm2": {scheme: by_method() for scheme in PUBLISHED} | {
        "w4a16:g32": by_method("gptq"),     # as llama.cpp's Q4_0
        "w4a16:g64": by_method("awq", "gptq", "gptq:polish=3", "awq+gptq"),
        "w3a16:g64": by_method("awq", "gptq", "gptq:polish=3", "awq+gptq"),
        "w8a8:dyn": by_method("smoothquant:alpha=0.5", "smoothquant", "smoothquant:alpha=0.5+gptq"),
        "w8a8": by_method("smoothquant:alpha=0.5", "smoothquant") | {
            "minmax": MINMAX,
            "smoothquant:alpha=0.5 with minmax": ("--method", "smoothquant:alpha=0.5", *MINMAX),
        },
    },
    "bible_lm": {
        "w8a16:ch": by_method(),
        "w4a16:g64": by_method("awq", "gptq", "awq+gptq"),
        "w4a16:ch": by_method("gptq"),
        "w3a16:g64": by_method("awq", "gptq", "awq+gptq"),
        "w8a8:dyn": by_method("smoothquant", "awq+smoothquant"),
        "w8a8": by_method("smoothquant", "awq+smoothquant"),
    },
}
for twin in ("stories260k", "stories260k_outliers"):
    LM_ROWS[twin] = {
        "w8a16:ch": by_method(),
        "w4a16:ch": by_method("awq", "gptq", "awq+gptq"),
        "w4a16:g32": by_method("awq", "gptq", "awq+gptq"),
        "w8a8:dyn": by_method("smoothquant", *EVERY_INPUT, "awq+smoothquant"),
        "w8a8": by_method("smoothquant", *EVERY_INPUT, "awq+smoothquant"),
    }

# ---- processes and files --------------------------------------------------------------------------------------------------------


def run(*args):
    """(stdout, seconds, peak MB of the process)."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([str(a) for a in args], stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if status != 0:
            raise RuntimeError(err.read().strip() or f"{args[1]} ended with {status}")
        return out.read(), time.perf_counter() - start, usage.ru_maxrss / 1024


@dataclass(frozen=True)
class Tool:
    """The command, and the options that all its calls get."""
    ptqc: Path
    threads: str | None

    def __call__(self, verb, *args):
        threads = ("-j", self.threads) if self.threads else ()
        return run(self.ptqc, verb, *args, "-q", *threads)

    def compile(self, model, artifact, args):
        return self("compile", model, "-o", artifact, "-f", *args)[1:]

    def eval(self, artifact, *args):
        return json.loads(self("eval", artifact, "--json", *args)[0])


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Cache:
    """Results of float artifacts, one file each, named by what they follow from."""

    def __init__(self, folder):
        self.folder = folder

    def get(self, key, make):
        path = self.folder / (hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()[:32] + ".json")
        if path.exists():
            return json.loads(path.read_text())
        value = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
        return value


# ---- what an evaluation tells ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """Of one evaluation beside float on the same samples."""
    samples: int             # pictures, tokens
    result: float            # top-1, perplexity
    loss: float              # of top-1, nats per token
    agrees: float            # equal decisions; nan: not compared
    variance: float          # of loss, as a mean of paired differences


def of_pairs(samples, both, model_only, base_only, agrees):
    """Result of counts: pictures that both models, only the quantized and only float get right (McNemar's table)."""
    lost = base_only - model_only
    variance = (model_only + base_only - lost * lost / samples) / samples**2
    return Result(samples, (both + model_only) / samples, lost / samples, agrees, variance)


def of_windows(told, base):
    """(loss, its variance) of two evaluations of the same windows: a mean of differences with the windows' tokens as weights."""
    weights = np.array([w["tokens"] for w in base["chunks"]], float)
    if [w["tokens"] for w in told["chunks"]] != weights.tolist():
        raise RuntimeError("float was evaluated on other windows")
    differences = np.array([a["nll"] - b["nll"] for a, b in zip(told["chunks"], base["chunks"])])
    loss = float(weights @ differences / weights.sum())
    if len(weights) < 2:
        return loss, math.nan
    spread = float(((weights * (differences - loss))**2).sum()) * len(weights) / (len(weights) - 1)
    return loss, spread / float(weights.sum())**2


def joined(folds):
    """Means over folds, by their samples."""
    samples = sum(f.samples for f in folds)
    mean = lambda name: sum(f.samples * getattr(f, name) for f in folds) / samples
    error = math.sqrt(sum(f.samples**2 * f.variance for f in folds)) / samples
    return dict(samples=samples, result=mean("result"), loss=mean("loss"), error=error, agrees=mean("agrees"))


# ---- pictures -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """Pictures to calibrate with and pictures to evaluate, as ranges of the two files."""
    calib: slice
    evaluated: slice


def read_array(path):
    packed = path.with_name(path.name + ".xz")
    if path.exists():
        return np.load(path)
    with lzma.open(packed) as file:
        return np.load(file)


def numbers(values):
    return ",".join(repr(float(v)) for v in values)


@dataclass(frozen=True)
class Pictures:
    """A classifier of labelled pictures."""
    model: Path
    evaluated: Path      # u8 [N][H][W][3]
    labels: Path
    calib: Path          # of the same kind
    folds: tuple
    offset: int          # class = label + offset
    scale: float         # fed value = (x * scale - mean) / std
    mean: tuple
    std: tuple
    unit = "top-1"

    def absent(self):
        packed = [p for p in (self.evaluated, self.calib) if not p.exists() and not p.with_name(p.name + ".xz").exists()]
        return packed + [p for p in (self.model, self.labels) if not p.exists()]

    def normalize(self, x):
        """As ptqc eval feeds them: f32, channels first."""
        x = (x.astype(np.float32) * np.float32(self.scale) - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))

    def prepare(self, work):
        evaluated, labels = read_array(self.evaluated), np.load(self.labels)
        calib = evaluated if self.calib == self.evaluated else read_array(self.calib)
        for i, fold in enumerate(self.folds):
            np.save(work / f"calib{i}.npy", self.normalize(calib[fold.calib]))
            np.save(work / f"data{i}.npy", evaluated[fold.evaluated])
            np.save(work / f"labels{i}.npy", labels[fold.evaluated])

    def calibration(self, work, fold, scheme, method):
        return ("--calib", work / f"calib{fold}.npy")

    def evaluate(self, tool, artifact, work, fold):
        """Result beside the float artifact in work."""
        told = tool.eval(artifact, "--task", "topk", "--data", work / f"data{fold}.npy", "--labels", work / f"labels{fold}.npy",
                         "--label-offset", self.offset, "--baseline", work / "float.ptqc", f"--scale={self.scale!r}",
                         f"--mean={numbers(self.mean)}", f"--std={numbers(self.std)}")
        right = told["right"]
        return of_pairs(told["samples"], right["both"], right["model_only"], right["baseline_only"], told["top1_agree"])

    def float_row(self, tool, cache, work):
        return [self.evaluate(tool, work / "float.ptqc", work, fold) for fold in range(len(self.folds))]

    @staticmethod
    def badness(row):
        return 1 - row["agrees"]


# ImageNet: 500 pictures in one file; CIFAR-10: a file of its own for calibration.
FIRST = (Fold(slice(400, 500), slice(0, 400)),)
BOTH = (*FIRST, Fold(slice(0, 100), slice(400, 500)))
CIFAR = (Fold(slice(0, 256), slice(0, 2000)),)


def imagenet(data, model, folds, offset):
    folder = data / "labelled/imagenet"
    x = folder / "dev_224_u8.npy"
    return Pictures(data / f"models/{model}.onnx", x, folder / "labels_dev.npy", x, folds, offset, 1 / 127.5, (1,), (1,))


def cifar(data, model, scale, mean, std):
    folder = data / "labelled/cifar10"
    return Pictures(data / f"models/{model}.onnx", folder / "dev_u8.npy", folder / "labels_dev.npy", folder / "calib_u8.npy", CIFAR, 0,
                    scale, mean, std)


# ---- texts ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """A language model on windows of a text, each alone."""
    model: Path
    text: Path
    context: int         # tokens per window
    chunks: int          # windows
    calib: Path
    calib_skip: int      # tokens
    calib_length: int
    calib_samples: int
    compare: bool        # agreement and KL, too: runs the float model beside each row
    folds = (None,)
    unit = "ppl"

    def absent(self):
        return [p for p in (self.model, self.text, self.calib) if not p.exists()]

    def prepare(self, work):
        pass

    def calibration(self, work, fold, scheme, method):
        if method == "rtn" and scheme != "w8a8":
            return ()    # nothing to learn
        return ("--calib", self.calib, "--calib-skip", self.calib_skip, "--calib-length", self.calib_length, "--calib-samples",
                self.calib_samples)

    def windows(self):
        return ("--task", "ppl", "--data", self.text, "--ctx", self.context, "--stride", self.context, "--chunks", self.chunks)

    def float_row(self, tool, cache, work):
        artifact = work / "float.ptqc"
        key = ("float with windows", digest(artifact), digest(self.text), self.context, self.chunks)
        told = cache.get(key, lambda: tool.eval(artifact, *self.windows()))
        (work / "float.json").write_text(json.dumps(told))
        return [Result(told["tokens"], told["ppl"], 0.0, 1.0, 0.0)]

    def evaluate(self, tool, artifact, work, fold):
        told = tool.eval(artifact, *self.windows(), *(("--baseline", work / "float.ptqc") if self.compare else ()))
        base = json.loads((work / "float.json").read_text())
        loss, variance = of_windows(told, base)
        return Result(told["tokens"], told["ppl"], loss, told.get("top1_agree", math.nan), variance)

    @staticmethod
    def badness(row):
        return row["loss"]


def stories(data, model, compare):
    folder = data / "data/text"
    return Text(data / f"llm/stories260k/{model}.gguf", folder / "tinystories_eval.tokens.i32", 512, 68,
                folder / "tinystories_calib.tokens.i32", 0, 512, 42, compare)


def known_models(args):
    """Name -> (group, Pictures or Text, rows)."""
    data = args.data
    wiki = data / "data/text/wikitext2_valid_tokens.txt"
    bible = REPOSITORY / "examples/models/bible_lm"
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    cnn = {
        "mobilenet_v1": imagenet(data, "mobilenet_v1_0.25_224", FIRST, 0),
        "mobilenet_v2": imagenet(data, "mobilenet_v2_1.0_224_tf2", BOTH, 1),
        "resnet20": cifar(data, "resnet20_cifar10", 1 / 255, mean, std),
        "resnet8": cifar(data, "tiny_resnet8_cifar10", 1, (0,), (1,)),
    }
    lm = {
        "smollm2": Text(args.hub / "smollm2/hf", wiki, 512, 16, wiki, 131072, 512, args.sequences, args.compare),
        "bible_lm": Text(bible, bible / "heldout.txt", 256, 64, bible / "calib.txt", 0, 256, 64, args.compare),
        "stories260k": stories(data, "stories260K-f32", args.compare),
        "stories260k_outliers": stories(data, "stories260K-outlier-dev-f32", args.compare),
    }
    return ({name: ("cnn", model, CNN_ROWS[name]) for name, model in cnn.items()} |
            {name: ("lm", model, LM_ROWS[name]) for name, model in lm.items()})


# ---- the table ------------------------------------------------------------------------------------------------------------------

COLUMNS = ("model", "scheme", "method", "result", "", "loss", "s.e.", "agrees", "removed", "MB", "compile s", "peak MB")


def figures(row):
    """Cells from result to agrees."""
    figure = lambda x: "" if math.isnan(x) else f"{x:.4f}"
    error = figure(row["error"]) if row["loss"] or row["error"] else ""
    return f"{row['result']:.{4 if row['unit'] == 'top-1' else 3}f}", row["unit"], f"{row['loss']:+.4f}", error, figure(row["agrees"])


def line(row):
    removed = "" if row["removed"] is None else f"{100 * row['removed']:.0f} %"
    cells = (row["model"], row["scheme"], row["method"], *figures(row), removed, f"{row['bytes'] / 1e6:.2f}", f"{row['seconds']:.1f}", f"{row['peak_mb']:.0f}")
    return "| " + " | ".join(cells) + " |"


def measure_row(tool, model, work, scheme, method, args):
    folds, seconds, peak, artifact = [], 0.0, 0.0, work / "row.ptqc"
    for fold in range(len(model.folds)):
        asked = ("--scheme", scheme, *args, *model.calibration(work, fold, scheme, method))
        took, used = tool.compile(model.model, artifact, asked)
        seconds, peak = seconds + took, max(peak, used)
        folds.append(model.evaluate(tool, artifact, work, fold))
    return joined(folds) | dict(seconds=seconds, peak_mb=peak, bytes=artifact.stat().st_size)


def measure_float(tool, cache, model, work):
    seconds, peak = tool.compile(model.model, work / "float.ptqc", ())
    return joined(model.float_row(tool, cache, work)) | dict(seconds=seconds, peak_mb=peak,
                                                             bytes=(work / "float.ptqc").stat().st_size)


def measure_model(tool, cache, name, model, wanted):
    """Rows of one model, printed as they come. wanted: [(scheme, method, arguments)], rtn before what is compared with it."""
    rows, rtn = [], {}
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        model.prepare(work)
        for scheme, method, args in [("float", "", ()), *wanted]:
            try:
                row = measure_row(tool, model, work, scheme, method, args) if method else measure_float(tool, cache, model, work)
            except RuntimeError as error:
                print(f"{name}, {scheme}, {method}: {error}", file=sys.stderr)
                continue
            if method == "rtn":
                rtn[scheme] = model.badness(row)
            plain = rtn.get(scheme, 0) if method != "rtn" else 0
            row |= dict(model=name, scheme=scheme, method=method, unit=model.unit, arguments=[str(a) for a in args],
                        removed=1 - model.badness(row) / plain if plain > 0 else None)
            rows.append(row)
            print(line(row), flush=True)
    return rows


def chosen(rows, schemes, methods, extra):
    """Rows that the filters leave; rtn stays, since others are compared with it."""
    for scheme, named in rows.items():
        if schemes is None or scheme in schemes:
            for method, args in named.items():
                if methods is None or method in methods or method == "rtn":
                    yield scheme, method, args
    for text in extra:
        scheme, name, args = text.split("=", 2)
        yield scheme, name, tuple(args.split())


def versions(ptqc):
    commit = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    told = json.loads(run(ptqc, "-V", "--json", "-q")[0])
    cpu = next((s.split(":")[1].strip() for s in open("/proc/cpuinfo") if s.startswith("model name")), platform.processor())
    return f"ptqc {told['version']} {commit}, {cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}"


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ptqc", required=True)
    p.add_argument("--data", type=Path, default=Path("."), help="folder with models/, labelled/, llm/ and data/text/")
    p.add_argument("--hub", type=Path, default=Path.home() / ".cache/ptqc-models", help="folder with smollm2/hf")
    p.add_argument("--cache", type=Path, default=Path.home() / ".cache/ptqc-accuracy", help="results of float models")
    p.add_argument("--models", default="cnn,lm", help="names or groups (cnn, lm), comma-separated; --list tells them")
    p.add_argument("--schemes", help="comma-separated")
    p.add_argument("--methods", help="comma-separated names of rows; rtn is always there")
    p.add_argument("--extra", action="append", default=[], metavar="SCHEME=NAME=ARGS", help="one more row: arguments of ptqc compile")
    p.add_argument("--sequences", type=int, default=64, help="calibration sequences of SmolLM2 (64)")
    p.add_argument("--compare", action="store_true", help="equal decisions of texts, too: evaluates twice")
    p.add_argument("--threads")
    p.add_argument("--list", action="store_true", help="print the rows and stop")
    p.add_argument("--json", type=Path)
    return p.parse_args()


def main():
    args = parse()
    known, asked = known_models(args), args.models.split(",")
    unknown = [a for a in asked if a not in known and a not in ("cnn", "lm")]
    if unknown:
        sys.exit(f"unknown model {unknown[0]}; known: cnn, lm, {', '.join(known)}")
    names = [n for n in known if n in asked or known[n][0] in asked]
    split = lambda text: text.split(",") if text is not None else None
    tool, cache, rows = Tool(args.ptqc, args.threads), Cache(args.cache), []
    print(versions(args.ptqc), "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS), sep="\n", flush=True)
    for name in names:
        _, model, named = known[name]
        wanted = list(chosen(named, split(args.schemes), split(args.methods), args.extra))
        if args.list:
            print("\n".join(f"| {name} | {scheme} | {method} | {' '.join(a)}" for scheme, method, a in wanted))
        elif model.absent():
            print(f"{name}: left out, there is no {model.absent()[0]}", file=sys.stderr)
        else:
            rows += measure_model(tool, cache, name, model, wanted)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if rows or args.list else 1


if __name__ == "__main__":
    sys.exit(main())

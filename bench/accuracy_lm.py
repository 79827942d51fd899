#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of quantized language models: one table of float, round to nearest and each method, with the share of round to
nearest's loss that the method takes back.

A row is one `ptqc compile` and one `ptqc eval --task ppl`. Loss is in nats per token over float, on the same tokens; text to
calibrate with and text to evaluate never overlap. What is absent (a model, a text) is left out with a line.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Task:
    model: Path
    text: Path           # evaluated
    context: int         # tokens per window, each alone
    chunks: int
    calib: Path
    calib_skip: int      # tokens
    calib_length: int
    calib_samples: int


def tasks(data, models):
    """Name -> Task. SmolLM2: the tokens of its published baselines."""
    wiki = data / "data/text/wikitext2_valid_tokens.txt"
    stories = data / "llm/stories260k"
    tiny = dict(text=data / "data/text/tinystories_eval.txt", context=512, chunks=48, calib=data / "data/text/tinystories_calib.txt",
                calib_skip=0, calib_length=256, calib_samples=64)
    bible = REPOSITORY / "examples/models/bible_lm"
    return {
        "smollm2": Task(models / "smollm2/hf", wiki, 512, 16, wiki, 131072, 512, 64),
        "bible_lm": Task(bible, bible / "heldout.txt", 256, 64, bible / "calib.txt", 0, 256, 64),
        "stories260k": Task(stories / "stories260K-f32.gguf", **tiny),
        "stories260k_outliers": Task(stories / "stories260K-outlier-dev-f32.gguf", **tiny),
    }


# scheme -> methods beside rtn; what has static activations or a method is calibrated
ROWS = {
    "w8a16:ch": (),
    "w4a16:g64": ("awq", "gptq", "awq+gptq"),
    "w4a16:ch": ("gptq",),
    "w3a16:g64": ("awq", "gptq", "awq+gptq"),
    "w2a16:g64": ("gptq",),
    "w8a8:dyn": ("smoothquant",),
    "w8a8": ("smoothquant",),
    "nf4:g64": (),
    "mxfp4": (),
}


# ---- processes --------------------------------------------------------------------------------------------------------------

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


# ---- rows -------------------------------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, ptqc, work, threads, kl):
        self.ptqc, self.work, self.kl = ptqc, work, kl
        self.common = ("-q", *(("-j", threads) if threads else ()))

    def compile(self, task, artifact, args):
        _, seconds, peak = run(self.ptqc, "compile", task.model, "-o", artifact, "-f", *args, *self.common)
        return seconds, peak

    def evaluate(self, task, artifact, baseline=None):
        told, _, _ = run(self.ptqc, "eval", artifact, "--task", "ppl", "--data", task.text, "--ctx", task.context, "--stride",
                         task.context, "--chunks", task.chunks, "--json", *self.common,
                         *(("--baseline", baseline) if baseline and self.kl else ()))
        return json.loads(told)

    def calibration(self, task):
        return ("--calib", task.calib, "--calib-skip", task.calib_skip, "--calib-length", task.calib_length, "--calib-samples",
                task.calib_samples)

    def row(self, name, task, scheme, method, args):
        artifact = self.work / "row.ptqc"
        seconds, peak = self.compile(task, artifact, args)
        told = self.evaluate(task, artifact, self.work / "float.ptqc")
        return dict(model=name, scheme=scheme, method=method, ppl=told["ppl"], nll=told["nll"], tokens=told["tokens"],
                    kl=told.get("kl"), seconds=seconds, peak_mb=peak, bytes=artifact.stat().st_size)


HEAD = ("| model | scheme | method | perplexity | nats over float | of RTN's loss removed | KL | MB | compile s | peak MB |\n"
        "|---|---|---|---|---|---|---|---|---|---|")


def line(r):
    removed = "" if r.get("removed") is None else f"{100 * r['removed']:.0f} %"
    kl = "" if r.get("kl") is None else f"{r['kl']:.4f}"
    return (f"| {r['model']} | {r['scheme']} | {r['method']} | {r['ppl']:.3f} | {r['loss']:+.4f} | {removed} | {kl} "
            f"| {r['bytes'] / 1e6:.1f} | {r['seconds']:.1f} | {r['peak_mb']:.0f} |")


def wanted_rows(bench, task, schemes, methods):
    """(scheme, method, arguments of compile), rtn first."""
    for scheme in schemes:
        has_static = scheme.startswith("w8a8") and ":dyn" not in scheme
        for method in ("rtn", *ROWS.get(scheme, ())):
            if methods and method not in methods and method != "rtn":
                continue
            needs = has_static or method != "rtn"
            chosen = () if method == "rtn" else ("--method", method)
            yield scheme, method, ("--scheme", scheme, *chosen, *(bench.calibration(task) if needs else ()))


def measure_model(bench, name, task, schemes, methods):
    """Rows of one model, printed as they come."""
    float_row = bench.row(name, task, "float", "", ()) | {"loss": 0.0}
    (bench.work / "row.ptqc").rename(bench.work / "float.ptqc")
    print(line(float_row), flush=True)
    rows, rtn_loss = [float_row], math.nan
    for scheme, method, args in wanted_rows(bench, task, schemes, methods):
        try:
            r = bench.row(name, task, scheme, method, args)
        except RuntimeError as error:
            print(f"{name}, {scheme}, {method}: {error}", file=sys.stderr)
            continue
        r["loss"] = r["nll"] - float_row["nll"]
        rtn_loss = r["loss"] if method == "rtn" else rtn_loss
        r["removed"] = None if method == "rtn" or rtn_loss <= 0 else 1 - r["loss"] / rtn_loss
        rows.append(r)
        print(line(r), flush=True)
    return rows


def absent(task):
    return [p for p in (task.model, task.text, task.calib) if not p.exists()]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--ptqc", required=True)
    p.add_argument("--data", type=Path, default=Path("."), help="folder with llm/ and data/text/")
    p.add_argument("--cache", type=Path, default=Path.home() / ".cache/ptqc-models", help="folder with smollm2/hf")
    p.add_argument("--models", default="smollm2,bible_lm,stories260k,stories260k_outliers")
    p.add_argument("--schemes", default=",".join(ROWS))
    p.add_argument("--methods", help="comma-separated; rtn is always there")
    p.add_argument("--kl", action="store_true", help="also the KL divergence from float: evaluates twice")
    p.add_argument("--threads")
    p.add_argument("--json", type=Path)
    args = p.parse_args()
    known, rows = tasks(args.data, args.cache), []
    print(HEAD, flush=True)
    for name in args.models.split(","):
        missing = absent(known[name])
        if missing:
            print(f"{name}: left out, there is no {missing[0]}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as work:
            bench = Bench(args.ptqc, Path(work), args.threads, args.kl)
            rows += measure_model(bench, name, known[name], args.schemes.split(","), args.methods and args.methods.split(","))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())

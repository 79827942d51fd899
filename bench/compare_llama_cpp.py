#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Language models beside llama.cpp: prompts of 512 tokens, generation of 128, compiling, memory, the first token.

Rounds of both sides and of the machine's limits alternate; figures are medians. Shares are of what the machine could do in
that round: reading the weights once per token, and the int8 peak for a prompt. What cannot run is left out with a line.
"""

import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import llama_shape

PROMPT, GENERATED, CONTEXT = 512, 128, 1024
ROUNDS = 5
STORED = "as stored"
SCHEMES = ("w4a16:g32", "w4a8:dyn:g32")
# share of the read bandwidth (tg) or of the int8 peak (pp)
BARS = {("llama_1b", "w4a16:g32", "tg"): 0.75, ("llama_1b", "w4a16:g32", "pp"): 0.25, ("llama_1b", "w4a8:dyn:g32", "pp"): 0.45,
        ("smollm2_135m", STORED, "tg"): 0.5, ("smollm2_135m", "w4a16:g32", "tg"): 0.5}
ARTIFACT_BARS = {"llama_1b": 1.1}       # artifact over GGUF file, weights as stored there


@dataclass
class Contender:
    """One side of a comparison: an artifact of ptqc, or a GGUF file in llama.cpp."""
    engine: str
    weights: str
    path: Path
    token_bytes: float                  # of weights that one token reads
    pp: list = field(default_factory=list)         # tokens per second, one a round
    tg: list = field(default_factory=list)
    read_share: list = field(default_factory=list)


@dataclass(frozen=True)
class Model:
    name: str
    shape: llama_shape.Shape
    sources: dict                       # scheme -> what ptqc compiles
    gguf: Path                          # what llama.cpp loads


# ---- processes ----------------------------------------------------------------------------------------------------------

def ptqc(args, *words):
    return [str(args.ptqc), *map(str, words)]


def sample_memory(pid, peak, done):
    """Peak of anonymous memory, in MB, in peak[0]."""
    while not done.is_set():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
        peak[0] = max(peak[0], int(found[1]) * 1024e-6 if found else 0)
        done.wait(0.005)


@dataclass(frozen=True)
class Finished:
    code: int
    seconds: float
    first_byte: float   # seconds to the first byte on stdout, or to its end
    anonymous_mb: float
    resident_mb: float  # VmHWM: mapped files count, too
    said: str


def run_watched(command):
    peak, done = [0.0], threading.Event()
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        sampler = threading.Thread(target=sample_memory, args=(child.pid, peak, done))
        sampler.start()
        os.read(child.stdout.fileno(), 1)
        first = time.perf_counter() - start
        child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        sampler.join()
        said.seek(0)
        return Finished(child.returncode, seconds, first, peak[0], usage.ru_maxrss * 1024e-6, said.read())


def last_line(done):
    lines = done.said.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def read_json(command):
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


# ---- the machine's limits -----------------------------------------------------------------------------------------------

class Limits:
    """Measured between the rounds. Read bandwidth moves: that of now counts. Instructions: the best counts."""

    def __init__(self, program, threads):
        self.command = [str(program), "--json", "--threads", str(threads), "--rounds", "3"]
        self.rows = []

    def measure(self):
        self.rows.append(read_json(self.command))
        return self.rows[-1]["read_gb_s"] * 1e9

    def peak(self, key):
        return max(row[key] for row in self.rows) * 1e9

    def summary(self):
        read = [row["read_gb_s"] for row in self.rows]
        return {"threads": self.rows[0]["threads"], "isa": self.rows[0]["isa"], "read_gb_s": statistics.median(read),
                "read_min": min(read), "read_max": max(read),
                **{key: self.peak(key) * 1e-9 for key in ("f32_gops", "int8_gops", "amx_gops")}}


# ---- ptqc ---------------------------------------------------------------------------------------------------------------

def product_bytes(args, artifact):
    """What the products of a one-token run read and write, as ptqc tells it: their weights and, far less, rows of numbers."""
    zero = args.work / "zero.bin"
    zero.write_bytes(bytes(4))
    names = [tensor["name"] for tensor in read_json(ptqc(args, "inspect", artifact, "--json"))["inputs"]]
    inputs = [word for name in names for word in ("--input", f"{name}=1x1xi32=@{zero}")]    # token 0 at position 0
    steps = read_json(ptqc(args, "bench", artifact, "--profile", "--json", "-r", 1, "--warmup", 0, *inputs))["rows"][0]["steps"]
    products = [step["bytes"] for step in steps if step["label"].startswith("matmul k")]     # not "matmul of two results"
    if not products:
        sys.exit(f"{artifact}: no step of the profile is a matmul")
    return sum(products)


def first_token(args, artifact):
    """Seconds from the start of the command, with an empty and with a full kernel cache."""
    with tempfile.TemporaryDirectory() as cache:
        command = ptqc(args, "run", artifact, "--tokens", "1,300,301,302", "-n", 1, "--temp", 0, "--ctx", CONTEXT,
                       "--cache-dir", cache)
        runs = [run_watched(command) for _ in range(2)]
    for done in runs:
        if done.code != 0:
            raise RuntimeError(f"{artifact}: ptqc run ended with {done.code}: {last_line(done)}")
    return [done.first_byte for done in runs]


def compile_model(args, model, scheme):
    """-> a row of the table of compiling, or None with a line printed."""
    source = model.sources[scheme]
    artifact = args.work / f"{model.name}.{scheme.replace(':', '_').replace(' ', '_')}.ptqc"
    options = () if scheme == STORED else ("--scheme", scheme)
    done = run_watched(ptqc(args, "compile", source, "-o", artifact, "-f", *options))
    if done.code != 0:
        print(f"{model.name} {scheme}: left out, ptqc compile ended with {done.code}: {last_line(done)}", flush=True)
        return None
    cold, warm = first_token(args, artifact)
    return {"model": model.name, "weights": scheme, "compile_s": done.seconds, "anonymous_mb": done.anonymous_mb,
            "resident_mb": done.resident_mb, "artifact": str(artifact), "artifact_bytes": artifact.stat().st_size,
            "gguf_bytes": model.gguf.stat().st_size, "first_token_cold_s": cold, "first_token_warm_s": warm,
            "token_bytes": product_bytes(args, artifact)}


def bench_ours(args, contender, threads):
    rows = read_json(ptqc(args, "bench", contender.path, "-p", PROMPT, "-n", GENERATED, "-t", threads, "-r", 1, "--ctx", CONTEXT,
                          "--hugepages", "--json"))["rows"]
    return {row["test"][:2]: row["tok_s"] for row in rows}


# ---- llama.cpp ----------------------------------------------------------------------------------------------------------

class Peer:
    """llama.cpp by its C API, in a process of its own (--peer)."""

    def __init__(self, path, threads):
        import llama_cpp as api
        self.api, self.silent = api, api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self.silent, ctypes.c_void_p(0))
        api.llama_backend_init()
        model_params = api.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(str(path).encode(), model_params)
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, PROMPT, PROMPT
        params.n_threads = params.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, params)
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))

    def feed(self, ids):
        array = (self.api.llama_token * len(ids))(*ids)
        code = self.api.llama_decode(self.context, self.api.llama_batch_get_one(array, len(ids)))
        assert code == 0, f"llama_decode: {code}"
        self.api.llama_synchronize(self.context)

    def speed(self, count, step):
        """Tokens per second of `count` tokens, `step` at a time, from an empty context."""
        ids = [i * 7919 % self.vocabulary for i in range(count)]
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        start = time.perf_counter()
        for i in range(0, count, step):
            self.feed(ids[i:i + step])
        return count / (time.perf_counter() - start)

    def measure(self):
        out = {"weight_bytes": self.api.llama_model_size(self.model)}
        for name, count, step in (("pp", PROMPT, PROMPT), ("tg", GENERATED, 1)):
            self.speed(count, step)                   # warms up, as ptqc bench does
            out[name] = self.speed(count, step)
        return out


def bench_peer(path, threads):
    return read_json([sys.executable, __file__, "--peer", str(path), "--threads", str(threads)])


def peer_version():
    try:
        import llama_cpp
        return llama_cpp.__version__
    except ImportError as error:
        print(f"llama.cpp: left out, {error}", flush=True)
        return None


def peer_of(model):
    """llama.cpp reads all weights per token but an embedding that is not the output matrix, too."""
    total = read_json([sys.executable, __file__, "--peer", str(model.gguf), "--size"])["weight_bytes"]
    embedding = 0 if model.shape.is_tied else model.shape.vocabulary * model.shape.width * 18 // 32
    return Contender("llama.cpp", "Q4_1" if "q4_1" in model.gguf.name.lower() else "Q4_0", model.gguf, total - embedding)


# ---- rounds -------------------------------------------------------------------------------------------------------------

def measure_round(args, contenders, threads, limits):
    before = limits.measure() if limits else None
    for c in contenders:
        speeds = bench_ours(args, c, threads) if c.engine == "ptqc" else bench_peer(c.path, threads)
        c.pp.append(speeds["pp"])
        c.tg.append(speeds["tg"])
        if limits:
            after = limits.measure()
            c.read_share.append(speeds["tg"] * c.token_bytes / ((before + after) / 2))
            before = after


def speed_row(model, contender, threads, limits, peer):
    pp, tg = statistics.median(contender.pp), statistics.median(contender.tg)
    row = {"model": model.name, "engine": contender.engine, "weights": contender.weights, "threads": threads, "pp_tok_s": pp,
           "tg_tok_s": tg, "token_bytes": contender.token_bytes, "pp_rounds": contender.pp, "tg_rounds": contender.tg}
    if limits:
        row["pp_share"] = 2 * model.shape.projections * pp / limits.peak("int8_gops")
        row["tg_share"] = statistics.median(contender.read_share)
    if peer:
        row["pp_ratio"], row["tg_ratio"] = pp / statistics.median(peer.pp), tg / statistics.median(peer.tg)
    return row


def measure_model(args, model, compiled, threads, limits):
    contenders = [Contender("ptqc", row["weights"], Path(row["artifact"]), row["token_bytes"]) for row in compiled]
    peer = peer_of(model) if args.peer_version else None
    contenders += [peer] if peer else []
    for _ in range(args.rounds):
        measure_round(args, contenders, threads, limits)
    return [speed_row(model, c, threads, limits, peer) for c in contenders]


# ---- printing -----------------------------------------------------------------------------------------------------------

COMPILE_HEAD = ("| model | weights | compile s | RssAnon MB | VmHWM MB | artifact MB | of the GGUF | first token s, cold | warm "
                "| MB per token |\n"
                "|---|---|---|---|---|---|---|---|---|---|")
SPEED_HEAD = ("| model | engine | weights | t | pp512 tok/s | of int8 peak | tg128 tok/s | of read | pp ratio | tg ratio |\n"
              "|---|---|---|---|---|---|---|---|---|---|")
LIMITS_HEAD = "| t | isa | read GB/s (min..max) | f32 GOPS | int8 GOPS | AMX int8 GOPS |\n|---|---|---|---|---|---|"


def number(row, key, form=".2f"):
    return format(row[key], form) if row.get(key) else "-"


def compile_line(r):
    return (f"| {r['model']} | {r['weights']} | {r['compile_s']:.2f} | {r['anonymous_mb']:.0f} | {r['resident_mb']:.0f} "
            f"| {r['artifact_bytes'] * 1e-6:.1f} | {r['artifact_bytes'] / r['gguf_bytes']:.2f} | {r['first_token_cold_s']:.2f} "
            f"| {r['first_token_warm_s']:.2f} | {r['token_bytes'] * 1e-6:.1f} |")


def speed_line(r):
    return (f"| {r['model']} | {r['engine']} | {r['weights']} | {r['threads']} | {r['pp_tok_s']:.1f} | {number(r, 'pp_share')} "
            f"| {r['tg_tok_s']:.2f} | {number(r, 'tg_share')} | {number(r, 'pp_ratio')} | {number(r, 'tg_ratio')} |")


def limits_line(r):
    return (f"| {r['threads']} | {r['isa']} | {r['read_gb_s']:.1f} ({r['read_min']:.1f}..{r['read_max']:.1f}) | {r['f32_gops']:.0f} "
            f"| {r['int8_gops']:.0f} | {number(r, 'amx_gops', '.0f')} |")


def print_bar(what, value, bar, is_met):
    print(f"{'met' if is_met else 'MISSED'}: {what}: {value:.2f}, bar {bar}", flush=True)


def print_bars(compiled, speeds):
    for r in compiled:
        bar = ARTIFACT_BARS.get(r["model"])
        if bar and r["weights"] == STORED:
            ratio = r["artifact_bytes"] / r["gguf_bytes"]
            print_bar(f"{r['model']} artifact of the GGUF file", ratio, f"<= {bar}", ratio <= bar)
    for r in speeds:
        for kind in ("pp", "tg"):
            bar = BARS.get((r["model"], r["weights"], kind))
            if bar and r["engine"] == "ptqc" and f"{kind}_share" in r:
                share = r[f"{kind}_share"]
                print_bar(f"{r['model']} {r['weights']} {kind} {r['threads']}T", share, f">= {bar}", share >= bar)


def print_machine(args):
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    version = subprocess.run(ptqc(args, "--version"), capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"{version}, llama-cpp-python {args.peer_version or '-'}, {found[1] if found else 'unknown CPU'}, {os.cpu_count()} cores, "
          f"{args.rounds} rounds, load {os.getloadavg()[0]:.2f} at the start", flush=True)


# ---- the whole ----------------------------------------------------------------------------------------------------------

def make_models(args):
    """The shape made here, and SmolLM2 where its file is."""
    folder, gguf = args.work / "llama_1b", args.work / "llama_1b.q4_0.gguf"
    wanted = args.only.split(",") if args.only else ["llama_1b", "smollm2_135m"]
    if "llama_1b" in wanted:
        llama_shape.write_hf(llama_shape.LLAMA_1B, folder)
        llama_shape.write_gguf(llama_shape.LLAMA_1B, gguf)
        yield Model("llama_1b", llama_shape.LLAMA_1B, {STORED: gguf, **{s: folder for s in SCHEMES}}, gguf)
    if "smollm2_135m" in wanted:
        found = sorted(args.models.rglob("smollm2*.gguf")) if args.models else []
        if found:
            yield Model("smollm2_135m", llama_shape.SMOLLM2_135M, {s: found[0] for s in (STORED, *SCHEMES)}, found[0])
        else:
            print("smollm2_135m: left out, no smollm2*.gguf in --models", flush=True)


def find_limits(args, threads):
    program = args.ptqc.resolve().parent.parent / "bench" / "bench_limits"
    if program.exists():
        return {t: Limits(program, t) for t in threads}
    print(f"shares: left out, no {program}", flush=True)
    return dict.fromkeys(threads)


def compare(args):
    threads = [int(t) for t in args.threads.split(",")]
    args.peer_version = peer_version()
    print_machine(args)
    limits = find_limits(args, threads)
    models = list(make_models(args))
    compiled, speeds = [], []
    print(COMPILE_HEAD, flush=True)
    for model in models:
        for scheme in model.sources:
            row = compile_model(args, model, scheme)
            if row:
                compiled.append(row)
                print(compile_line(row), flush=True)
    print(f"\n{SPEED_HEAD}", flush=True)
    for model in models:
        for t in threads:
            rows = measure_model(args, model, [row for row in compiled if row["model"] == model.name], t, limits[t])
            speeds += rows
            print(*map(speed_line, rows), sep="\n", flush=True)
    summaries = [limit.summary() for limit in limits.values() if limit and limit.rows]
    if summaries:
        print("", LIMITS_HEAD, *map(limits_line, summaries), "", sep="\n")
        if not summaries[0]["amx_gops"]:
            print("AMX: left out, this machine has none")
    print_bars(compiled, speeds)
    if args.json:
        args.json.write_text(json.dumps({"compile": compiled, "speed": speeds, "limits": summaries}, indent=1))


def be_peer(args):
    peer = Peer(args.peer, int(args.threads.split(",")[0]))
    print(json.dumps({"weight_bytes": peer.api.llama_model_size(peer.model)} if args.size else peer.measure()))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--ptqc", type=Path)
    p.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ptqc-bench",
                   help="models made here (3 GB) and artifacts; kept for the next run")
    p.add_argument("--models", type=Path, help="folder with smollm2*.gguf in it or below")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--rounds", type=int, default=ROUNDS)
    p.add_argument("--only", help="comma-separated model names")
    p.add_argument("--json", type=Path)
    p.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    p.add_argument("--size", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.peer:
        return be_peer(args)
    if not args.ptqc:
        p.error("--ptqc is required")
    args.work.mkdir(parents=True, exist_ok=True)
    return compare(args)


if __name__ == "__main__":
    main()

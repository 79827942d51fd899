#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPTQ of SmolLM2-135M by ptqc, llm-compressor and GPTQModel, in turns: seconds, memory, perplexity.

Each run is a process of its own, on the same calibration tokens and threads; --rounds of them, medians. Seconds of the peers are
those of the quantizing call alone (model in memory already), of ptqc those of the whole command. Memory is the largest resident set
of the process, and of it what is not mapped from files. Perplexity is of the first 16 windows of 512 tokens: of peers computed by
PyTorch in f32 on the weights that they chose, of ptqc by `ptqc eval`. Interpreters that have a peer installed are named by
--llmcompressor and --gptqmodel; what is not named is left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONTEXT, WINDOWS, SKIP = 512, 16, 131072


# ---- the peers, in processes of their own ---------------------------------------------------------------------------------------


def token_ids(args):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    return tokenizer.encode(args.text.read_text(), add_special_tokens=False).ids


def calibration(args, ids):
    return [ids[SKIP + i * CONTEXT:SKIP + (i + 1) * CONTEXT] for i in range(args.sequences)]


def perplexity(model, ids):
    import torch
    total = 0.0
    with torch.no_grad():
        for i in range(WINDOWS):
            window = torch.tensor([ids[i * CONTEXT:(i + 1) * CONTEXT]])
            scores = model(input_ids=window).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(scores, window[0, 1:], reduction="sum").item()
    return float(torch.tensor(total / (WINDOWS * (CONTEXT - 1))).exp())


def run_llmcompressor(args):
    import torch
    from datasets import Dataset
    from importlib.metadata import version
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(args.threads)
    ids = token_ids(args)
    model = AutoModelForCausalLM.from_pretrained(str(args.model), dtype=torch.float32)
    samples = calibration(args, ids)
    data = Dataset.from_dict({"input_ids": samples, "attention_mask": [[1] * len(s) for s in samples]})
    weights = dict(num_bits=args.bits, type="int", symmetric=True, strategy="group", group_size=args.group)
    recipe = GPTQModifier(ignore=["lm_head"], config_groups={"group_0": {"targets": ["Linear"], "weights": weights}})
    start = time.perf_counter()
    oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=CONTEXT, num_calibration_samples=args.sequences,
            shuffle_calibration_samples=False)
    seconds = time.perf_counter() - start
    return dict(seconds=seconds, memory=memory(), version=version("llmcompressor"), ppl=args.evaluate and perplexity(model, ids))


def run_gptqmodel(args):
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from importlib.metadata import version
    torch.set_num_threads(args.threads)
    ids = token_ids(args)
    config = QuantizeConfig(bits=args.bits, group_size=args.group, sym=True, offload_to_disk=False)
    model = GPTQModel.load(str(args.model), config, device="cpu")
    samples = [{"input_ids": s, "attention_mask": [1] * len(s)} for s in calibration(args, ids)]
    start = time.perf_counter()
    model.quantize(samples, batch_size=1)
    seconds, used, ppl = time.perf_counter() - start, memory(), None
    if args.evaluate:
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder)
            ppl = perplexity(GPTQModel.load(folder, device="cpu", backend=BACKEND.TORCH).model, ids)
    return dict(seconds=seconds, memory=used, version=version("gptqmodel"), ppl=ppl)


def memory():
    """MB: largest resident set, and how much is not mapped from files now."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return dict(peak=int(told["VmHWM"].split()[0]) / 1024, anonymous=int(told["RssAnon"].split()[0]) / 1024)


PEERS = {"llmcompressor": run_llmcompressor, "gptqmodel": run_gptqmodel}


# ---- processes ------------------------------------------------------------------------------------------------------------------


def watch(command, environment=None):
    """Runs it: (seconds, peak of the resident set, peak of its anonymous part; MB)."""
    start, anonymous, peak = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen([str(c) for c in command], stdout=errors, stderr=errors, env=environment)
        status = Path(f"/proc/{child.pid}/status")
        while child.poll() is None:
            text = status.read_text() if status.exists() else ""
            anonymous = max([anonymous] + [int(t.split()[1]) for t in text.splitlines() if t.startswith("RssAnon")])
            peak = next((int(t.split()[1]) for t in text.splitlines() if t.startswith("VmHWM")), 0) or peak
            time.sleep(0.02)
        errors.seek(0)
        if child.returncode != 0:
            raise RuntimeError(errors.read()[-2000:])
    return time.perf_counter() - start, peak / 1024, anonymous / 1024


def run_ptqc(args, evaluate):
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "m.ptqc"
        seconds, peak, anonymous = watch(
            (args.ptqc, "compile", args.model, "--scheme", f"w{args.bits}a16:g{args.group}", "--method", "gptq", "--calib", args.text,
             "--calib-skip", SKIP, "--calib-length", CONTEXT, "--calib-samples", args.sequences, "-o", artifact, "-q", "-j", args.threads))
        ppl = None
        if evaluate:
            told = subprocess.run([args.ptqc, "eval", artifact, "--task", "ppl", "--data", args.text, "--ctx", str(CONTEXT), "--stride",
                                   str(CONTEXT), "--chunks", str(WINDOWS), "--json", "-q", "-j", str(args.threads)], capture_output=True,
                                  text=True, check=True)
            ppl = json.loads(told.stdout)["ppl"]
    version = subprocess.run([args.ptqc, "-V"], capture_output=True, text=True).stdout.split()[1]
    return dict(seconds=seconds, peak=peak, anonymous=anonymous, version=version, ppl=ppl)


def run_peer(args, name, evaluate):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "told.json"
        _, _, anonymous = watch((getattr(args, name), __file__, "--child", name, "--out", out, "--model", args.model, "--text", args.text,
                                 "--threads", args.threads, "--sequences", args.sequences, "--bits", args.bits, "--group", args.group,
                                 *(("--evaluate",) if evaluate else ())),
                                os.environ | {"OMP_NUM_THREADS": str(args.threads), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
                              "GPTQMODEL_CPU_WORKERS": str(max(2, args.threads))})
        told = json.loads(out.read_text())
    used = told.pop("memory")
    # With --evaluate the watched peak has the evaluation in it.
    return told | dict(peak=used["peak"], anonymous=min(anonymous, used["peak"]))


def measure(args):
    names = ["ptqc", *(n for n in PEERS if getattr(args, n))]
    told = {n: [] for n in names}
    for i in range(args.rounds):
        for name in names:
            evaluate = i == 0 and not args.no_perplexity
            told[name].append(run_ptqc(args, evaluate) if name == "ptqc" else run_peer(args, name, evaluate))
            print(f"round {i + 1}, {name}: {told[name][-1]}", file=sys.stderr, flush=True)
    return told


def table(args, told):
    print(f"w{args.bits} g{args.group} symmetric, {args.sequences} x {CONTEXT} tokens, {args.threads} threads, medians of {args.rounds}\n\n"
          "| tool | version | seconds | over ptqc | peak MB | over ptqc | not mapped MB | perplexity |\n|---|---|---|---|---|---|---|---|")
    middle = lambda name, key: statistics.median(r[key] for r in told[name])
    for name, rows in told.items():
        ppl = "" if rows[0]["ppl"] is None else f"{rows[0]['ppl']:.3f}"
        print(f"| {name} | {rows[0]['version']} | {middle(name, 'seconds'):.1f} | {middle(name, 'seconds') / middle('ptqc', 'seconds'):.2f} "
              f"| {middle(name, 'peak'):.0f} | {middle(name, 'peak') / middle('ptqc', 'peak'):.2f} | {middle(name, 'anonymous'):.0f} | {ppl} |")


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ptqc")
    p.add_argument("--model", type=Path, default=Path.home() / ".cache/ptqc-models/smollm2/hf")
    p.add_argument("--text", type=Path, required=True, help="wikitext2_valid_tokens.txt")
    p.add_argument("--llmcompressor", metavar="PYTHON")
    p.add_argument("--gptqmodel", metavar="PYTHON")
    p.add_argument("--sequences", type=int, default=32)
    p.add_argument("--bits", type=int, default=4)
    p.add_argument("--group", type=int, default=64)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--no-perplexity", action="store_true")
    p.add_argument("--json", type=Path)
    p.add_argument("--child", help=argparse.SUPPRESS)
    p.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    p.add_argument("--evaluate", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args()


def main():
    args = parse()
    if args.child:
        args.out.write_text(json.dumps(PEERS[args.child](args)))
        return
    told = measure(args)
    table(args, told)
    if args.json:
        args.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Latency of whole models beside onnxruntime: f32 and static int8, same threads, alternating rounds, medians.

Prints one table; the share column is ptqc's GOPS over the instruction peak that bench_cpu_kernels measured in this run.
"""

import argparse
import json
import logging
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.pop("OPENBLAS_CORETYPE", None)

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

logging.disable(logging.WARNING)      # the peer's quantizer warns once per weight
ROUNDS = 5
SECONDS_PER_ROUND = 1.0


# ---- models made here ---------------------------------------------------------------------------------------------------

class Graph:
    """Collects nodes and initializers of an ONNX graph with random weights."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def name(self, hint):
        self.count += 1
        return f"{hint}_{self.count}"

    def weight(self, hint, array):
        name = self.name(hint)
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def ints(self, values):
        name = self.name("ints")
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, op, inputs, **attributes):
        out = self.name(op.lower())
        self.nodes.append(helper.make_node(op, inputs, [out], out, **attributes))
        return out

    def save(self, path, inputs, outputs):
        graph = helper.make_graph(self.nodes, "shape", inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, path)


def tensor(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def resnet50(path):
    g = Graph(50)

    def conv(x, cin, cout, k, stride=1):
        w = g.weight("w", g.rng.standard_normal((cout, cin, k, k)) * np.sqrt(2 / (cin * k * k)))
        b = g.weight("b", g.rng.standard_normal(cout) * 0.01)
        return g.node("Conv", [x, w, b], kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4)

    x = g.node("Relu", [conv("input", 3, 64, 7, 2)])
    x = g.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    cin = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            s = stride if block == 0 else 1
            skip = conv(x, cin, 4 * width, 1, s) if block == 0 else x
            y = g.node("Relu", [conv(x, cin, width, 1)])
            y = g.node("Relu", [conv(y, width, width, 3, s)])
            x = g.node("Relu", [g.node("Add", [conv(y, width, 4 * width, 1), skip])])
            cin = 4 * width
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    w = g.weight("fc", g.rng.standard_normal((1000, 2048)) * 0.02)
    g.nodes.append(helper.make_node("Gemm", [x, w, g.weight("fcb", np.zeros(1000))], ["logits"], transB=1))
    g.save(path, [tensor("input", 1, 3, 224, 224)], [tensor("logits", 1, 1000)])


def bert_base(path, layers=12, width=768, heads=12, tokens=128):
    g = Graph(12)

    def linear(x, n, m):
        w = g.weight("w", g.rng.standard_normal((n, m)) * 0.02)
        return g.node("Add", [g.node("MatMul", [x, w]), g.weight("b", g.rng.standard_normal(m) * 0.01)])

    def norm(x):
        return g.node("LayerNormalization", [x, g.weight("s", np.ones(width)), g.weight("o", np.zeros(width))], axis=-1, epsilon=1e-12)

    def split(x, perm):
        x = g.node("Reshape", [x, g.ints([1, tokens, heads, width // heads])])
        return g.node("Transpose", [x], perm=perm)

    x = "hidden"
    for _ in range(layers):
        q, k, v = (split(linear(x, width, width), perm) for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        scale = g.weight("scale", np.array(np.sqrt(width / heads)))
        a = g.node("Softmax", [g.node("Div", [g.node("MatMul", [q, k]), scale])], axis=-1)
        y = g.node("Transpose", [g.node("MatMul", [a, v])], perm=[0, 2, 1, 3])
        y = linear(g.node("Reshape", [y, g.ints([1, tokens, width])]), width, width)
        x = norm(g.node("Add", [x, y]))
        y = linear(x, width, 4 * width)
        erf = g.node("Erf", [g.node("Div", [y, g.weight("r2", np.array(np.sqrt(2.0)))])])
        y = g.node("Mul", [g.node("Mul", [y, g.node("Add", [erf, g.weight("one", np.array(1.0))])]), g.weight("half", np.array(0.5))])
        x = norm(g.node("Add", [x, linear(y, 4 * width, width)]))
    g.nodes.append(helper.make_node("Identity", [x], ["output"]))
    g.save(path, [tensor("hidden", 1, tokens, width)], [tensor("output", 1, tokens, width)])


# ---- the two sides ------------------------------------------------------------------------------------------------------

def samples(path, count):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    info = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in info.shape]
    rng = np.random.default_rng(0)
    return info.name, rng.standard_normal((count, *shape)).astype(np.float32)


class Reader:
    def __init__(self, name, data):
        self.feeds = iter([{name: x} for x in data])

    def get_next(self):
        return next(self.feeds, None)


def quantize_peer(path, out, name, data):
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(out), Reader(name, data), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def peer_session(path, threads):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def time_peer(session, feed):
    times, start = [], time.perf_counter()
    session.run(None, feed)
    while time.perf_counter() - start < SECONDS_PER_ROUND or len(times) < 5:
        t = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - t)
    return statistics.median(times) * 1e3


def time_ours(ptqc, artifact, threads, repeat):
    out = subprocess.run([ptqc, "bench", artifact, "-t", str(threads), "-r", str(repeat), "--json"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["rows"][0]


def compile_ours(ptqc, model, out, *args):
    start = time.perf_counter()
    subprocess.run([ptqc, "compile", model, "-o", out, "-f", *args], check=True, capture_output=True, text=True)
    return time.perf_counter() - start


def compare(ptqc, name, model, work, threads_list, peaks):
    rows = []
    input_name, data = samples(model, 8)
    np.save(work / "calib.npy", data[:, 0])
    peer_int8 = work / f"{name}.peer.onnx"
    quantize_peer(model, peer_int8, input_name, data[:4])
    variants = {"f32": (model, ()), "int8": (peer_int8, ("--w8a8", "--calib", work / "calib.npy"))}
    for kind, (peer_model, args) in variants.items():
        artifact = work / f"{name}.{kind}.ptqc"
        seconds = compile_ours(ptqc, model, artifact, *args)
        for threads in threads_list:
            session = peer_session(peer_model, threads)
            peer_ms, ours = [], []
            repeat = 5
            for _ in range(ROUNDS):
                peer_ms.append(time_peer(session, {input_name: data[0]}))
                repeat = max(5, min(2000, int(SECONDS_PER_ROUND * 1e3 / peer_ms[-1])))
                ours.append(time_ours(ptqc, artifact, threads, repeat))
            ms = statistics.median(row["ms"] for row in ours)
            peer = statistics.median(peer_ms)
            gops = statistics.median(row["gops"] for row in ours)
            peak = peaks.get(kind, 0) * threads
            rows.append(dict(model=name, kind=kind, threads=threads, ptqc_ms=ms, ort_ms=peer, ratio=ms / peer, gops=gops,
                             share=gops / peak if peak else None, compile_s=seconds))
            print(line(rows[-1]), flush=True)
            del session
    return rows


HEAD = "| model | kind | t | ptqc ms | onnxruntime ms | ratio | GOPS | share of peak | compile s |\n|---|---|---|---|---|---|---|---|---|"


def line(r):
    share = f"{r['share']:.2f}" if r["share"] else "-"
    return (f"| {r['model']} | {r['kind']} | {r['threads']} | {r['ptqc_ms']:.3f} | {r['ort_ms']:.3f} | {r['ratio']:.2f} | {r['gops']:.1f} "
            f"| {share} | {r['compile_s']:.2f} |")


def measure_peaks(program):
    """GOPS of one thread: f32 FMA and int8 dot product."""
    if not program.exists():
        print(f"{program} is absent: no shares of the peak", file=sys.stderr)
        return {}
    out = subprocess.run([program, "--filter", "peak"], capture_output=True, text=True, check=True).stdout
    row = r"^peak {} +([\d.]+) +([\d.]+) +([\d.]+)"
    found = {kind: re.search(row.format(name), out, re.M) for kind, name in (("f32", "f32 fma"), ("int8", "u8s8 dot"))}
    # GOPS of the median, scaled to the best round: the peak is what the machine can do
    return {kind: float(m[3]) * float(m[1]) / float(m[2]) for kind, m in found.items() if m}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--ptqc", required=True)
    p.add_argument("--models", type=Path, help="folder with mobilenet_v2_1.0_224_tf2.onnx, resnet20_cifar10.onnx, kwt1_opset17.onnx")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--only", help="comma-separated model names")
    p.add_argument("--json", type=Path)
    args = p.parse_args()
    threads = [int(t) for t in args.threads.split(",")]
    peaks = measure_peaks(Path(args.ptqc).resolve().parent.parent / "bench" / "bench_cpu_kernels")
    rows = []
    print(f"onnxruntime {ort.__version__}, one-thread peaks {peaks}\n{HEAD}", flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        named = ["mobilenet_v2_1.0_224_tf2", "resnet20_cifar10", "kwt1_opset17"]
        made = {"resnet50": resnet50, "bert_base": bert_base}
        for name in [*named, *made]:
            if args.only and name not in args.only.split(","):
                continue
            if name in made:
                path = work / f"{name}.onnx"
                made[name](path)
            else:
                path = (args.models or Path("absent")) / f"{name}.onnx"
                if not path.exists():
                    print(f"{name}: left out, no {path}", flush=True)
                    continue
            rows += compare(args.ptqc, name, path, work, threads, peaks)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

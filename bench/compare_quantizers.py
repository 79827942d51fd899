#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of other quantizers on the models, samples and evaluated data of accuracy.py, in its table.

  onnxruntime   static, QDQ, weights per channel, activations u8 (minmax, entropy, percentile), evaluated by onnxruntime
  nncf          static, fast and full bias correction, evaluated by onnxruntime
  llama.cpp     llama_model_quantize with an importance matrix that ptqc measured on the calibration tokens, evaluated by ptqc

Whatever is not installed or absent is left out with a line.
"""

import argparse
import ctypes
import importlib
import json
import logging
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

import accuracy

COLUMNS = ("model", "tool", "result", "", "loss", "s.e.", "agrees", "MB", "seconds")


def line(row):
    cells = (row["model"], row["tool"], *accuracy.figures(row), f"{row['bytes'] / 1e6:.2f}", f"{row['seconds']:.1f}")
    return "| " + " | ".join(cells) + " |"


def installed(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        print(f"{name}: left out, {error}", file=sys.stderr)
        return None


# ---- convolutional models -------------------------------------------------------------------------------------------------------


def onnx_session(path, threads):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def batches(x, like):
    """Of the model's own batch where that is a number, else of 50."""
    size = like if isinstance(like, int) else 50
    return [x[i:i + size] for i in range(0, len(x), size)]


def decisions(path, x, threads):
    """Class of each picture of x, as the model counts them."""
    session = onnx_session(path, threads)
    feed = session.get_inputs()[0]
    return np.concatenate([session.run(None, {feed.name: b})[0].reshape(len(b), -1).argmax(1) for b in batches(x, feed.shape[0])])


def folded(model, out):
    """The model with batch norms folded in; nncf corrects no biases of convolutions before them."""
    from onnxruntime.quantization.shape_inference import quant_pre_process
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    return prepared


def with_onnxruntime(method):
    def quantize(model, calib, out):
        import onnxruntime as ort
        from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
        feed = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()[0]

        class Reader(CalibrationDataReader):
            def __init__(self):
                self.samples = iter(calib)

            def get_next(self):
                x = next(self.samples, None)
                return None if x is None else {feed.name: x[None]}

        quantize_static(str(folded(model, out)), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod[method])
    return quantize


def with_nncf(is_fast):
    def quantize(model, calib, out):
        import nncf
        import onnx
        loaded = onnx.load(str(folded(model, out)))
        weights = {w.name for w in loaded.graph.initializer}
        name = next(i.name for i in loaded.graph.input if i.name not in weights)
        done = nncf.quantize(loaded, nncf.Dataset([x[None] for x in calib], lambda x: {name: x}), subset_size=len(calib),
                             fast_bias_correction=is_fast)
        onnx.save(done, str(out))
    return quantize


ONNX_TOOLS = {
    "onnxruntime": {f"onnxruntime {m.lower()}": with_onnxruntime(m) for m in ("MinMax", "Entropy", "Percentile")},
    "nncf": {"nncf": with_nncf(True), "nncf full bias correction": with_nncf(False)},
}


def measure_pictures(task, work, quantize, threads):
    """Means over the folds, as accuracy.joined."""
    folds, seconds = [], 0.0
    for i in range(len(task.folds)):
        calib, x = np.load(work / f"calib{i}.npy"), task.normalize(np.load(work / f"data{i}.npy"))
        want = np.load(work / f"labels{i}.npy") + task.offset
        start = time.perf_counter()
        quantize(task.model, calib, work / "peer.onnx")
        seconds += time.perf_counter() - start
        base, told = decisions(task.model, x, threads), decisions(work / "peer.onnx", x, threads)
        right, base_right = told == want, base == want
        folds.append(accuracy.of_pairs(len(x), int((right & base_right).sum()), int((right & ~base_right).sum()),
                                       int((base_right & ~right).sum()), float((told == base).mean())))
    return accuracy.joined(folds) | dict(seconds=seconds, bytes=(work / "peer.onnx").stat().st_size, unit=task.unit)


def pictures(args, name, task):
    with tempfile.TemporaryDirectory() as tmp:
        task.prepare(Path(tmp))
        for package, tools in ONNX_TOOLS.items():
            if package not in args.tools or installed(package) is None:
                continue
            for tool, quantize in tools.items():
                try:
                    row = measure_pictures(task, Path(tmp), quantize, args.threads)
                except Exception as error:       # whatever the peer raises
                    print(f"{name}, {tool}: {error}", file=sys.stderr)
                    continue
                yield dict(model=name, tool=f"{tool} {version(package)}", **row)


# ---- llama.cpp ------------------------------------------------------------------------------------------------------------------

ROLES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
FTYPES = {"Q4_0": 2, "Q4_1": 3}      # enum llama_ftype


def importance(tool, task, work):
    """Name of the tensor -> mean of x^2 per column, as ptqc measures them for gptq on the calibration tokens."""
    stats = work / "stats.yaml"
    tool.compile(task.model, work / "stats.ptqc", ("--scheme", "w4a16:g32", "--stats-out", stats,
                                                   *task.calibration(work, None, "w4a16:g32", "gptq")))
    out, name = {}, []
    for text in stats.read_text().splitlines():
        key, _, value = text.replace("- ", "  ").strip().partition(": ")
        if key == "name":
            name = value.strip('"').split(".")
        elif key == "squares" and len(name) == 3 and name[2] in ROLES:
            out[f"blk.{name[1]}.{ROLES[name[2]]}.weight"] = np.array(value.strip('"').split(), np.float32)
    return out


def llama_quantize(source, out, ftype, squares, threads):
    """llama-quantize; the embedding and the output matrix keep their type, as in ptqc."""
    from llama_cpp import llama_cpp as lib
    quiet = lib.llama_log_callback(lambda level, text, user: None)
    lib.llama_log_set(quiet, None)
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize, params.quantize_output_tensor = ftype, threads, True, False
    params.token_embedding_type = 8      # GGML_TYPE_Q8_0, as the model has it
    entries = (lib.llama_model_imatrix_data * (len(squares) + 1))()
    for entry, (name, values) in zip(entries, squares.items()):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    if squares:
        params.imatrix = entries
    if lib.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError("llama_model_quantize failed")


def llama(args, name, task):
    """GGUF files of the float model's numbers, evaluated by ptqc."""
    source = next(iter(sorted(task.model.parent.glob("*.gguf"))), None) if task.model.is_dir() else task.model
    if source is None or "llama.cpp" not in args.tools or installed("llama_cpp") is None:
        return
    tool, cache = accuracy.Tool(args.ptqc, str(args.threads)), accuracy.Cache(args.cache)
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        tool.compile(task.model, work / "float.ptqc", ())
        task.float_row(tool, cache, work)
        squares = importance(tool, task, work)
        for ftype, number in FTYPES.items():
            for how, used in (("", {}), (" imatrix", squares)):
                start = time.perf_counter()
                llama_quantize(source, work / "peer.gguf", number, used, args.threads)
                seconds = time.perf_counter() - start
                found = accuracy.joined([task.evaluate(tool, work / "peer.gguf", work, None)])
                yield dict(model=name, tool=f"llama.cpp {ftype}{how} {version('llama-cpp-python')}", **found, unit=task.unit,
                           seconds=seconds, bytes=(work / "peer.gguf").stat().st_size)


# ---- all ------------------------------------------------------------------------------------------------------------------------


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ptqc", help="for llama.cpp's files")
    p.add_argument("--data", type=Path, default=Path("."), help="as of accuracy.py")
    p.add_argument("--hub", type=Path, default=Path.home() / ".cache/ptqc-models")
    p.add_argument("--cache", type=Path, default=Path.home() / ".cache/ptqc-accuracy")
    p.add_argument("--models", default="mobilenet_v1,mobilenet_v2,resnet20,smollm2")
    p.add_argument("--tools", default="onnxruntime,nncf,llama.cpp")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--sequences", type=int, default=64)
    p.add_argument("--json", type=Path)
    args = p.parse_args()
    args.tools, args.compare = args.tools.split(","), False
    return args


def main():
    logging.disable(logging.WARNING)     # the peers warn once per weight
    args, rows = parse(), []
    known = accuracy.known_models(args)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for name in args.models.split(","):
        group, task, _ = known[name]
        if task.absent():
            print(f"{name}: left out, there is no {task.absent()[0]}", file=sys.stderr)
            continue
        for row in pictures(args, name, task) if group == "cnn" else llama(args, name, task):
            rows.append(row)
            print(line(row), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())

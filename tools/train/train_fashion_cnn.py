#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the ptqc demo model and write examples/models/fashion_cnn/.

The model is a small MobileNetV2-style network for Fashion-MNIST.  The script
trains it with PyTorch on one CPU thread, writes an ONNX file in which the
BatchNormalization nodes are kept (they are not folded into the convolutions),
checks that file with onnxruntime against PyTorch, and writes the calibration
images, the held-out images and the sample pictures that go with it.

The ONNX graph is built node by node from the trained weights, so the result
does not depend on the version of torch.onnx.
"""

import argparse
import gzip
import hashlib
import json
import os
import random
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

REPO = Path(__file__).resolve().parents[2]
DEFAULT_OUT = REPO / "examples" / "models" / "fashion_cnn"
DEFAULT_DATA = Path("/usr/share/datasets/fashion-mnist")

# Preprocessing: image_f32 = (pixel / 255 - MEAN) / STD
MEAN = 0.2860
STD = 0.3530

CLASSES = [
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle-boot",
]

N_CALIB_U8 = 256   # calib_u8.npy: first images of the training set
N_CALIB_F32 = 128  # calib.npy: the first of those, preprocessed
N_TEST = 2000      # test_u8.npy: first images of the test set

BN_EPS = 1e-5


# ---------------------------------------------------------------- data ------

def read_idx(path):
    """Read one gzip-compressed idx file of unsigned bytes."""
    with gzip.open(path, "rb") as f:
        raw = f.read()
    zero, dtype, rank = struct.unpack(">HBB", raw[:4])
    if zero != 0 or dtype != 0x08:
        raise ValueError(f"{path}: not an idx file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", raw[4:4 + 4 * rank])
    data = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * rank)
    return data.reshape(shape)


def load_data(root):
    return (
        read_idx(root / "train-images-idx3-ubyte.gz"),
        read_idx(root / "train-labels-idx1-ubyte.gz"),
        read_idx(root / "t10k-images-idx3-ubyte.gz"),
        read_idx(root / "t10k-labels-idx1-ubyte.gz"),
    )


def preprocess(u8):
    """uint8 [N,28,28] -> float32 [N,1,28,28]."""
    x = u8.astype(np.float32) / np.float32(255.0)
    x = (x - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(x[:, None, :, :])


def augment(x, gen):
    """Random horizontal flip and random shift by up to 2 pixels."""
    n = x.shape[0]
    flip = torch.rand(n, 1, 1, 1, generator=gen) < 0.5
    x = torch.where(flip, x.flip(3), x)
    x = F.pad(x, (2, 2, 2, 2), value=-MEAN / STD)  # a black pixel
    dy = torch.randint(0, 5, (n,), generator=gen)
    dx = torch.randint(0, 5, (n,), generator=gen)
    rows = (dy[:, None] + torch.arange(28))[:, :, None]
    cols = (dx[:, None] + torch.arange(28))[:, None, :]
    idx = torch.arange(n)[:, None, None]
    return x[idx, 0, rows, cols].unsqueeze(1)


# --------------------------------------------------------------- model ------

class ConvBN(nn.Module):
    """Conv2d without bias, BatchNorm2d and, if act is set, ReLU6."""

    def __init__(self, cin, cout, kernel, stride=1, groups=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2,
                              groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=BN_EPS)
        self.act = act

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu6(x) if self.act else x


class Separable(nn.Module):
    """Depthwise 3x3 followed by pointwise 1x1, as in MobileNetV1."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.dw = ConvBN(cin, cin, 3, stride, groups=cin)
        self.pw = ConvBN(cin, cout, 1)

    def forward(self, x):
        return self.pw(self.dw(x))


class Inverted(nn.Module):
    """Inverted residual block with linear bottleneck, as in MobileNetV2."""

    def __init__(self, cin, cout, stride, expand):
        super().__init__()
        mid = cin * expand
        self.expand = ConvBN(cin, mid, 1)
        self.dw = ConvBN(mid, mid, 3, stride, groups=mid)
        self.project = ConvBN(mid, cout, 1, act=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x):
        y = self.project(self.dw(self.expand(x)))
        return x + y if self.residual else y


class FashionCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvBN(1, 16, 3)                   # 16 x 28 x 28
        self.block1 = Separable(16, 32, 2)             # 32 x 14 x 14
        self.block2 = Inverted(32, 32, 1, 3)           # 32 x 14 x 14, Add
        self.block3 = Inverted(32, 64, 2, 3)           # 64 x  7 x  7
        self.block4 = Inverted(64, 64, 1, 3)           # 64 x  7 x  7, Add
        self.head = ConvBN(64, 128, 1)                 # 128 x 7 x  7
        self.classifier = nn.Linear(128, 10)

    def forward(self, x):
        for name in ("stem", "block1", "block2", "block3", "block4", "head"):
            x = getattr(self, name)(x)
        return self.classifier(x.mean(dim=(2, 3)))


# ------------------------------------------------------------ training ------

def make_deterministic(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@torch.no_grad()
def torch_logits(model, x, batch=500):
    model.eval()
    return torch.cat([model(x[i:i + batch]) for i in range(0, len(x), batch)])


def train(model, x, y, args):
    gen = torch.Generator().manual_seed(args.seed)
    model = model.to(memory_format=torch.channels_last)
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    opt = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02},
         {"params": plain, "weight_decay": 0.0}], lr=args.lr)
    n = len(x)
    steps = n // args.batch
    sched = torch.optim.lr_scheduler.OneCycleLR(
        opt, max_lr=args.lr, total_steps=steps * args.epochs, pct_start=0.2)
    t0 = time.time()
    for epoch in range(args.epochs):
        model.train()
        order = torch.randperm(n, generator=gen)
        loss_sum = 0.0
        hits = 0
        for step in range(steps):
            pick = order[step * args.batch:(step + 1) * args.batch]
            xb = augment(x[pick], gen)
            xb = xb.contiguous(memory_format=torch.channels_last)
            yb = y[pick]
            out = model(xb)
            loss = F.cross_entropy(out, yb)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            sched.step()
            loss_sum += loss.item()
            hits += (out.argmax(1) == yb).sum().item()
        print(f"epoch {epoch + 1:2d}/{args.epochs}  "
              f"loss {loss_sum / steps:.4f}  "
              f"train accuracy (augmented) {hits / (steps * args.batch):.4f}  "
              f"{time.time() - t0:.0f} s", flush=True)


# --------------------------------------------------------- ONNX export ------

class GraphWriter:
    def __init__(self):
        self.nodes = []
        self.inits = []

    def init(self, name, value):
        value = np.ascontiguousarray(value, dtype=np.float32)
        self.inits.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op, name, inputs, **attrs):
        out = name + "_out"
        self.nodes.append(helper.make_node(op, inputs, [out], name=name,
                                           **attrs))
        return out

    def conv_bn(self, layer, name, x):
        conv, bn = layer.conv, layer.bn
        w = self.init(f"{name}.conv.weight", conv.weight.detach().numpy())
        x = self.node("Conv", f"{name}.conv", [x, w],
                      kernel_shape=list(conv.kernel_size),
                      strides=list(conv.stride),
                      pads=list(conv.padding) * 2,
                      dilations=list(conv.dilation),
                      group=conv.groups)
        stats = [self.init(f"{name}.bn.{k}", getattr(bn, k).detach().numpy())
                 for k in ("weight", "bias", "running_mean", "running_var")]
        x = self.node("BatchNormalization", f"{name}.bn", [x] + stats,
                      epsilon=bn.eps)
        if layer.act:
            x = self.node("Clip", f"{name}.relu6", [x, "zero", "six"])
        return x


def build_onnx(model):
    """Write the trained network as ONNX, BatchNormalization kept."""
    model.eval()
    g = GraphWriter()
    g.init("zero", 0.0)
    g.init("six", 6.0)
    x = g.conv_bn(model.stem, "stem", "image")
    x = g.conv_bn(model.block1.dw, "block1.dw", x)
    x = g.conv_bn(model.block1.pw, "block1.pw", x)
    for name in ("block2", "block3", "block4"):
        block = getattr(model, name)
        skip = x
        for part in ("expand", "dw", "project"):
            x = g.conv_bn(getattr(block, part), f"{name}.{part}", x)
        if block.residual:
            x = g.node("Add", f"{name}.add", [skip, x])
    x = g.conv_bn(model.head, "head", x)
    x = g.node("GlobalAveragePool", "pool", [x])
    x = g.node("Flatten", "flatten", [x], axis=1)
    fc = model.classifier
    w = g.init("classifier.weight", fc.weight.detach().numpy())
    b = g.init("classifier.bias", fc.bias.detach().numpy())
    g.nodes.append(helper.make_node("Gemm", [x, w, b], ["logits"],
                                    name="classifier", alpha=1.0, beta=1.0,
                                    transB=1))
    graph = helper.make_graph(
        g.nodes, "fashion_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT,
                                       ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT,
                                       ["N", 10])],
        g.inits)
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)],
        producer_name="ptqc-train-fashion-cnn")
    proto.ir_version = 8
    helper.set_model_props(proto, {
        "preprocessing": f"(pixel / 255 - {MEAN:.4f}) / {STD:.4f}",
        "classes": ",".join(CLASSES),
        "dataset": "Fashion-MNIST",
    })
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


# -------------------------------------------------------------- output ------

def write_png_gray(path, img):
    """Write a uint8 [H,W] array as an 8-bit grayscale PNG."""
    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body +
                struct.pack(">I", zlib.crc32(kind + body)))
    h, w = img.shape
    rows = b"".join(b"\0" + row.tobytes() for row in img)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" +
        chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)) +
        chunk(b"IDAT", zlib.compress(rows, 9)) +
        chunk(b"IEND", b""))


def write_data(out, train_x, test_x, test_y):
    calib = train_x[:N_CALIB_U8]
    np.save(out / "calib_u8.npy", np.ascontiguousarray(calib[..., None]))
    np.save(out / "calib.npy", preprocess(calib[:N_CALIB_F32]))
    np.save(out / "test_u8.npy",
            np.ascontiguousarray(test_x[:N_TEST, ..., None]))
    np.save(out / "test_labels.npy", test_y[:N_TEST].astype(np.int64))
    samples = out / "samples"
    samples.mkdir(exist_ok=True)
    picked = []
    for cls, name in enumerate(CLASSES):
        index = int(np.flatnonzero(test_y == cls)[0])
        write_png_gray(samples / f"{name}.png", test_x[index])
        picked.append(index)
    return picked


def ort_logits(path, x, batch=500):
    opts = ort.SessionOptions()
    opts.intra_op_num_threads = 1
    opts.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), opts,
                                   providers=["CPUExecutionProvider"])
    return np.concatenate([
        session.run(["logits"], {"image": x[i:i + batch]})[0]
        for i in range(0, len(x), batch)])


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--data", type=Path, default=DEFAULT_DATA,
                    help="folder with the four Fashion-MNIST idx .gz files")
    ap.add_argument("--out", type=Path, default=DEFAULT_OUT,
                    help="folder to write")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--epochs", type=int, default=14)
    ap.add_argument("--batch", type=int, default=128)
    ap.add_argument("--lr", type=float, default=0.01)
    ap.add_argument("--limit", type=int, default=0,
                    help="use only the first LIMIT training images (for a "
                         "quick trial; 0 means all)")
    ap.add_argument("--min-accuracy", type=float, default=0.90,
                    help="fail, writing nothing, below this test accuracy")
    args = ap.parse_args()

    make_deterministic(args.seed)
    train_x, train_y, test_x, test_y = load_data(args.data)
    n = args.limit or len(train_x)
    x = torch.from_numpy(preprocess(train_x[:n]))
    y = torch.from_numpy(train_y[:n].astype(np.int64))
    xt = preprocess(test_x)

    model = FashionCNN()
    params = sum(p.numel() for p in model.parameters())
    print(f"{params} trainable parameters ({params * 4 / 1024:.0f} KiB f32), "
          f"torch {torch.__version__}")
    t0 = time.time()
    train(model, x, y, args)
    seconds = time.time() - t0
    model = model.to(memory_format=torch.contiguous_format)

    ref = torch_logits(model, torch.from_numpy(xt)).numpy()
    acc = float((ref.argmax(1) == test_y).mean())
    print(f"PyTorch test accuracy: {acc:.4f}")
    if acc < args.min_accuracy:
        sys.exit(f"test accuracy {acc:.4f} is below {args.min_accuracy}; "
                 "nothing written")

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "fashion_cnn.onnx"
    path.write_bytes(build_onnx(model).SerializeToString(deterministic=True))
    got = ort_logits(path, xt)
    diff = float(np.abs(got - ref).max())
    hits = got.argmax(1) == test_y
    agree = int((got.argmax(1) == ref.argmax(1)).sum())
    print(f"onnxruntime test accuracy: {hits.mean():.4f} on all {len(hits)}, "
          f"{hits[:N_TEST].mean():.4f} on the first {N_TEST}")
    print(f"largest logit difference onnxruntime - PyTorch: {diff:.3g}; "
          f"same class on {agree} of {len(hits)}")
    if diff > 1e-3:
        sys.exit("the ONNX file does not match PyTorch")

    picked = write_data(args.out, train_x, test_x, test_y)
    for name, index in zip(CLASSES, picked):
        print(f"sample {name:10s} = test image {index:2d}, "
              f"predicted {CLASSES[int(got[index].argmax())]}")
    metrics = {
        "test_accuracy_all_10000": round(float(hits.mean()), 4),
        "test_accuracy_first_2000": round(float(hits[:N_TEST].mean()), 4),
        "per_class_accuracy_all_10000": {
            name: round(float(hits[test_y == c].mean()), 4)
            for c, name in enumerate(CLASSES)},
        "trainable_parameters": params,
        "epochs": args.epochs,
        "batch": args.batch,
        "max_lr": args.lr,
        "seed": args.seed,
        "mean": MEAN,
        "std": STD,
        "torch": torch.__version__.split("+")[0],
        "onnx_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) +
                                           "\n")
    total = 0
    for f in sorted(p for p in args.out.rglob("*") if p.is_file()):
        total += f.stat().st_size
        print(f"{f.stat().st_size:9d}  {f.relative_to(args.out)}")
    print(f"{total:9d}  total; training took {seconds:.0f} s")


if __name__ == "__main__":
    main()

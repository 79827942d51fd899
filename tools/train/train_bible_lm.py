#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the ptqc demo language model and write examples/models/bible_lm/.

The model is a small Llama (grouped queries, tied embedding) for the text of
the King James Bible.  The script takes the text from Debian's bible-kjv,
trains a byte-level BPE tokenizer, measures a Kneser-Ney trigram over the same
tokens, trains the model with PyTorch, rounds its weights to f16, measures it
with these, and writes the folder in the form of Hugging Face.

    --device cuda   one GPU: what the model in the repository was trained on
    --measure       no training: measure the model that lies in --out
"""

import argparse
import collections
import hashlib
import json
import math
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

REPO = Path(__file__).resolve().parents[2]
DEFAULT_OUT = REPO / "examples" / "models" / "bible_lm"

BOOKS = """Genesis Exodus Leviticus Numbers Deuteronomy Joshua Judges Ruth
1_Samuel 2_Samuel 1_Kings 2_Kings 1_Chronicles 2_Chronicles Ezra Nehemiah
Esther Job Psalm Proverbs Ecclesiastes Song_of_Solomon Isaiah Jeremiah
Lamentations Ezekiel Daniel Hosea Joel Amos Obadiah Jonah Micah Nahum Habakkuk
Zephaniah Haggai Zechariah Malachi Matthew Mark Luke John Acts Romans
1_Corinthians 2_Corinthians Galatians Ephesians Philippians Colossians
1_Thessalonians 2_Thessalonians 1_Timothy 2_Timothy Titus Philemon Hebrews
James 1_Peter 2_Peter 1_John 2_John 3_John Jude Revelation""".split()
TEXT_SHA256 = "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d"

# Chapters are counted from 1 through the whole book, Genesis 1 to
# Revelation 22 (1189).  Held out: those divisible by 30.  For choosing
# settings: those that leave 15.  All others are trained on.
SPLIT_PERIOD, SPLIT_HELD_OUT, SPLIT_VALIDATION = 30, 0, 15

END_OF_TEXT = "<|endoftext|>"  # begins every text, id 0
# GPT-2's expression, for the ASCII text at hand.
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+"
                   r"| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")

# What metrics.json keeps of the options.
SETTINGS = """seed vocab width layers heads kv_heads head_dim ffn ctx batch
epochs lr warmup weight_decay dropout bpe_dropout bpe_ways plain_share
compile""".split()

# How perplexity is measured; the same as ptqc eval --ctx --stride.
EVAL_CTX, EVAL_STRIDE = 1024, 512


# ---------------------------------------------------------------- text ------

def read_bible(path):
    """The chapters in order, as texts: a heading, then one verse a line."""
    if path:
        raw = path.read_text(encoding="ascii")
    else:
        raw = subprocess.run(["bible", "-f", "-l9999", "Gen1:1-Rev22:21"],
                             check=True, capture_output=True,
                             encoding="ascii").stdout
    digest = hashlib.sha256(raw.encode()).hexdigest()
    if digest != TEXT_SHA256:
        print(f"note: another text than the one trained on ({digest})")
    chapters, books = [], []
    last = None
    for line in raw.splitlines():
        place, verse = line.split(" ", 1)
        book, chapter = re.fullmatch(r"(.*[^0-9])([0-9]+):[0-9]+",
                                     place).groups()
        if book not in books:
            books.append(book)
        if (book, chapter) != last:
            last = (book, chapter)
            name = BOOKS[len(books) - 1].replace("_", " ")
            chapters.append(f"{name} {chapter}\n")
        chapters[-1] += verse.strip() + "\n"
    return chapters


def split_chapters(chapters):
    """Training, validation, held-out chapters."""
    parts = [], [], []
    for number, text in enumerate(chapters, 1):
        rest = number % SPLIT_PERIOD
        which = (2 if rest == SPLIT_HELD_OUT else
                 1 if rest == SPLIT_VALIDATION else 0)
        parts[which].append(text)
    return parts


def join(chapters):
    """One text, an empty line between chapters."""
    return "\n".join(chapters)


# ----------------------------------------------------------- tokenizer ------

def byte_letters():
    """GPT-2's printable letter for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, n = {}, 0
    for b in range(256):
        letters[b] = chr(b if b in kept else 256 + n)
        n += b not in kept
    return letters


class Tokenizer:
    """Byte-level BPE: ids 0 end of text, 1..256 bytes, then merges."""

    def __init__(self, merges):
        self.merges = merges  # pairs of ids, in order
        self.rank = {pair: i for i, pair in enumerate(merges)}
        self.size = 257 + len(merges)
        self.cache = {}

    @classmethod
    def train(cls, text, size):
        """The most frequent pair first; equal counts: the one seen first."""
        words = collections.Counter(SPLIT.findall(text))
        seqs = [[b + 1 for b in w.encode()] for w in words]
        counts = list(words.values())
        pairs = collections.Counter()
        where = collections.defaultdict(set)
        for i, s in enumerate(seqs):
            for p in zip(s, s[1:]):
                pairs[p] += counts[i]
                where[p].add(i)
        merges = []
        while 257 + len(merges) < size:
            best = max(pairs, key=pairs.get)
            new = 257 + len(merges)
            merges.append(best)
            for i in sorted(where.pop(best)):
                for p in zip(seqs[i], seqs[i][1:]):
                    pairs[p] -= counts[i]
                seqs[i] = replace_pair(seqs[i], best, new)
                for p in zip(seqs[i], seqs[i][1:]):
                    pairs[p] += counts[i]
                    where[p].add(i)
            del pairs[best]
        return cls(merges)

    def encode_word(self, word, drop=0.0, rng=None):
        """With drop: BPE-dropout (Provilkov et al., 2020), Algorithm 1."""
        s = [b + 1 for b in word.encode()]
        while len(s) > 1:
            ranks = [self.rank.get(p, self.size) for p in zip(s, s[1:])]
            if drop:
                ranks = [self.size if rng.random() < drop else r
                         for r in ranks]
            best = min(ranks)
            if best == self.size:
                break
            i = ranks.index(best)
            s[i:i + 2] = [257 + best]
        return s

    def encode(self, text):
        ids = [0]
        for word in SPLIT.findall(text):
            if word not in self.cache:
                self.cache[word] = self.encode_word(word)
            ids += self.cache[word]
        return np.array(ids, dtype=np.int64)

    def to_json(self):
        """tokenizer.json as the tokenizers library reads it."""
        letters = byte_letters()
        texts = [END_OF_TEXT] + [letters[b] for b in range(256)]
        for a, b in self.merges:
            texts.append(texts[a] + texts[b])
        special = {"id": 0, "content": END_OF_TEXT, "single_word": False,
                   "lstrip": False, "rstrip": False, "normalized": False,
                   "special": True}
        level = {"type": "ByteLevel", "add_prefix_space": False,
                 "trim_offsets": True, "use_regex": True}
        start = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
        return {
            "version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [special], "normalizer": None,
            "pre_tokenizer": level,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [start, {"Sequence": {"id": "A", "type_id": 0}},
                         {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {END_OF_TEXT: {
                    "id": END_OF_TEXT, "ids": [0], "tokens": [END_OF_TEXT]}}},
            "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False,
                      "byte_fallback": False, "ignore_merges": False,
                      "vocab": {t: i for i, t in enumerate(texts)},
                      "merges": [[texts[a], texts[b]]
                                 for a, b in self.merges]}}


def replace_pair(s, pair, new):
    out, i = [], 0
    while i < len(s):
        if i + 1 < len(s) and (s[i], s[i + 1]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(s[i])
            i += 1
    return out


# ---------------------------------------------------- Kneser-Ney trigram ----

class KneserNey:
    """Interpolated modified Kneser-Ney trigram.

    Chen and Goodman, "An empirical study of smoothing techniques for language
    modeling" (1998), section 4.1.6: three discounts for each order; lower
    orders count the distinct tokens before them; the unigram is interpolated
    with 1 / V, so that every context sums to one.
    """

    def __init__(self, ids, size):
        v = self.v = size
        self.keys, self.counts = [None] * 3, [None] * 3
        three = (ids[:-2] * v + ids[1:-1]) * v + ids[2:]
        self.keys[2], self.counts[2] = np.unique(three, return_counts=True)
        two = np.append(self.keys[2] % (v * v), ids[0] * v + ids[1])
        self.keys[1], self.counts[1] = np.unique(two, return_counts=True)
        self.keys[0], self.counts[0] = np.unique(self.keys[1] % v,
                                                 return_counts=True)
        self.discounts = []
        for c in self.counts:
            n = [np.sum(c == k) for k in range(1, 5)]
            y = n[0] / (n[0] + 2 * n[1])
            self.discounts.append([k - (k + 1) * y * n[k] / n[k - 1]
                                   for k in (1, 2, 3)])

    def _level(self, order, context, token, lower):
        """P of this order from the P of the next lower one."""
        keys, counts = self.keys[order], self.counts[order]
        d = np.array([0.0] + list(self.discounts[order]))
        less = d[np.minimum(counts, 3)]
        heads, start = np.unique(keys // self.v, return_index=True)
        total = np.add.reduceat(counts, start)
        kept = np.add.reduceat(less, start)  # the mass that is given away
        at = np.minimum(np.searchsorted(heads, context), len(heads) - 1)
        known = heads[at] == context
        key = context * self.v + token
        k = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        seen = keys[k] == key
        p = np.where(seen, counts[k] - less[k], 0.0)
        return np.where(known, (p + kept[at] * lower) / total[at], lower)

    def log_p(self, a, b, c):
        """Natural logarithm of P(c | a b), for arrays of ids."""
        p = np.full(len(c), 1.0 / self.v)
        p = self._level(0, np.zeros_like(c), c, p)
        p = self._level(1, b, c, p)
        return np.log(self._level(2, a * self.v + b, c, p))

    def nll(self, ids):
        """Sum over ids[1:], the first of them with the context (0, 0)."""
        a = np.append(ids[:1], ids[:-2])
        return -self.log_p(a, ids[:-1], ids[1:]).sum()

    def tune(self, ids):
        """Better discounts, one after the other, on other text."""
        best = self.nll(ids)
        for step in (0.1, 0.05, 0.02):
            for order in range(3):
                for k in range(3):
                    for sign in (step, -step):
                        while True:
                            d = self.discounts[order]
                            old = d[k]
                            d[k] = min(max(old + sign, 0.01), k + 1 - 0.01)
                            now = self.nll(ids)
                            if now >= best:
                                d[k] = old
                                break
                            best = now

    def check(self, contexts):
        """Every context sums to one."""
        every = np.arange(self.v)
        for a, b in contexts:
            p = self.log_p(np.full(self.v, a), np.full(self.v, b), every)
            assert abs(np.exp(p).sum() - 1) < 1e-9


# --------------------------------------------------------------- model ------

class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).type_as(x)


def rotate(x, cos, sin):
    """Rotary positions, halves of a head paired as Hugging Face does."""
    a, b = x.float().chunk(2, dim=-1)
    y = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return y.type_as(x)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads = c.heads, c.kv_heads
        self.head = c.head_dim
        self.q_proj = nn.Linear(c.width, c.heads * self.head, bias=False)
        self.k_proj = nn.Linear(c.width, c.kv_heads * self.head, bias=False)
        self.v_proj = nn.Linear(c.width, c.kv_heads * self.head, bias=False)
        self.o_proj = nn.Linear(c.heads * self.head, c.width, bias=False)

    def forward(self, x, cos, sin):
        n, t, _ = x.shape
        q, k, v = (p(x).view(n, t, -1, self.head).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        each = self.heads // self.kv_heads
        k, v = (y.repeat_interleave(each, dim=1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(n, t, -1))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.width, c.ffn, bias=False)
        self.up_proj = nn.Linear(c.width, c.ffn, bias=False)
        self.down_proj = nn.Linear(c.ffn, c.width, bias=False)
        self.dropout = c.dropout

    def forward(self, x):
        y = F.silu(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(F.dropout(y, self.dropout, self.training))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c.width, c.eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c.width, c.eps)
        self.mlp = FeedForward(c)
        self.dropout = c.dropout

    def forward(self, x, cos, sin):
        y = self.self_attn(self.input_layernorm(x), cos, sin)
        x = x + F.dropout(y, self.dropout, self.training)
        y = self.mlp(self.post_attention_layernorm(x))
        return x + F.dropout(y, self.dropout, self.training)


class Llama(nn.Module):
    """The names of the parameters are those of Hugging Face's Llama."""

    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.width)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = Norm(c.width, c.eps)
        self.dropout = c.dropout
        half = torch.arange(0, c.head_dim, 2, dtype=torch.float64)
        turns = torch.outer(torch.arange(c.context, dtype=torch.float64),
                            c.theta ** (-half / c.head_dim))
        self.register_buffer("cos", turns.cos().float(), persistent=False)
        self.register_buffer("sin", turns.sin().float(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c.layers)
                                if deep else 0.02)

    def forward(self, ids):
        t = ids.shape[1]
        x = F.dropout(self.embed_tokens(ids), self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return F.linear(self.norm(x), self.embed_tokens.weight)


# ------------------------------------------------------------ training ------

class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for the matrices of the layers: momentum,
    made orthogonal by five Newton-Schulz steps; scaled to the size of Adam's
    steps, with decoupled weight decay (Liu et al., 2025, equation 4).
    Matrices of one shape are done together."""

    def __init__(self, params, lr, weight_decay, momentum=0.95):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay,
                                      momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = collections.defaultdict(list)
            for p in group["params"]:
                shapes[p.shape].append(p)
            for shape, params in shapes.items():
                self._step(group, shape, params)

    def _step(self, group, shape, params):
        m = group["momentum"]
        for p in params:
            if not self.state[p]:
                self.state[p]["moment"] = torch.zeros_like(p)
        moments = [self.state[p]["moment"] for p in params]
        grads = [p.grad for p in params]
        torch._foreach_lerp_(moments, grads, 1 - m)
        x = torch.stack(torch._foreach_lerp(grads, moments, m))
        x = orthogonal(x) * (0.2 * math.sqrt(max(shape)))
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, list(x.unbind()), alpha=-group["lr"])


def orthogonal(g):
    x = g.bfloat16() if g.is_cuda else g
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).type_as(g)


class Stream:
    """Endless training windows: chapters in a new order each epoch, cut at
    new places; with BPE-dropout also in other tokens."""

    def __init__(self, tokenizer, chapters, args):
        self.rng = np.random.default_rng(args.seed)
        self.ctx, self.batch = args.ctx, args.batch
        words = {}
        self.chapters = [np.array([words.setdefault(w, len(words))
                                   for w in SPLIT.findall("\n" + text)])
                         for text in chapters]
        ways = args.bpe_ways if args.bpe_dropout > 0 else 0
        self.plain = self._pack([[tokenizer.encode_word(w)] for w in words])
        self.mixed = self._pack(
            [[tokenizer.encode_word(w, args.bpe_dropout, self.rng)
              for _ in range(ways)] for w in words]) if ways else self.plain

    @staticmethod
    def _pack(table):
        """Ragged [word][way] to flat ids, first index, length."""
        flat = [s for ways in table for s in ways]
        n = np.array([len(s) for s in flat])
        return (np.concatenate(flat), np.cumsum(n) - n, n,
                len(table[0]))

    def epoch(self, mixed):
        """[windows][ctx + 1] ids."""
        ids, first, count, ways = self.mixed if mixed else self.plain
        order = self.rng.permutation(len(self.chapters))
        words = np.concatenate([self.chapters[i] for i in order])
        words = words * ways + self.rng.integers(0, ways, len(words))
        n = count[words]
        ends = np.cumsum(n)
        at = np.arange(ends[-1]) + np.repeat(first[words] - (ends - n), n)
        stream = ids[at][self.rng.integers(0, self.ctx):]
        rows = (len(stream) - 1) // self.ctx
        grid = np.arange(rows)[:, None] * self.ctx + np.arange(self.ctx + 1)
        x = stream[grid[self.rng.permutation(rows)]]
        x[self.rng.random(rows) < 0.2, 0] = 0  # a text may begin anywhere
        return x

    def steps(self):
        return len(self.epoch(False)) // self.batch


def learning_rate(step, steps, warm):
    """Linear up, flat, linear down over the last half."""
    return min(1.0, (step + 1) / warm, 2 * (steps - step) / steps)


def train(model, stream, val_ids, val_bytes, args):
    device = args.device
    matrices = [p for n, p in model.named_parameters()
                if p.dim() == 2 and not n.startswith("embed")]
    norms = [p for p in model.parameters() if p.dim() == 1]
    emb = [model.embed_tokens.weight]
    adam = [{"params": emb, "weight_decay": args.weight_decay},
            {"params": norms, "weight_decay": 0.0}]
    opts = [torch.optim.AdamW(adam, lr=args.lr, betas=(0.9, 0.95),
                              fused=True),
            Muon(matrices, args.lr, args.weight_decay)]
    steps_per_epoch = stream.steps()
    steps = int(args.epochs * steps_per_epoch)

    def loss_of(x):
        with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            logits = model(x[:, :-1])
        return F.cross_entropy(logits.float().flatten(0, 1),
                               x[:, 1:].flatten())

    if args.compile:
        for layer in model.layers:
            layer.compile(dynamic=False)
    t0, step, epoch = time.time(), 0, 0
    while step < steps:
        mixed = step < (1 - args.plain_share) * steps
        x = torch.from_numpy(stream.epoch(mixed)).to(device)
        total = torch.zeros((), device=device)
        model.train()
        begun = step
        for i in range(len(x) // args.batch):
            scale = learning_rate(step, steps, args.warmup)
            for opt in opts:
                for g in opt.param_groups:
                    g["lr"] = args.lr * scale
            loss = loss_of(x[i * args.batch:(i + 1) * args.batch])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for opt in opts:
                opt.step()
                opt.zero_grad(set_to_none=True)
            total += loss.detach()
            step += 1
            if step >= steps:
                break
        epoch += 1
        if epoch % args.report == 0 or step >= steps:
            bits = measure(model, val_ids, device)[0] / math.log(2)
            print(f"epoch {epoch:3d}  step {step}/{steps}  loss "
                  f"{total.item() / max(1, step - begun):.4f}  validation "
                  f"{bits / val_bytes:.4f} bits per byte  "
                  f"{time.time() - t0:.0f} s", flush=True)
    return time.time() - t0


@torch.no_grad()
def measure(model, ids, device, ctx=EVAL_CTX, stride=EVAL_STRIDE, batch=16):
    """Sum of -ln p over ids[1:], and their number, in windows of ctx tokens
    that begin stride apart; a token counts in the first window that has it."""
    model.eval()
    ids = torch.from_numpy(ids)
    total, scored, done = 0.0, 0, 1
    begins = []
    for begin in range(0, len(ids) - 1, stride):
        begins.append((begin, max(done, begin + 1)))
        done = min(begin + ctx, len(ids))
        if done == len(ids):
            break
    for i in range(0, len(begins), batch):
        part = begins[i:i + batch]
        x = torch.zeros(len(part), ctx, dtype=torch.long)
        y = torch.full((len(part), ctx), -100)
        for row, (begin, first) in enumerate(part):
            w = ids[begin:begin + ctx]
            x[row, :len(w)] = w
            y[row, first - begin - 1:len(w) - 1] = ids[first:begin + len(w)]
        logits = model(x.to(device)).double().flatten(0, 1)
        total += F.cross_entropy(logits, y.to(device).flatten(),
                                 reduction="sum").item()
        scored += int((y >= 0).sum())
    return total, scored


# -------------------------------------------------------------- output ------

def round_to_f16(model):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.half().float())
            assert torch.isfinite(p).all()


def write_safetensors(path, tensors):
    """f16 tensors: header length, JSON header, data."""
    header, at = {}, 0
    for name, t in tensors:
        header[name] = {"dtype": "F16", "shape": list(t.shape),
                        "data_offsets": [at, at + 2 * t.numel()]}
        at += 2 * t.numel()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, t in tensors:
            f.write(t.half().cpu().numpy().tobytes())


def read_safetensors(path, model):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    with torch.no_grad():
        for name, p in model.named_parameters():
            h = header["model." + name]
            begin, end = (8 + size + k for k in h["data_offsets"])
            t = np.frombuffer(raw[begin:end], dtype="<f2")
            p.copy_(torch.from_numpy(t.astype(np.float32)).view(p.shape))


def model_config(a):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": a.vocab, "hidden_size": a.width,
        "intermediate_size": a.ffn, "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads, "num_key_value_heads": a.kv_heads,
        "head_dim": a.head_dim, "max_position_embeddings": a.context,
        "rms_norm_eps": a.eps, "rope_theta": a.theta, "rope_scaling": None,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
        "torch_dtype": "float16"}


def write_json(path, value, **how):
    path.write_text(json.dumps(value, ensure_ascii=False, **how) + "\n",
                    encoding="utf-8")


def parse_args():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = ap.add_argument
    add("--text", type=Path, help="output of: bible -f -l9999 "
        "Gen1:1-Rev22:21\n(default: run that)")
    add("--out", type=Path, default=DEFAULT_OUT, help="folder to write")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=int, default=1, help="on the cpu (default 1)")
    add("--seed", type=int, default=1)
    add("--measure", action="store_true",
        help="measure the model in --out, train and write nothing")
    add("--validate", action="store_true",
        help="train and print bits per byte of the validation chapters only,\n"
        "write nothing: for choosing settings")
    add("--quick", action="store_true",
        help="a trial of a minute: a tiny model, no bound on its quality")
    add("--compile", action="store_true", help="use torch.compile")
    add("--max-ratio", type=float, default=0.92,
        help="fail, writing nothing, above this ratio of bits per byte")
    add("--vocab", type=int, default=2048)
    add("--width", type=int, default=256)
    add("--layers", type=int, default=9)
    add("--heads", type=int, default=8)
    add("--kv-heads", type=int, default=4)
    add("--head-dim", type=int, default=32)
    add("--ffn", type=int, default=704)
    add("--ctx", type=int, default=1024, help="training window in tokens")
    add("--batch", type=int, default=16, help="windows in a step")
    add("--epochs", type=float, default=55)
    add("--lr", type=float, default=4e-3)
    add("--warmup", type=int, default=100, help="steps")
    add("--weight-decay", type=float, default=0.1)
    add("--dropout", type=float, default=0.2)
    add("--bpe-dropout", type=float, default=0.1)
    add("--bpe-ways", type=int, default=16,
        help="random segmentations kept of each word")
    add("--plain-share", type=float, default=0.3,
        help="last part of the training, without BPE-dropout")
    add("--report", type=int, default=5, help="epochs between two lines")
    a = ap.parse_args()
    a.context, a.eps, a.theta = EVAL_CTX, 1e-5, 10000.0
    if a.quick:
        a.vocab, a.width, a.layers, a.ffn = 1024, 64, 2, 176
        a.heads, a.kv_heads = 2, 1
        a.ctx, a.epochs, a.warmup, a.max_ratio = 256, 1, 10, 9.0
        if a.out == DEFAULT_OUT:
            ap.error("--quick needs --out, to leave the repository alone")
    return a


def main():
    a = parse_args()
    torch.manual_seed(a.seed)
    if a.device == "cpu":
        torch.set_num_threads(a.threads)
    chapters = read_bible(a.text)
    parts = split_chapters(chapters)
    texts = [join(p) for p in parts]
    sizes = [len(t.encode()) for t in texts]
    tokenizer = Tokenizer.train(texts[0], a.vocab)
    train_ids, val_ids, held_ids = (tokenizer.encode(t) for t in texts)
    print(f"{len(chapters)} chapters; training, validation, held out: "
          f"{sizes} bytes, "
          f"{[len(train_ids), len(val_ids), len(held_ids)]} tokens")

    def bits(nats, part):
        return float(nats / math.log(2) / sizes[part])

    model = Llama(a).to(a.device)
    params = sum(p.numel() for p in model.parameters())
    print(f"{params} parameters, torch {torch.__version__}", flush=True)
    if a.validate:
        train(model, Stream(tokenizer, parts[0], a), val_ids, sizes[1], a)
        return

    trigram = KneserNey(train_ids, a.vocab)
    trigram.tune(val_ids)
    trigram.check([(0, 0), tuple(train_ids[5:7]), tuple(held_ids[9:11])])
    kn_val = bits(trigram.nll(val_ids), 1)
    kn_held = bits(trigram.nll(held_ids), 2)
    print(f"Kneser-Ney trigram: bits per byte {kn_val:.4f} (validation), "
          f"{kn_held:.4f} (held out)", flush=True)

    seconds = 0.0
    if a.measure:
        read_safetensors(a.out / "model.safetensors", model)
    else:
        stream = Stream(tokenizer, parts[0], a)
        seconds = train(model, stream, val_ids, sizes[1], a)
        round_to_f16(model)
    val_nats, _ = measure(model, val_ids, a.device)
    nats, scored = measure(model, held_ids, a.device)
    metrics = {
        "heldout_bits_per_byte": round(bits(nats, 2), 5),
        "heldout_bits_per_byte_trigram": round(kn_held, 5),
        "heldout_ratio": round(bits(nats, 2) / kn_held, 4),
        "heldout_nll": round(nats / scored, 6),
        "heldout_ppl": round(math.exp(nats / scored), 4),
        "heldout_tokens": scored, "heldout_bytes": sizes[2],
        "eval_ctx": EVAL_CTX, "eval_stride": EVAL_STRIDE,
        "validation_bits_per_byte": round(bits(val_nats, 1), 5),
        "validation_bits_per_byte_trigram": round(kn_val, 5)}
    nats, scored = measure(model, held_ids, a.device, 512, 512)
    metrics["heldout_ppl_ctx_512"] = round(math.exp(nats / scored), 4)
    print(json.dumps(metrics, indent=2))
    if a.measure:
        return
    if metrics["heldout_ratio"] > a.max_ratio:
        sys.exit(f"above {a.max_ratio} of the trigram; nothing written")
    a.out.mkdir(parents=True, exist_ok=True)
    write_safetensors(a.out / "model.safetensors",
                      [("model." + n, p.detach())
                       for n, p in model.named_parameters()])
    write_json(a.out / "config.json", model_config(a), indent=2)
    write_json(a.out / "tokenizer.json", tokenizer.to_json(), indent=1)
    (a.out / "heldout.txt").write_text(texts[2])
    (a.out / "calib.txt").write_text(texts[1])
    weights = (a.out / "model.safetensors").read_bytes()
    metrics.update({
        "parameters": params, "training_seconds": round(seconds),
        "device": torch.cuda.get_device_name() if a.device == "cuda"
        else "cpu", "torch": torch.__version__.split("+")[0],
        "settings": {k: getattr(a, k) for k in SETTINGS},
        "weights_sha256": hashlib.sha256(weights).hexdigest()})
    write_json(a.out / "metrics.json", metrics, indent=2)
    print(f"{len(weights)} bytes of weights; training took {seconds:.0f} s")


if __name__ == "__main__":
    main()

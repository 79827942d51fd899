# SPDX-License-Identifier: Apache-2.0
"""A Llama shape with random weights, as a Hugging Face folder (f16) and as a GGUF file (Q4_0).

Both hold the same numbers, the GGUF file rounded to 4 bits. Nothing is kept but the rows at hand: tensors are made from a
seed of their own, once for each file.
"""

import json
import struct
from dataclasses import dataclass

import numpy as np

ROWS_AT_ONCE = 2048
F32, F16, Q4_0 = 0, 1, 2             # ggml's numbers of types
U32, FLOAT, STRING, ARRAY, I32 = 4, 6, 8, 9, 5     # GGUF's numbers of values


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    vocabulary: int
    is_tied: bool = False

    @property
    def head(self):
        return self.width // self.heads

    @property
    def projections(self):
        """Weights of the matrices in the blocks: what every token is multiplied with."""
        attention = 2 * self.width * self.width + 2 * self.width * self.head * self.kv_heads
        return self.layers * (attention + 3 * self.width * self.ffn)


LLAMA_1B = Shape(layers=22, width=2048, ffn=5632, heads=32, kv_heads=4, vocabulary=32000)
SMOLLM2_135M = Shape(layers=30, width=576, ffn=1536, heads=9, kv_heads=3, vocabulary=49152, is_tied=True)


@dataclass(frozen=True)
class Tensor:
    seed: int
    hf: str
    gguf: str
    rows: int             # 0: a vector of ones
    columns: int
    turned_heads: int = 0  # GGUF interleaves the two halves of each of that many heads


def tensors(shape):
    kv = shape.head * shape.kv_heads
    block = [("input_layernorm", "attn_norm", 0, shape.width, 0),
             ("self_attn.q_proj", "attn_q", shape.width, shape.width, shape.heads),
             ("self_attn.k_proj", "attn_k", kv, shape.width, shape.kv_heads),
             ("self_attn.v_proj", "attn_v", kv, shape.width, 0),
             ("self_attn.o_proj", "attn_output", shape.width, shape.width, 0),
             ("post_attention_layernorm", "ffn_norm", 0, shape.width, 0),
             ("mlp.gate_proj", "ffn_gate", shape.ffn, shape.width, 0),
             ("mlp.up_proj", "ffn_up", shape.ffn, shape.width, 0),
             ("mlp.down_proj", "ffn_down", shape.width, shape.ffn, 0)]
    rows = [("model.embed_tokens", "token_embd", shape.vocabulary, shape.width, 0)]
    for i in range(shape.layers):
        rows += [(f"model.layers.{i}.{hf}", f"blk.{i}.{gguf}", *rest) for hf, gguf, *rest in block]
    rows += [("model.norm", "output_norm", 0, shape.width, 0)]
    if not shape.is_tied:
        rows += [("lm_head", "output", shape.vocabulary, shape.width, 0)]
    return [Tensor(seed, f"{hf}.weight", f"{gguf}.weight", *rest) for seed, (hf, gguf, *rest) in enumerate(rows)]


def parts(tensor):
    """The rows in f16, some at a time."""
    rng = np.random.default_rng(tensor.seed)
    for first in range(0, tensor.rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, tensor.rows - first)
        yield (rng.standard_normal((count, tensor.columns), np.float32) * 0.02).astype(np.float16)


# ---- tokens -------------------------------------------------------------------------------------------------------------

def tokens(shape):
    """Texts and ggml types: control, bytes, words."""
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * 27
    texts += [f"▁word{i}" for i in range(shape.vocabulary - len(texts))]
    return texts, kinds + [1] * (shape.vocabulary - len(kinds))


def tokenizer_json(shape):
    texts, _ = tokens(shape)
    special = [{"id": i, "content": texts[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False} for i in range(3)]
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                                                      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    decoder = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                                {"type": "ByteFallback"}, {"type": "Fuse"}]}
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "merges": [],
             "vocab": {text: i for i, text in enumerate(texts)}}
    return {"version": "1.0", "added_tokens": special, "normalizer": normalizer, "pre_tokenizer": None, "post_processor": None,
            "decoder": decoder, "model": model}


# ---- Hugging Face -------------------------------------------------------------------------------------------------------

def config_json(shape):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16", "hidden_act": "silu",
            "hidden_size": shape.width, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "vocab_size": shape.vocabulary,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2,
            "tie_word_embeddings": shape.is_tied}


def write_safetensors(shape, path):
    header, at = {}, 0
    for t in tensors(shape):
        end = at + 2 * max(t.rows, 1) * t.columns
        header[t.hf] = {"dtype": "F16", "shape": [t.rows, t.columns] if t.rows else [t.columns], "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors(shape):
            for part in parts(t) if t.rows else [np.ones(t.columns, np.float16)]:
                part.tofile(f)


def write_hf(shape, folder):
    """Writes the folder unless it is there."""
    if (folder / "config.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(shape, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(shape)))
    (folder / "config.json").write_text(json.dumps(config_json(shape)))     # last: its presence says that all is there


# ---- GGUF ---------------------------------------------------------------------------------------------------------------

def q4_0(part):
    """Blocks of 32: scale d = (the number of largest magnitude) / -8 in f16, codes round(x / d) + 8."""
    x = part.astype(np.float32).reshape(-1, 32)
    largest = np.take_along_axis(x, np.abs(x).argmax(1)[:, None], 1)
    d = largest / -8
    codes = np.clip(np.floor(x * np.divide(1, d, out=np.zeros_like(d), where=d != 0) + 8.5), 0, 15).astype(np.uint8)
    blocks = np.empty(len(x), [("d", "<f2"), ("codes", np.uint8, 16)])
    blocks["d"] = d[:, 0]
    blocks["codes"] = codes[:, :16] | codes[:, 16:] << 4
    return blocks


def turned(t, part):
    """Rows of a head from two halves to pairs of neighbours. Heads never cross parts."""
    if t.turned_heads == 0:
        return part
    head = t.rows // t.turned_heads
    return part.reshape(-1, 2, head // 2, t.columns).swapaxes(1, 2).reshape(part.shape)


def text(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def array(key, kind, values, data):
    return pair(key, ARRAY, struct.pack("<IQ", kind, len(values)) + data)


def metadata(shape):
    texts, kinds = tokens(shape)
    scores = np.arange(0, -len(texts), -1, dtype="<f4")
    integers = {"context_length": 2048, "embedding_length": shape.width, "block_count": shape.layers,
                "feed_forward_length": shape.ffn, "rope.dimension_count": shape.head, "attention.head_count": shape.heads,
                "attention.head_count_kv": shape.kv_heads, "vocab_size": shape.vocabulary}
    reals = {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
    special = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    return [pair("general.architecture", STRING, text("llama")), pair("general.file_type", U32, struct.pack("<I", 2)),
            *(pair(f"llama.{k}", U32, struct.pack("<I", v)) for k, v in integers.items()),
            *(pair(f"llama.{k}", FLOAT, struct.pack("<f", v)) for k, v in reals.items()),
            pair("tokenizer.ggml.model", STRING, text("llama")),
            array("tokenizer.ggml.tokens", STRING, texts, b"".join(map(text, texts))),
            array("tokenizer.ggml.scores", FLOAT, scores, scores.tobytes()),
            array("tokenizer.ggml.token_type", I32, kinds, np.array(kinds, "<i4").tobytes()),
            *(pair(f"tokenizer.ggml.{k}", U32, struct.pack("<I", v)) for k, v in special.items())]


def stored_bytes(t):
    return t.rows * t.columns // 32 * 18 if t.rows else 4 * t.columns


def infos(shape):
    at, out = 0, []
    for t in tensors(shape):
        dims = (t.columns, t.rows) if t.rows else (t.columns,)
        out.append(text(t.gguf) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, Q4_0 if t.rows else F32, at))
        at += stored_bytes(t) + -stored_bytes(t) % 32
    return out


def write_gguf(shape, path):
    """Writes the file unless it is there."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs, entries = metadata(shape), infos(shape)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(pairs)) + b"".join(pairs + entries)
    unfinished = path.with_suffix(".part")
    with open(unfinished, "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        for t in tensors(shape):
            for part in parts(t):
                q4_0(turned(t, part)).tofile(f)
            if t.rows == 0:
                np.ones(t.columns, np.float32).tofile(f)
            f.write(bytes(-stored_bytes(t) % 32))
    unfinished.rename(path)

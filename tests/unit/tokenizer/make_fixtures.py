#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Writes fixtures/NAME.json (small tokenizers made up here) and
# fixtures/NAME.expected.json: what Hugging Face's `tokenizers` (0.23.3) makes
# of some texts. Only needed to change them; the tests read the files.
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, models
from tokenizers import decoders as D
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P
from tokenizers import processors as R

FOLDER = pathlib.Path(__file__).parent / "fixtures"
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTE_MERGES = ("t h|th e|Ġ the|i n|in g|e r|Ġ a|a n|an d|Ġ and|Ġ Ġ|ĠĠ ĠĠ|Ċ Ċ"
               "|1 2|12 3|Ã ©|' s|l l|' ll|h e|he ll|hell o|Ġ s|o r|Ġ w|Ġw or"
               "|l d|Ġwor ld|ð Ł|ðŁ ĺ|a a|aa aa|aaaa aaaa").split("|")
CHAR_MERGES = ("t h|th e|▁ the|i n|in g|▁ a|a n|an d|▁ and|▁ ▁|h e|l l|he ll"
               "|hell o|▁ hello|a a|aa aa|▁ s").split("|")
TEXTS = [
    "", " ", "  ", "the", " the", "hello world", "  hello   world  ",
    "the thing and the inner ring", "it's they'll WE'LL don't I'd",
    "12 123 1234 12345", "caf\u00e9 cafe\u0301", "\u00a0the\u2003and\u3000",
    "\n\n\n", "a\n\n b\r\n\tc \n", "\u4f60\u597d world", "\U0001f600 \U0001f601",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u05e9\u05dc\u05d5\u05dd the",
    "\u0000\u0001\u007f\u0085", "a" * 40, " " * 33 + "x", "9" * 30,
    "<s>the</s>", "the<s> and", "<pad> <pad>x", "x<pad>", "the \u2581and",
    "<0x41><0xC3>", "H\u00c9LLO \u0130I\u0131 \u00df\ufb01", "the.and,(the)!",
    "co-op's $5 50% a_b", "e\u0316\u0301\u0327", "\uac00\u1100\u1161",
    "\ufffd\u200b\ufeff\u00adx", "\u00bd\u00b2\u2163\u0661",
]


def bytes_vocab(special=()):
    tokens = list(special) + sorted(P.ByteLevel.alphabet())
    tokens += [m.replace(" ", "") for m in BYTE_MERGES]
    return {t: i for i, t in enumerate(tokens)}


def chars_vocab(special, has_bytes):
    tokens = list(special)
    if has_bytes:
        tokens += [f"<0x{b:02X}>" for b in range(256)]
    tokens += list("▁abcdefghijklmnopqrstuvwxyz.,'é")
    tokens += [m.replace(" ", "") for m in CHAR_MERGES]
    return {t: i for i, t in enumerate(tokens)}


def pairs(merges):
    return [tuple(m.split(" ")) for m in merges]


def byte_level(splitter, special=("<s>", "</s>", "<pad>"), **options):
    t = Tokenizer(models.BPE(bytes_vocab(special), pairs(BYTE_MERGES),
                             **options))
    t.pre_tokenizer = splitter
    t.decoder = D.ByteLevel()
    t.add_special_tokens(list(special))
    return t


def gpt2():
    return byte_level(P.ByteLevel(add_prefix_space=False))


def llama3():
    t = byte_level(P.Sequence([
        P.Split(Regex(CL100K), "isolated"),
        P.ByteLevel(add_prefix_space=False, use_regex=False)]),
        ignore_merges=True)
    t.post_processor = R.Sequence([
        R.ByteLevel(), R.TemplateProcessing(single="<s> $A",
                                            special_tokens=[("<s>", 0)])])
    return t


def smollm():
    t = byte_level(P.Sequence([P.Digits(True),
                               P.ByteLevel(add_prefix_space=False)]),
                   ("<s>", "</s>"))
    t.add_tokens([AddedToken("ring", single_word=True),
                  AddedToken("<pad>", lstrip=True, rstrip=True)])
    return t


def roberta():
    t = byte_level(P.ByteLevel(add_prefix_space=True))
    t.normalizer = N.NFC()
    t.post_processor = R.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return t


def sentencepiece():
    t = Tokenizer(models.BPE(chars_vocab(("<unk>", "<s>", "</s>"), True),
                             pairs(CHAR_MERGES), unk_token="<unk>",
                             fuse_unk=True, byte_fallback=True))
    t.normalizer = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
    t.decoder = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(),
                            D.Strip(" ", 1, 0)])
    t.post_processor = R.TemplateProcessing(single="<s> $A",
                                            special_tokens=[("<s>", 1)])
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    return t


def metaspace():
    t = Tokenizer(models.BPE(chars_vocab(("<unk>", "<s>"), False),
                             pairs(CHAR_MERGES), unk_token="<unk>"))
    t.normalizer = N.Sequence([N.NFKD(), N.Lowercase(), N.StripAccents()])
    t.pre_tokenizer = P.Metaspace(prepend_scheme="first")
    t.decoder = D.Metaspace(prepend_scheme="first")
    t.add_special_tokens(["<s>"])
    return t


def wordpiece():
    words = ["[UNK]", "[CLS]", "[SEP]", "the", "thing", "and", "hello", "world",
             "cafe", "##s", "##ing", "##er", "inn", "ring", ".", ",", "!", "'",
             "(", ")", "$", "%", "a", "##a", "5", "##0", "12", "##3", "it",
             "don", "t", "i", "##i", "你", "x", "-", "_"]
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)},
                                   unk_token="[UNK]",
                                   max_input_chars_per_word=30))
    t.normalizer = N.BertNormalizer()
    t.pre_tokenizer = P.BertPreTokenizer()
    t.decoder = D.WordPiece()
    t.post_processor = R.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    t.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return t


def unigram():
    words = [("<unk>", 0.0), ("<s>", 0.0), ("▁", -2.5), ("a", -3.0),
             ("▁the", -3.5), ("the", -5.0), ("▁and", -4.0), ("ing", -4.5),
             ("th", -4.25), ("t", -5.5), ("h", -5.25), ("e", -3.25),
             ("hell", -6.0), ("hello", -9.0), ("o", -3.75), ("aa", -5.75),
             ("n", -3.5), ("d", -4.5), ("▁w", -6.25), ("or", -5.0), ("ld", -6.0)]
    t = Tokenizer(models.Unigram(words, 0, False))
    t.pre_tokenizer = P.Metaspace()
    t.decoder = D.Metaspace()
    t.add_special_tokens(["<s>"])
    return t


def regex():
    t = Tokenizer(models.BPE(chars_vocab(("<unk>", "<s>"), False),
                             pairs(CHAR_MERGES), unk_token="<unk>"))
    t.normalizer = N.Sequence([N.Replace(Regex(r"\s+"), " "), N.Strip()])
    t.pre_tokenizer = P.Sequence([
        P.Split(Regex(r"[\s,]"), "merged_with_next"),
        P.Punctuation("contiguous"), P.Split("th", "merged_with_previous"),
        P.Split(Regex(r"\p{L}+|\d"), "removed", invert=True)])
    return t


def words():
    t = Tokenizer(models.BPE(chars_vocab(("<unk>", "<s>"), False),
                             pairs(CHAR_MERGES), unk_token="<unk>"))
    t.pre_tokenizer = P.Sequence([P.Whitespace(), P.Digits(False)])
    return t


def main():
    for make in (gpt2, llama3, smollm, roberta, sentencepiece, metaspace,
                 wordpiece, unigram, regex, words):
        t = make()
        path = FOLDER / f"{make.__name__}.json"
        path.write_text(t.to_str())
        t = Tokenizer.from_file(str(path))
        cases = []
        for text in TEXTS:
            text = text.replace("\0", "")  # the JSON reader refuses NUL
            ids = t.encode(text).ids
            cases.append({
                "text": text, "ids": ids,
                "plain": t.encode(text, add_special_tokens=False).ids,
                "decoded": t.decode(ids, skip_special_tokens=False),
                "clean": t.decode(ids)})
        lines = ",\n".join(json.dumps(c) for c in cases)
        path.with_suffix(".expected.json").write_text(f"[{lines}]\n")


main()

"""llama.cpp beside the local model: for each line on standard input, scores all items once and prints the seconds.

Called by `cargo xtask bench model` with a file of llama.cpp's kind, the threads, and the tokens of prefix, items and
labels as JSON. The first word of a line says how:

    cached   its prefix cache as llama-cpp-python uses it: the prefix's keys and values stay, each item is one decode
    packed   its best: the prefix's keys and values shared by sequences, items decoded together up to its batch
"""

import json
import sys
import time

import llama_cpp
import numpy as np

BATCH = 512
SEQUENCES = 16


def log_probabilities(context, row, vocabulary, labels):
    logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, row), shape=(vocabulary,))
    most = logits.max()
    return logits[labels] - most - np.log(np.exp(logits - most).sum())


def decode(context, batch, rows):
    """Rows of (token, position, sequences, whether its logits are wanted)."""
    batch.n_tokens = len(rows)
    for at, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[at] = token
        batch.pos[at] = position
        batch.n_seq_id[at] = 1
        batch.seq_id[at][0] = sequence
        batch.logits[at] = wanted
    if llama_cpp.llama_decode(context, batch) != 0:
        sys.exit("llama_decode failed")


def main():
    path, threads, prompt = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    prefix, items, labels = prompt["prefix"], prompt["items"], prompt["labels"]
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = len(prefix) + 2 * BATCH
    params.n_batch = params.n_ubatch = BATCH
    params.n_threads = params.n_threads_batch = threads
    params.n_seq_max = SEQUENCES + 1
    params.kv_unified = True
    context = llama_cpp.llama_init_from_model(model, params)
    memory = llama_cpp.llama_get_memory(context)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
    start = len(prefix)
    decode(context, batch, [(token, at, 0, at + 1 == start) for at, token in enumerate(prefix)])

    def cached():
        answers = []
        for item in items:
            last = len(item) - 1
            decode(context, batch, [(token, start + at, 0, at == last) for at, token in enumerate(item)])
            answers.append(log_probabilities(context, last, vocabulary, labels))
            llama_cpp.llama_memory_seq_rm(memory, 0, start, -1)
        return answers

    def packed():
        answers = []
        for first in range(0, len(items), SEQUENCES):
            rows, ends = [], []
            for sequence, item in enumerate(items[first : first + SEQUENCES], 1):
                llama_cpp.llama_memory_seq_cp(memory, 0, sequence, 0, start)
                last = len(item) - 1
                rows += [(token, start + at, sequence, at == last) for at, token in enumerate(item)]
                ends.append(len(rows) - 1)
            decode(context, batch, rows)
            answers += [log_probabilities(context, end, vocabulary, labels) for end in ends]
            for sequence in range(1, SEQUENCES + 1):
                llama_cpp.llama_memory_seq_rm(memory, sequence, -1, -1)
        return answers

    ways = {"cached": cached, "packed": packed}
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        answers = ways[line.strip()]()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "first": [float(x) for x in answers[0]]}), flush=True)


main()

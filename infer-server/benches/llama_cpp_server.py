"""llama.cpp's own server, for `cargo xtask bench throughput`: prints its address once it answers, and ends with standard
input. Called with a GGUF file, the threads and the slots (requests that it computes at once)."""

import sys

import xllamacpp


def main():
    path, threads, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = slots
    # Each slot has its part of it: a query and an item have less than 1024 tokens.
    params.n_ctx = 1024 * slots
    params.cache_prompt = True
    params.warmup = True
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


main()

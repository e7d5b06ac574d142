"""What `forward_pass.rs` is held against: the plain forward pass of the same shapes with numpy, in float32.

    OPENBLAS_NUM_THREADS=1 python3 forward_pass.py [LAYERS]

Decode, one token at a time, after a prompt of two; random weights, kept once each. Prints CPU seconds a token.
"""

import sys
import time

import numpy as np

HIDDEN, HEADS, KV_HEADS, WIDTH, INNER, VOCABULARY = 1024, 16, 8, 128, 3072, 16384


def main():
    layers = int(sys.argv[1]) if len(sys.argv) > 1 else 28
    random = np.random.default_rng(1)

    def matrix(inputs, outputs):
        return random.standard_normal((outputs, inputs), dtype=np.float32) / np.float32(inputs) ** 0.5

    def norm(x):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(1e-6))

    def rope(x, position):
        angles = position * 1e6 ** (-np.arange(WIDTH // 2) / (WIDTH // 2))
        sine, cosine = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
        low, high = x[:, : WIDTH // 2], x[:, WIDTH // 2 :]
        return np.concatenate([low * cosine - high * sine, high * cosine + low * sine], axis=1)

    shapes = {
        "q": (HIDDEN, HEADS * WIDTH),
        "k": (HIDDEN, KV_HEADS * WIDTH),
        "v": (HIDDEN, KV_HEADS * WIDTH),
        "o": (HEADS * WIDTH, HIDDEN),
        "gate": (HIDDEN, INNER),
        "up": (HIDDEN, INNER),
        "down": (INNER, HIDDEN),
    }
    weights = [{name: matrix(*shape) for name, shape in shapes.items()} for _ in range(layers)]
    table = matrix(HIDDEN, VOCABULARY)
    caches = [([], []) for _ in range(layers)]

    def step(token, position):
        x = table[token]
        for of, (keys, values) in zip(weights, caches):
            y = norm(x)
            q = rope(norm((of["q"] @ y).reshape(HEADS, WIDTH)), position)
            keys.append(rope(norm((of["k"] @ y).reshape(KV_HEADS, WIDTH)), position))
            values.append((of["v"] @ y).reshape(KV_HEADS, WIDTH))
            k, v = np.stack(keys, 1), np.stack(values, 1)
            scores = np.einsum("hgd,htd->hgt", q.reshape(KV_HEADS, -1, WIDTH), k) / np.float32(WIDTH) ** 0.5
            weighed = np.exp(scores - scores.max(axis=2, keepdims=True))
            weighed /= weighed.sum(axis=2, keepdims=True)
            x = x + of["o"] @ np.einsum("hgt,htd->hgd", weighed, v).reshape(-1)
            y = norm(x)
            gate = of["gate"] @ y
            x = x + of["down"] @ (gate / (1 + np.exp(-gate)) * (of["up"] @ y))
        return int(np.argmax(table @ norm(x)))

    token, steps = 1, 18
    for position in range(2):
        token = step(token, position)
    start = time.process_time()
    for number in range(steps):
        token = step(token, 2 + number)
    print(f"{layers} layers: {(time.process_time() - start) / steps:.4f} s of CPU time a token")


if __name__ == "__main__":
    main()

"""Trains the character model on text.txt and writes everything that generate.py needs, beside itself.

Needs keras and jax. Takes about two minutes on two cores.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

HERE = Path(__file__).resolve().parent
RANDOM_SEED = 1
HELD_OUT_SONNETS = 4
EMBEDDING = 32
UNITS = 128
WINDOW = 96
BATCH = 16
LEARNING_RATE = 4e-3
EPOCHS = 150
DROPOUT = 0.05
SEED = "Shall I"
CONTINUATION = 200
PROBABILITY_TEXT = "Let me not to the marriage of true minds\nAdmit impediments."


def build_model(vocabulary: int) -> keras.Model:
    """Token numbers (batch, time) to the probabilities of the next character (batch, time, vocabulary)."""
    tokens = keras.Input((None,), dtype="int32", name="token")
    hidden = keras.layers.Embedding(vocabulary, EMBEDDING, name="embedding")(tokens)
    hidden = keras.layers.GRU(UNITS, return_sequences=True, dropout=DROPOUT, name="gru")(hidden)
    probabilities = keras.layers.Dense(vocabulary, activation="softmax", name="next_character")(hidden)
    return keras.Model(tokens, probabilities, name="sonnets")


def overlapping_windows(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows of WINDOW characters, half of each shared with the next one, and the characters that follow."""
    starts = range(0, len(tokens) - WINDOW, WINDOW // 2)
    windows = np.stack([tokens[start : start + WINDOW + 1] for start in starts])
    return windows[:, :-1], windows[:, 1:]


def bits_per_character(model: keras.Model, tokens: np.ndarray) -> float:
    """What the model needs to encode the text."""
    probabilities = model.predict(tokens[None, :-1], verbose=0)[0]
    return float(-np.log2(probabilities[np.arange(len(tokens) - 1), tokens[1:]]).mean())


def greedy_continuation(model: keras.Model, tokens: list[int], length: int) -> tuple[list[int], float]:
    """The most probable characters one after the other, and how far the closest runner-up stayed behind."""
    known = len(tokens)
    padded = np.zeros((1, known + length), np.int32)
    padded[0, :known] = tokens
    margin = 1.0
    for index in range(known, known + length):
        probabilities = model.predict_on_batch(padded)[0, index - 1]
        padded[0, index] = probabilities.argmax()
        runner_up, best = np.sort(probabilities)[-2:]
        margin = min(margin, float(best - runner_up))
    return padded[0, known:].tolist(), margin


def write_reference(model: keras.Model, vocabulary: list[str]) -> float:
    """Writes what Keras itself answers, for tests; returns the closest decision of the greedy text."""
    numbers = {character: number for number, character in enumerate(vocabulary)}
    continuation, margin = greedy_continuation(model, [numbers[character] for character in SEED], CONTINUATION)
    reference = {"seed": SEED, "continuation": "".join(vocabulary[number] for number in continuation)}
    (HERE / "reference.json").write_text(json.dumps(reference, indent=2) + "\n", encoding="utf-8")
    tokens = np.array([numbers[character] for character in PROBABILITY_TEXT], np.int32)
    np.savez_compressed(HERE / "reference.npz", tokens=tokens, probabilities=model.predict(tokens[None], verbose=0)[0])
    return margin


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, saves and reports."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    keras.utils.set_random_seed(RANDOM_SEED)
    text = (HERE / "text.txt").read_text(encoding="utf-8")
    vocabulary = sorted(set(text))
    (HERE / "vocabulary.json").write_text(json.dumps(vocabulary) + "\n", encoding="utf-8")
    sonnets = [[vocabulary.index(character) for character in sonnet + "\n\n"] for sonnet in text.strip().split("\n\n")]
    training = np.concatenate(sonnets[:-HELD_OUT_SONNETS]).astype(np.int32)
    held_out = np.concatenate(sonnets[-HELD_OUT_SONNETS:]).astype(np.int32)

    model = build_model(len(vocabulary))
    x, y = overlapping_windows(training)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * math.ceil(len(x) / BATCH))
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    trained, model = model, build_model(len(vocabulary))
    model.set_weights(trained.get_weights())  # never compiled, so that the file holds no optimizer
    model.save(HERE / "model.keras")
    margin = write_reference(model, vocabulary)

    print(f"bits per character: {bits_per_character(model, training):.2f} on the text it was trained on,", end=" ")
    print(f"{bits_per_character(model, held_out):.2f} on held-out sonnets; closest greedy decision {margin:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

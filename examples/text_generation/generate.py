"""Writes verse one character at a time: each character that comes out goes in as the next time step.

The model was trained in Keras on Shakespeare's sonnets (see train.py). This program converts it, or loads a model that
was converted before, and samples from the probabilities that one stream returns.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import edgelstm

HERE = Path(__file__).resolve().parent


def choose(probabilities: np.ndarray, temperature: float, random: np.random.Generator) -> int:
    """Draws a token; a low temperature favours the probable ones, 0 takes the most probable."""
    if temperature == 0:
        return int(probabilities.argmax())
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    weights = np.exp(logits - logits.max())
    return int(random.choice(len(weights), p=weights / weights.sum()))


def generate(
    model: "edgelstm.Model", vocabulary: Sequence[str], seed: str, length: int, temperature: float, random_seed: int = 0
) -> Iterator[str]:
    """Yields the characters that follow `seed`, each as soon as it is known."""
    numbers = {character: number for number, character in enumerate(vocabulary)}
    random = np.random.default_rng(random_seed)
    stream = model.stream()
    probabilities = np.empty(len(vocabulary), np.float32)
    for character in seed:
        stream.step(np.array(numbers[character], np.int32), out=probabilities)
    for _ in range(length):
        token = choose(probabilities, temperature, random)
        yield vocabulary[token]
        stream.step(np.array(token, np.int32), out=probabilities)


def load_model(source: Path, destination: Path | None) -> "edgelstm.Model":
    """Loads an .elstm file as it is and converts any other; writes the conversion to `destination` if there is one."""
    if source.suffix == ".elstm":
        return edgelstm.load(source)
    return edgelstm.load(edgelstm.convert(source, destination))


def temperature(text: str) -> float:
    """Parses the value of --temperature."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number of at least 0")
    return value


def count(text: str) -> int:
    """Parses a number that cannot be negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def parse_arguments(argv: Sequence[str] | None, vocabulary: Sequence[str]) -> argparse.Namespace:
    """Reads the command line; the seed must be made of characters that the model knows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default="Shall I", help="the text to continue (default: %(default)s)")
    parser.add_argument("--length", type=count, default=200, help="characters to generate (default: %(default)s)")
    parser.add_argument("--temperature", type=temperature, default=0.5, help="0 is greedy (default: %(default)s)")
    parser.add_argument("--random-seed", type=count, default=0, help="makes a text repeatable (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=HERE / "model.keras", help="the .keras file, or its .elstm form")
    parser.add_argument("--save", type=Path, help="keep the converted model at this .elstm path")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.seed) - set(vocabulary))
    if unknown or not arguments.seed:
        parser.error(f"the seed has characters that the model never saw: {unknown}" if unknown else "the seed is empty")
    if arguments.save and arguments.model.suffix == ".elstm":
        parser.error("--save keeps a conversion, and an .elstm file is not converted again")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the example."""
    vocabulary = json.loads((HERE / "vocabulary.json").read_text(encoding="utf-8"))
    arguments = parse_arguments(argv, vocabulary)
    model = load_model(arguments.model, arguments.save)
    print(arguments.seed, end="", flush=True)
    for character in generate(
        model, vocabulary, arguments.seed, arguments.length, arguments.temperature, arguments.random_seed
    ):
        print(character, end="", flush=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

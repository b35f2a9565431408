"""How fast are facts worded and tokenised? Images a CPU-second on one core, three captions in each language.

Usage: python -m benchmarks.text_speed [--images 8000]
`cold` is a fresh process's first pass (imports and the reading of the grammars excluded), `warm` the second one.
At least 5,000 images a second are wanted. The check sum covers every token id: another one means other captions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time

from textgan.facts.drawn import picture_facts
from textgan.facts.wording import LANGUAGES, grammar, realise, vocabulary_of_grammar
from textgan.seeds import derive_seed
from textgan.text import Vocabulary, words

CAPTIONS, MAX_TOKENS = 3, 32


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8000)
    count = parser.parse_args().images
    facts = [picture_facts(0, ("cat", "car")[idx % 2], idx, []) for idx in range(count)]
    for language in LANGUAGES:
        grammar(language)
    words("it's one, it is")  # the tokenizer is imported
    vocabulary = Vocabulary.from_counts({word: 1 for name in LANGUAGES for word in vocabulary_of_grammar(name)})
    result: dict[str, object] = {"images": count, "captions_per_image": CAPTIONS * len(LANGUAGES)}
    for name in ("cold", "warm"):
        begin = time.process_time()
        digest = encode_all(facts, vocabulary)
        seconds = time.process_time() - begin
        result |= {f"{name}_images_per_cpu_second": round(count / seconds), "sha256": digest}
    print(json.dumps(result, indent=2))


def encode_all(facts: list[dict[str, str]], vocabulary: Vocabulary) -> str:
    """Word and tokenise every image's facts; the digest of all token ids."""
    digest = hashlib.sha256()
    for idx, known in enumerate(facts):
        ids: list[int] = []
        for language in LANGUAGES:
            for caption in realise(known, language, derive_seed(0, "caption", language, f"image-{idx}"), CAPTIONS):
                ids += vocabulary.encode(words(caption), MAX_TOKENS)
        digest.update(bytes(ids) if max(ids, default=0) < 256 else repr(ids).encode())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()

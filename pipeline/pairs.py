"""Stage `pairs`: captions to token ids, and what the texts are like. Usage: python -m pipeline.pairs D

One Parquet file for each image shard, same keys, same order. The vocabulary comes from the train split
alone; words of other splits that it lacks become unk and are counted. Where `pairs.embeddings` asks for them,
sentence vectors too: a second Parquet file a shard has those of the texts that no earlier shard of its split has.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from pipeline.text_statistics import Statistics, frequency_table, length_table, statistics_table
from textgan import params as params_file
from textgan.errors import UserError, program
from textgan.facts.english import english_form, read_spanish
from textgan.files import publishing, sha256_file, write_bytes, write_json
from textgan.minilm import DIM, SentenceEmbedder, sentence_embedder
from textgan.params import PairsParams
from textgan.progress import Progress
from textgan.records import SPLITS
from textgan.text import TextError, Vocabulary, words

CAPTIONS, OUT = Path("data/captions"), Path("data/pairs")
SCHEMA = pa.schema(
    [
        ("sample_key", pa.string()),
        ("facts", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("languages", pa.list_(pa.string())),
        ("token_ids", pa.list_(pa.list_(pa.int32()))),
    ]
)
ENGLISH = SCHEMA.append(pa.field("english", pa.list_(pa.string())))
VECTORS = pa.schema([("text", pa.string()), ("embedding", pa.list_(pa.float32(), DIM))])


def captions_of(row: dict[str, Any], languages: list[str]) -> tuple[list[str], list[str]]:
    """The captions of a row in the wanted languages, and the language of each; texts without a word are left out."""
    texts, tongues = [], []
    for language in languages:
        for caption in row[f"captions_{language}"]:
            if words(caption):
                texts.append(caption)
                tongues.append(language)
    return texts, tongues


def count_words(tables: list[pd.DataFrame], languages: list[str]) -> Counter[str]:
    """Word counts over all captions."""
    counts: Counter[str] = Counter()
    for table in tables:
        for row in table.to_dict("records"):
            for caption in captions_of(row, languages)[0]:
                counts.update(words(caption))
    return counts


def pair_table(
    table: pd.DataFrame, vocabulary: Vocabulary, params: PairsParams, statistics: Statistics
) -> pd.DataFrame:
    """The pairs of one caption shard; `statistics` counts along."""
    rows = []
    for row in table.to_dict("records"):
        texts, tongues = captions_of(row, params.languages)
        token_ids = []
        facts = {fact["name"]: fact["value"] for fact in row["facts"]}
        split = [words(caption) for caption in texts]
        token_ids = [vocabulary.encode(tokens, params.max_tokens) for tokens in split]
        statistics.add(row["sample_key"], facts, list(zip(tongues, texts, split, strict=True)))
        rows.append(
            {
                "sample_key": row["sample_key"],
                "facts": json.dumps(facts, sort_keys=True, ensure_ascii=False),
                "captions": texts,
                "languages": tongues,
                "token_ids": token_ids,
            }
        )
    return pd.DataFrame(rows, columns=SCHEMA.names)


def english_of(pairs: pd.DataFrame) -> list[list[str]]:
    """The English form of each caption of each row; of a Spanish caption that tells nothing, that of all its facts."""
    found = []
    for row in pairs.itertuples(index=False):
        known = json.loads(row.facts)
        both = zip(row.captions, row.languages, strict=True)
        try:
            found.append([english_form(caption, language, known) for caption, language in both])
        except TextError as error:
            raise UserError(f"{row.sample_key}: {error}") from None
    return found


def half_translated(pairs: pd.DataFrame) -> int:
    """Spanish captions whose English form says less than they do, or what the facts say instead."""
    both = (
        (text, tongue) for row in pairs.itertuples() for text, tongue in zip(row.captions, row.languages, strict=True)
    )
    return sum(tongue == "es" and read_spanish(text).trouble is not None for text, tongue in both)


def vector_table(texts: list[str], embedder: SentenceEmbedder) -> pa.Table:
    """Texts and their vectors."""
    vectors = embedder.embed(texts).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    return pa.Table.from_arrays([pa.array(texts, pa.string()), column], schema=VECTORS)


def run(captions: Path, out: Path, params: PairsParams, name: str) -> dict[str, Any]:
    """Make pairs of every caption shard; returns the manifest."""
    shards = {split: sorted(captions.glob(f"{split}-*.parquet")) for split in SPLITS}
    if not shards["train"]:
        raise UserError(f"{captions}: has no train-*.parquet; run the stage captions first")
    vocabulary = Vocabulary.from_counts(
        count_words([pd.read_parquet(path) for path in shards["train"]], params.languages),
        params.min_count,
        tuple(params.languages) if params.stem else (),
    )
    progress = Progress(sum(map(len, shards.values())), f"pairs {name}", "shards")
    manifest: dict[str, Any] = {"format": 1, "dataset": name, "languages": params.languages, "splits": {}}
    counted: dict[str, Statistics] = {}
    embedder = sentence_embedder() if params.embeddings else None
    with publishing(out) as built:
        for split, paths in shards.items():
            statistics, entries, embedded = Statistics(vocabulary, params.max_tokens), [], set[str]()
            half = 0
            for path in paths:
                pairs = pair_table(pd.read_parquet(path), vocabulary, params, statistics)
                buffer, schema = io.BytesIO(), SCHEMA
                if embedder is not None:
                    pairs["english"], schema = english_of(pairs), ENGLISH
                    texts = sorted({text for texts in pairs["english"] for text in texts} - embedded)
                    embedded.update(texts)
                    half += half_translated(pairs)
                    parquet.write_table(
                        vector_table(texts, embedder), built / f"embeddings-{path.name}", compression="zstd"
                    )
                pairs.to_parquet(buffer, schema=schema, compression="zstd", index=False)
                write_bytes(built / path.name, buffer.getvalue())
                entries.append({"name": path.name, "images": len(pairs), "sha256": sha256_file(built / path.name)})
                progress.update()
            manifest["splits"][split] = {"shards": entries, **statistics.summary()}
            if embedder is not None:
                manifest["splits"][split] |= {"embedded_texts": len(embedded), "half_translated": half}
            counted[split] = statistics
        progress.close()
        if embedder is not None:
            manifest["embeddings"] = {**embedder.identity, "dim": DIM, "packages": embedder.packages}
        write_bytes(built / "vocabulary.json", vocabulary.to_json().encode())
        manifest["vocabulary"] = {
            "words": len(vocabulary),
            "sha256": vocabulary.sha256,
            "coverage": round(1 - manifest["splits"]["train"]["out_of_vocabulary_rate"], 6),
        }
        for file, table in (
            ("statistics.csv", statistics_table(counted)),
            ("lengths.csv", length_table(counted)),
            ("frequencies.csv", frequency_table(counted)),
        ):
            write_bytes(built / file, table.to_csv(index=False, lineterminator="\n").encode())
        manifest["plots"] = counted["train"].plots()
        write_json(built / "manifest.json", manifest)
    return manifest


def main() -> None:
    """Make data/pairs/D from data/captions/D."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m pipeline.pairs DATASET")
    name = sys.argv[1]
    manifest = run(CAPTIONS / name, OUT / name, params_file.dataset(name).pairs, name)
    train, test = manifest["splits"]["train"], manifest["splits"]["test"]
    print(
        f"pairs {name}: {train['captions']} train captions, {train['distinct_captions']} distinct, "
        f"{manifest['vocabulary']['words']} words; unknown words on test {test['out_of_vocabulary_rate']:.2%}",
        flush=True,
    )
    for split, entry in manifest["splits"].items():
        if entry["contradictory"]["images"]:
            first = ", ".join(entry["contradictory"]["first_keys"][:3])
            print(f"pairs {name}: {split}: captions contradict on {entry['contradictory']['images']} images: {first}")


if __name__ == "__main__":
    program(main)

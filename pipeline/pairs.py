"""Stage `pairs`: captions to token ids, and what the texts are like. Usage: python -m pipeline.pairs D

One Parquet file for each image shard, same keys, same order. The vocabulary comes from the train split
alone; words of other splits that it lacks become unk and are counted.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from textgan import params as params_file
from textgan.errors import UserError, program
from textgan.files import publishing, sha256_file, write_bytes, write_json
from textgan.params import PairsParams
from textgan.progress import Progress
from textgan.records import SPLITS
from textgan.text import UNK_ID, Vocabulary, words

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


@dataclass
class Statistics:
    """Counts over the captions of one split."""

    images: int = 0
    images_without_caption: int = 0
    captions: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    cut: int = 0

    def table(self) -> dict[str, Any]:
        """The statistics as plain numbers; entropies are in bits."""
        total = sum(self.tokens.values())
        lengths = sorted(self.lengths.elements())
        return {
            "images": self.images,
            "images_without_caption": self.images_without_caption,
            "captions": sum(self.captions.values()),
            "distinct_captions": len(self.captions),
            "caption_entropy_bits": round(_entropy(self.captions), 4),
            "words": total,
            "distinct_words": len(self.tokens),
            "word_entropy_bits": round(_entropy(self.tokens), 4),
            "words_per_caption": {
                "mean": round(total / max(len(lengths), 1), 4),
                "median": lengths[len(lengths) // 2] if lengths else 0,
                "max": lengths[-1] if lengths else 0,
            },
            "out_of_vocabulary_rate": round(self.unknown / max(total, 1), 6),
            "captions_cut": self.cut,
        }


def _entropy(counts: Counter[str]) -> float:
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values()) if total else 0.0


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
        for caption in texts:
            tokens = words(caption)
            statistics.captions[caption] += 1
            statistics.lengths[len(tokens)] += 1
            statistics.tokens.update(tokens)
            statistics.unknown += sum(vocabulary.id_of(token) == UNK_ID for token in tokens)
            statistics.cut += len(tokens) > params.max_tokens - 2
            token_ids.append(vocabulary.encode(tokens, params.max_tokens))
        statistics.images += 1
        statistics.images_without_caption += not texts
        facts = {fact["name"]: fact["value"] for fact in row["facts"]}
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
    with publishing(out) as built:
        for split, paths in shards.items():
            statistics, entries = Statistics(), []
            for path in paths:
                pairs = pair_table(pd.read_parquet(path), vocabulary, params, statistics)
                buffer = io.BytesIO()
                pairs.to_parquet(buffer, schema=SCHEMA, compression="zstd", index=False)
                write_bytes(built / path.name, buffer.getvalue())
                entries.append({"name": path.name, "images": len(pairs), "sha256": sha256_file(built / path.name)})
                progress.update()
            manifest["splits"][split] = {"shards": entries, **statistics.table()}
        progress.close()
        write_bytes(built / "vocabulary.json", vocabulary.to_json().encode())
        manifest["vocabulary"] = {
            "words": len(vocabulary),
            "sha256": vocabulary.sha256,
            "coverage": round(1 - manifest["splits"]["train"]["out_of_vocabulary_rate"], 6),
        }
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


if __name__ == "__main__":
    program(main)

"""The data stages: export, inventory, image shards, captions, text pairs."""

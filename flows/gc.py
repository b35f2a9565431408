"""What the remote holds that no commit and no release names (in work)."""

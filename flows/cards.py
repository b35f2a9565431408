"""The model card and the Croissant description of a release (in work)."""

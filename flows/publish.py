"""Publish one commit's result as an immutable release in the attached bucket (in work)."""

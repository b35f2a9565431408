"""Generators, discriminators and text encoders."""

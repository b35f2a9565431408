"""Drawing cats and cars from facts: sketches in local coordinates, rendered into a lit scene."""

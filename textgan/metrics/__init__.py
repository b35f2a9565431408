"""Image and text-image metrics; a metric's name is its protocol."""

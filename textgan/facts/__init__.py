"""The facts of a picture: their schema, how they are measured and how they are worded."""

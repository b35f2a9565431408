"""List the releases of the attached bucket, and fetch one, verified (in work)."""

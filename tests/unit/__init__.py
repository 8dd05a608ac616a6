"""Each module on its own: no program is started, nothing listens."""

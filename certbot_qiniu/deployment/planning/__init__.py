"""Pure decisions: what is known comes in as values, and what to do goes out as values."""

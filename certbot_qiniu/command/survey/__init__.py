"""Survey what is deployed, change nothing, and judge it."""

"""Checks on real machines: Debian with systemd, each in a container with a network of its own."""

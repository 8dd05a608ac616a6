"""This machine's own web server: what nginx is configured to serve, and what it does serve."""

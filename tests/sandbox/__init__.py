"""A local stand-in for the world around certbot-qiniu: for tests and the demo, on loopback only."""

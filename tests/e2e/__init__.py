"""Real programs: certbot, pebble, nginx, and what a user runs."""

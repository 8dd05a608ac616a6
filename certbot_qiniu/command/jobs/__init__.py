"""Find the timers and crontabs that run certbot, and the plugins that it has there."""

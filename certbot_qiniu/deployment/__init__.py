"""What the domains at Qiniu should serve, and how they come to serve it."""

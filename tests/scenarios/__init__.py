"""certbot's own entry point over the emulators, in a fork and in virtual time."""

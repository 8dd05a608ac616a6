"""The fast track: certbot's own entry point over the emulators, in virtual time."""

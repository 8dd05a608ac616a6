"""The fast track: certbot's own entry point over the emulators, without sockets, in virtual time."""

"""The places that a certificate must reach, each behind the one contract of a target."""

"""The repository: its layout, its documentation, its packages."""

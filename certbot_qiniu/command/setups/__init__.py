"""Read the setups that renewed certificates before."""

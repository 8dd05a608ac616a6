"""The desired state of the domains at Qiniu, and how it is reached."""

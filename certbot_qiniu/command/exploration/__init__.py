"""Ask Qiniu what its documents leave open."""

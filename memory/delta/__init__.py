"""Error-correcting memories: the delta rule and its variants."""

"""Reference policies of each stream, and the certificates of what they score. Streams do not import this folder."""

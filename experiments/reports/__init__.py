"""Reports of finished runs: what was measured, over which seeds, of which code; as a page and as Markdown."""

"""From finished run folders to numbers, pictures and a page."""

"""One small file per format; `registry` finds the one that reads a file."""

"""Ingest floor: source files to the model. Control never imports from here."""

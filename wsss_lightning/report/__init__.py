"""Finished runs as verdicts, tables and one HTML page."""

"""Reports of finished runs: verdicts, tables and one HTML page."""

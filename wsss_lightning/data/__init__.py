"""What is read, written and fed to a network."""

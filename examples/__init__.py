"""Examples: each folder is a study that runs as it stands from the repository's root."""

"""What goes out: an artefact with its card, as a folder."""

"""Public maps of images: features that no private image had a part in."""

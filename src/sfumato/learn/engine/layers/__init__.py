"""One file a kind of layer; each registers its function with ``registry.layer``."""

"""Models: methods that publish a network trained under a guarantee. One method, one file."""

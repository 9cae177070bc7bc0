"""Images: methods that publish one image for each private one."""

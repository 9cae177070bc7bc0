"""Tables: methods that publish one table from another."""

"""Teachers on disjoint parts of the private records, who vote on the labels of public ones."""
